/**
 * Jinja templates, rendered as transformers renders chat templates with Jinja2: values are Python's, and nothing is
 * escaped automatically. A template is a program that comes with a model, so it has a budget of steps and memory.
 */

import type { JsonObject } from '../../io/json';
import { limited } from '../bounded';
import type { Statement } from './ast';
import { Budget } from './budget';
import { render } from './interpreter';
import { Output, type Span } from './output';
import { parse } from './parser';
import { fromJson } from './values';

/** Longest template in characters. The longest known one has 20 thousand. */
export const LONGEST_TEMPLATE = 1 << 20;

/**
 * Step limit of a rendering: a constant, plus a number per message and per character of the template and its variables.
 * A fast machine takes about 20 million steps a second.
 */
const STEPS = { always: 1 << 20, message: 1 << 13, character: 16 };
/** Limit on the characters that a template may create: a constant, plus a number per character of its variables. */
const CHARACTERS = { always: 1 << 24, each: 256 };
/** Limit on the characters of the output, likewise. It bounds the time to encode the output. */
const LONGEST_TEXT = { always: 1 << 16, each: 16 };

/** Output of a template. */
export interface Rendered {
  readonly text: string;
  /** Spans of the text inside `{% generation %}` blocks. */
  readonly generations: readonly Span[];
}

/** A parsed template. */
export class JinjaTemplate {
  readonly #body: readonly Statement[];
  readonly #what: string;
  readonly #length: number;

  /**
   * Parses a template.
   *
   * @param what - subject of messages
   * @throws MbokError MBOK_FORMAT beyond the limits; TemplateSyntaxError if the source is not a template
   */
  constructor(source: string, what: string) {
    this.#what = what;
    this.#length = source.length;
    // parsing nests as deep as rendering, and its steps are proportional to the length: limit the depth only
    this.#body = limited(what, () => parse(source, new Budget(Infinity, Infinity)));
  }

  /**
   * Renders the template.
   *
   * @param json - a JSON object with the variables, including the list `messages`
   * @param messages - the length of that list
   * @throws MbokError MBOK_FORMAT beyond the limits; TemplateError if the template fails
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
