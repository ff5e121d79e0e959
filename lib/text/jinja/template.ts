/**
 * Jinja templates as transformers renders chat templates with Jinja2: values are Python's, and nothing is escaped by
 * itself. A template is a program that comes with a model, so it has a budget of steps and memory.
 */

import type { JsonObject } from '../../io/json';
import { limited } from '../bounded';
import type { Statement } from './ast';
import { Budget } from './budget';
import { render } from './interpreter';
import { Output, type Span } from './output';
import { parse } from './parser';
import { fromJson } from './values';

/** Characters of a template; the longest that is known has 20 thousand. */
export const LONGEST_TEMPLATE = 1 << 20;

/**
 * Steps that a template may take: in any case, for each message, and for each character of it and of what it is given.
 * A fast machine takes about twenty million of them a second.
 */
const STEPS = { always: 1 << 20, message: 1 << 13, character: 16 };
/** Characters that a template may make: in any case, and for each character that it is given. */
const CHARACTERS = { always: 1 << 24, each: 256 };
/** Characters of the text that it writes, likewise: encoding them takes its time for every message. */
const LONGEST_TEXT = { always: 1 << 16, each: 16 };

/** What a template has written. */
export interface Rendered {
  readonly text: string;
  /** Parts of the text that stand in `{% generation %}` blocks of the template. */
  readonly generations: readonly Span[];
}

/** A parsed template. */
export class JinjaTemplate {
  readonly #body: readonly Statement[];
  readonly #what: string;
  readonly #length: number;

  /**
   * @param what - subject of messages
   * @throws MbokError MBOK_FORMAT beyond the limits; TemplateSyntaxError where the source is no template
   */
  constructor(source: string, what: string) {
    this.#what = what;
    this.#length = source.length;
    // parsing goes as deep as rendering, and takes a step for each character
    this.#body = limited(what, () => parse(source, new Budget(Infinity, Infinity)));
  }

  /**
   * @param json - an object with the variables, among them the list `messages`
   * @param messages - how many these are
   * @throws MbokError MBOK_FORMAT beyond the limits; TemplateError where the template fails
   */
  render(json: string, messages: number): Rendered {
    return limited(this.#what, () => {
      const steps = STEPS.always + STEPS.message * messages + STEPS.character * (this.#length + json.length);
      const budget = new Budget(steps, CHARACTERS.always + CHARACTERS.each * json.length);
      const variables = Object.entries(JSON.parse(json) as JsonObject);
      const values = variables.map(([name, value]) => [name, fromJson(value, budget)] as const);
      const output = new Output(LONGEST_TEXT.always + LONGEST_TEXT.each * json.length, budget);
      render(this.#body, new Map(values), output, budget);
      return { text: output.text, generations: output.spans };
    });
  }
}
