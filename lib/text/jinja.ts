/**
 * Jinja templates, by @huggingface/jinja, within limits of time and memory: a template is a program that comes with a model.
 * The parts of the package that are used are declared here, because its own declarations are for ES modules only.
 */

import { MbokError } from '../errors';
import { bounded, LimitError } from './bounded';
import { Realm } from './realm';

/** An expression or statement of a template. */
interface Node {
  readonly type: string;
}

/** A value of the interpreter. */
interface Value {
  readonly value: unknown;
}

interface Jinja {
  readonly Template: new (source: string) => { render(variables: object): string };
  readonly Interpreter: { readonly prototype: { evaluate(node: Node | undefined, environment: object): Value } };
}

/** Characters of a template; the longest that is known has 20 thousand. */
export const LONGEST_TEMPLATE = 1 << 20;
/**
 * Nested expressions and statements. The stack holds twice as many; at its end the package would take variables for undefined.
 */
const DEEPEST = 400;

/** Characters that a template may make: in any case, and for each character that it is given. */
const CHARACTERS = { always: 1 << 24, each: 256 };
/** Characters of the text that it writes, likewise: encoding them takes its time for every message. */
const LONGEST_TEXT = { always: 1 << 16, each: 16 };
/** Milliseconds that a template may take: in any case, for each message, and for each character of it and the messages. */
const TIME = { always: 200, message: 1, character: 2e-4 };

/** Evaluating these gives a value that was there. */
const LOOK_UPS = new Set(['Identifier', 'StringLiteral', 'MemberExpression']);
/** What an element of a list counts, in characters. */
const ELEMENT = 32;
/** Texts that are put together are not copied at once, and most never. */
const JOINED = 1 / 8;

let realm: Realm<Jinja> | undefined;
let depth = 0;

function jinja(): Realm<Jinja> {
  if (realm !== undefined) return realm;
  const loaded = new Realm<Jinja>('@huggingface/jinja');
  const { prototype } = loaded.exports.Interpreter;
  const { evaluate } = prototype;
  prototype.evaluate = function (node, environment) {
    if (depth >= DEEPEST) throw new LimitError(`nests deeper than ${DEEPEST} levels`);
    depth++;
    try {
      const result = evaluate.call(this, node, environment);
      if (node === undefined || LOOK_UPS.has(node.type)) return result;
      if (typeof result.value === 'string') loaded.spend(result.value.length * JOINED);
      else if (Array.isArray(result.value)) loaded.spend(result.value.length * ELEMENT);
      return result;
    } finally {
      depth--;
    }
  };
  realm = loaded;
  return realm;
}

/** A parsed template. */
export class JinjaTemplate {
  readonly #template: InstanceType<Jinja['Template']>;
  readonly #what: string;
  readonly #length: number;

  /**
   * @param what - subject of messages
   * @throws MbokError MBOK_FORMAT beyond the limits; an error of another class where the source cannot be parsed
   */
  constructor(source: string, what: string) {
    this.#what = what;
    this.#length = source.length;
    this.#template = this.#within(0, 0, ({ exports: { Template } }) => new Template(source));
  }

  /**
   * @param variables - what JSON can write
   * @throws MbokError MBOK_FORMAT beyond the limits; an error of another class where the template fails
   */
  render(variables: { readonly messages: readonly unknown[] }): string {
    // read anew inside the realm, so that its built-ins are those of lists and texts
    const json = JSON.stringify(variables);
    const time = TIME.message * variables.messages.length;
    const text = this.#within(json.length, time, (engine) => this.#template.render(engine.parse(json)));
    const most = LONGEST_TEXT.always + LONGEST_TEXT.each * json.length;
    if (text.length <= most) return text;
    throw new MbokError('MBOK_FORMAT', `${this.#what} writes ${text.length} characters, more than ${most}`);
  }

  /** `characters`: what is given to the template. */
  #within<T>(characters: number, milliseconds: number, work: (engine: Realm<Jinja>) => T): T {
    const engine = jinja();
    const time = TIME.always + TIME.character * (this.#length + characters) + milliseconds;
    return bounded(time, this.#what, () => {
      depth = 0;
      return engine.within(CHARACTERS.always + CHARACTERS.each * characters, () => work(engine));
    });
  }
}
