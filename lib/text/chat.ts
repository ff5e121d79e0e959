/** Conversations as tokens, with the assistant's tokens marked. */

import { MbokError } from '../base/errors';
import { options as checkOptions, invalid } from '../base/validate';
import { ChatTemplate } from './chat_template';
import type { Span } from './jinja/output';
import { type ChatMessage, REASONING, TEMPLATE_ARGUMENTS, type TemplateArguments } from './messages';
import type { Tokenizer } from './tokenizer';

export { ChatTemplate, type TemplateOptions } from './chat_template';

/** A conversation as tokens. */
export interface EncodedChat {
  /** Token ids. */
  readonly ids: Int32Array;
  /** 1 for the assistant's tokens, including the end token of its messages; 0 for all others. */
  readonly assistant: Uint8Array;
}

/**
 * Encodes a conversation and marks the assistant's tokens.
 *
 * If the template has `{% generation %}` blocks, their tokens are the assistant's, as in transformers. Otherwise a
 * message begins where the text of its generation prompt ends, and ends with its end token. Some templates write
 * earlier messages differently once a conversation continues, for example without thoughts. For these the conversation
 * is rendered with other contents, and the message is where the texts differ.
 *
 * @param options - template arguments beside the messages
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_FORMAT as {@link ChatTemplate.apply}; MBOK_UNSUPPORTED if a message
 * cannot be located in the text
 */
export function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options?: TemplateArguments,
): EncodedChat {
  const given = checkOptions('options', options, TEMPLATE_ARGUMENTS);
  if (typeof tokenizer?.encode !== 'function') invalid('tokenizer', 'a tokenizer', tokenizer);
  if (!(template instanceof ChatTemplate)) invalid('template', 'a chat template', template);
  const { text, generations } = template.render(messages, given);
  const ids = Int32Array.from(encodeRendered(tokenizer, text));
  const assistant = new Uint8Array(ids.length);
  const tokensBefore = (end: number) => common(encodeRendered(tokenizer, text.slice(0, end)), ids);
  if (generations.length > 0) {
    for (const [start, end] of generations) assistant.fill(1, tokensBefore(start), tokensBefore(end));
    return { ids, assistant };
  }
  for (const [start, end] of new Rendering(template, messages, given, text).spans()) {
    const first = tokensBefore(start);
    assistant.fill(1, first, first + throughEnd(ids.subarray(first, tokensBefore(end)), tokenizer.eosTokenIds));
  }
  return { ids, assistant };
}

/** Encodes a rendered text. It contains the special tokens already. */
export function encodeRendered(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encode(text, { addSpecialTokens: false });
}

/**
 * Returns the tokens that end an assistant's message: the tokenizer's end tokens, and the special token that the
 * template writes after such a message.
 */
export function endTokens(tokenizer: Tokenizer, template: ChatTemplate): readonly number[] {
  const content = 'mbok';
  let after: number | undefined;
  try {
    const text = template.apply([
      { role: 'user', content: '?' },
      { role: 'assistant', content },
    ]);
    after = encodeRendered(tokenizer, text.slice(text.lastIndexOf(content) + content.length).trimStart())[0];
  } catch (error) {
    // the template requires more of a conversation: use the tokenizer's end tokens only
    if (!(error instanceof MbokError) || error.code !== 'MBOK_INVALID_ARGUMENT') throw error;
  }
  const isSpecial = after !== undefined && tokenizer.decode([after], { skipSpecialTokens: true }) === '';
  return [...new Set([...tokenizer.eosTokenIds, ...(isSpecial ? [after as number] : [])])];
}

/** Contents that differ at both ends and that no text filter changes. */
const OTHERS = ['7190836425', '2846150937'];

/** A rendered conversation in which messages are located. */
class Rendering {
  readonly #template: ChatTemplate;
  readonly #messages: readonly ChatMessage[];
  readonly #given: TemplateArguments;
  readonly #text: string;
  readonly #contents = new Map<number, Span | undefined>();

  constructor(template: ChatTemplate, messages: readonly ChatMessage[], given: TemplateArguments, text: string) {
    this.#template = template;
    this.#messages = messages;
    this.#given = given;
    this.#text = text;
  }

  /** Returns the spans of the assistant's messages, including what the template adds at their ends. */
  spans(): Span[] {
    const spans: Span[] = [];
    for (const [index, { role }] of this.#messages.entries()) {
      const span = role === 'assistant' ? this.#span(index) : undefined;
      if (span === undefined) continue;
      if (span[0] < (spans.at(-1)?.[1] ?? 0)) this.#fail(index, 'it stands before the one that it follows');
      spans.push(span);
    }
    return spans;
  }

  #span(index: number): Span | undefined {
    const before = this.#messages.slice(0, index);
    // a conversation may begin with the assistant: that message has no generation prompt
    const prompted = index === 0 ? '' : this.#tryRender(before, true);
    const through = this.#tryRender(this.#messages.slice(0, index + 1));
    const isPlain = (part: string | undefined): part is string => part !== undefined && this.#text.startsWith(part);
    if (isPlain(prompted) && isPlain(through) && through.length > prompted.length)
      return [prompted.length, through.length];
    return this.#find(index, isPlain(prompted) ? prompted.length : undefined, through);
  }

  /**
   * Locates a message by its content. `knownStart` is its start, if known; `through` is the text of the conversation up
   * to this message.
   */
  #find(index: number, knownStart: number | undefined, through: string | undefined): Span | undefined {
    const content = this.#content(index);
    if (content === undefined) return undefined;
    const start = knownStart ?? this.#begin(index, content[0]);
    const end = this.#end(index, content[1], through);
    for (const other of [index - 1, index + 1]) {
      const span = other in this.#messages ? this.#tryContent(other) : undefined;
      if (span !== undefined && (other < index ? span[1] > start : span[0] < end)) {
        this.#fail(index, `it overlaps with message ${other}`);
      }
    }
    return [start, end];
  }

  /**
   * Finds the start of a message. Before the content there may be thoughts, and the text between them and the
   * assistant's name.
   */
  #begin(index: number, content: number): number {
    const thoughts = REASONING.filter((name) => typeof this.#messages[index]?.[name] === 'string');
    const starts = thoughts.length === 0 ? [] : [this.#locate(index, (other) => withAll(thoughts, other))?.[0]];
    const first = Math.min(content, ...starts.filter((start) => start !== undefined));
    const before = this.#messages.slice(0, index);
    const [without, asking] = [this.#tryRender(before), this.#tryRender(before, true)];
    if (without === undefined || asking === undefined || !asking.startsWith(without)) return first;
    const prompt = asking.slice(without.length);
    const least = this.#tryContent(index - 1)?.[1] ?? 0;
    const at = prompt === '' ? -1 : this.#text.slice(least, first).lastIndexOf(prompt);
    return at < 0 ? first : least + at + prompt.length;
  }

  /** Finds the end of a message. After the content there may be tool calls, and the text that ends a message. */
  #end(index: number, content: number, through: string | undefined): number {
    if (through === undefined) return content;
    const shorter = new Rendering(this.#template, this.#messages.slice(0, index + 1), this.#given, through);
    const span = shorter.#tryContent(index);
    if (span === undefined) return content;
    return content + common(through.slice(span[1]), this.#text.slice(content));
  }

  /** Locates the content of a message; undefined if the text does not depend on it. */
  #content(index: number): Span | undefined {
    if (!this.#contents.has(index)) {
      const { content } = this.#messages[index] as ChatMessage;
      const inShape = (other: string) => (Array.isArray(content) ? [{ type: 'text', text: other }] : other);
      this.#contents.set(
        index,
        this.#locate(index, (other) => ({ content: inShape(other) })),
      );
    }
    return this.#contents.get(index);
  }

  #tryContent(index: number): Span | undefined {
    return attempt(() => this.#content(index));
  }

  /**
   * Locates the part of the text that depends on fields of a message, by rendering it with other values. `change` sets
   * those fields.
   */
  #locate(index: number, change: (other: string) => Partial<ChatMessage>): Span | undefined {
    const [first = '', second = ''] = OTHERS.map((other) => {
      const message = { ...(this.#messages[index] as ChatMessage), ...change(other) };
      const text = this.#tryRender(this.#messages.with(index, message));
      return text ?? this.#fail(index, 'the template refuses it with another content');
    });
    if (first === second) return undefined;
    const isOnce = (text: string, part: string) => text.split(part).length === 2;
    if (!isOnce(first, OTHERS[0] as string) || !isOnce(second, OTHERS[1] as string)) {
      this.#fail(index, 'its content does not stand in one place of the text');
    }
    const start = Math.min(common(this.#text, first), common(this.#text, second));
    const end = this.#text.length - Math.min(commonEnd(this.#text, first), commonEnd(this.#text, second));
    return [start, Math.max(start, end)];
  }

  /** Renders the conversation; undefined if the template refuses it. */
  #tryRender(messages: readonly ChatMessage[], addGenerationPrompt = false): string | undefined {
    return attempt(() => this.#template.apply(messages, { ...this.#given, addGenerationPrompt }));
  }

  #fail(index: number, why: string): never {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `the chat template writes message ${index} so that the assistant's tokens cannot be told from the others: ${why}`,
    );
  }
}

/** Runs `work`; undefined if a template refuses the conversation or a message cannot be located. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof MbokError && (error.code === 'MBOK_INVALID_ARGUMENT' || error.code === 'MBOK_UNSUPPORTED')) {
      return undefined;
    }
    throw error;
  }
}

function withAll(names: readonly (typeof REASONING)[number][], value: string): Partial<ChatMessage> {
  return Object.fromEntries(names.map((name) => [name, value]));
}

/** Returns the length of the longest common prefix. */
function common<T>(a: ArrayLike<T>, b: ArrayLike<T>): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/** Returns the length of the longest common suffix. */
function commonEnd(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a.at(-1 - length) === b.at(-1 - length)) length++;
  return length;
}

/** Counts a message's tokens up to its last end token. A template may write more after it, such as a line break. */
function throughEnd(ids: Int32Array, ends: readonly number[]): number {
  for (let i = ids.length - 1; i >= 0; i--) if (ends.includes(ids[i] as number)) return i + 1;
  return ids.length;
}
