/** Conversations as text, formatted by the chat template of a model. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { boolean, options as checkOptions, invalid, show } from '../base/validate';
import { decodeUtf8, isJsonObject, type JsonObject, parseJsonObject } from '../io/json';
import { JinjaTemplate, LONGEST_TEMPLATE, type Rendered } from './jinja/template';
import { trimEnd } from './jinja/white_space';
import {
  type ChatMessage,
  expectMessages,
  expectTemplateArguments,
  normalized,
  TEMPLATE_ARGUMENTS,
  type TemplateArguments,
} from './messages';
import { reasonOf } from './reason';

const TEMPLATE_FILE = 'chat_template.jinja';
const TEMPLATE_OPTIONS = [...TEMPLATE_ARGUMENTS, 'addGenerationPrompt', 'continueFinalMessage'] as const;
const CONFIG_FILE = 'tokenizer_config.json';
/** Special tokens that templates may use, by their names in tokenizer_config.json. */
const SPECIAL_TOKENS = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];
/**
 * Marker after the content of a message to be continued. Its trailing space shows whether the template trims contents.
 */
const OPEN_END = 'CONTINUE_FINAL_MESSAGE_TAG ';

/** Options of {@link ChatTemplate.apply}. */
export interface TemplateOptions extends TemplateArguments {
  /** Whether to append the start of the assistant's next message. Default false. */
  readonly addGenerationPrompt?: boolean | undefined;
  /** Whether the text ends with the content of the last message, for the model to continue. Default false. */
  readonly continueFinalMessage?: boolean | undefined;
}

/** A chat template: a Jinja template and the special tokens that it uses. */
export class ChatTemplate {
  /** Hash that distinguishes templates with different results. */
  readonly fingerprint: string;
  readonly #source: string;
  readonly #place: string;
  readonly #variables: Readonly<Record<string, string>>;
  #parsed: JinjaTemplate | undefined;

  /**
   * `place` names the template's source in messages. Throws MBOK_FORMAT if the template has more than a million
   * characters.
   */
  constructor(source: string, place: string, variables: Readonly<Record<string, string>> = {}) {
    expectTemplateLength(source.length, place);
    this.#source = source;
    this.#place = place;
    this.#variables = variables;
    this.fingerprint = createHash('sha256')
      .update(JSON.stringify([source, variables]))
      .digest('hex');
  }

  /**
   * Finds the template among the files of a Hugging Face folder. It prefers chat_template.jinja to the `chat_template`
   * of tokenizer_config.json. Of several named templates it takes 'default', or else the first.
   *
   * @param files - contents by name
   * @param folder - source of the files, for messages
   * @returns undefined if there is none
   * @throws MbokError MBOK_FORMAT
   */
  static fromFiles(files: ReadonlyMap<string, Uint8Array>, folder: string): ChatTemplate | undefined {
    const text = (name: string) => {
      const bytes = files.get(name);
      if (name === TEMPLATE_FILE) expectTemplateLength(bytes?.length ?? 0, join(folder, name));
      return bytes && decodeUtf8(bytes, `'${join(folder, name)}'`);
    };
    const place = join(folder, CONFIG_FILE);
    const config = parseJsonObject(text(CONFIG_FILE) ?? '{}', `'${place}'`);
    const variables = specialTokens(config);
    const file = text(TEMPLATE_FILE);
    if (file !== undefined) return new ChatTemplate(file, join(folder, TEMPLATE_FILE), variables);
    const source = chooseTemplate(config.chat_template ?? undefined, place);
    return source === undefined ? undefined : new ChatTemplate(source, place, variables);
  }

  /**
   * Formats a conversation as the text that the model was trained on.
   *
   * @param messages - the conversation, at least one message
   * @throws MbokError MBOK_INVALID_ARGUMENT if there is no conversation or the template refuses it; MBOK_FORMAT if the
   * template cannot be parsed, or takes too many steps or too much memory
   */
  apply(messages: readonly ChatMessage[], options?: TemplateOptions): string {
    return this.render(messages, options).text;
  }

  /** @internal Formats a conversation, and returns also the spans that the template marks as the assistant's. */
  render(messages: readonly ChatMessage[], options?: TemplateOptions): Rendered {
    const checked = checkOptions('options', options, TEMPLATE_OPTIONS);
    const prompts = boolean('addGenerationPrompt', checked.addGenerationPrompt ?? false);
    const continues = boolean('continueFinalMessage', checked.continueFinalMessage ?? false);
    if (prompts && continues) invalid('continueFinalMessage', 'false where addGenerationPrompt is true', continues);
    const { tools, documents, kwargs } = expectTemplateArguments(checked);
    const given = normalized(expectMessages(messages));
    const template = this.#template;
    try {
      const render = (written: readonly ChatMessage[]) =>
        template.render(
          JSON.stringify({
            ...this.#variables,
            ...kwargs,
            messages: written,
            tools,
            documents,
            add_generation_prompt: prompts,
          }),
          written.length,
        );
      return continues ? renderOpen(given, render) : render(given);
    } catch (cause) {
      if (cause instanceof MbokError) throw cause;
      throw new MbokError('MBOK_INVALID_ARGUMENT', `the chat template of '${this.#place}' failed: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }

  get #template(): JinjaTemplate {
    try {
      this.#parsed ??= new JinjaTemplate(this.#source, `the chat template of '${this.#place}'`);
    } catch (cause) {
      if (cause instanceof MbokError) throw cause;
      throw new MbokError(
        'MBOK_FORMAT',
        `'${this.#place}' has a chat template that cannot be parsed: ${reasonOf(cause)}`,
        {
          cause,
        },
      );
    }
    return this.#parsed;
  }
}

/** Renders a conversation up to the end of its last message's content, as transformers does. */
function renderOpen(
  messages: readonly ChatMessage[],
  render: (messages: readonly ChatMessage[]) => Rendered,
): Rendered {
  const last = messages.at(-1) as ChatMessage;
  const marked = withOpenEnd(last.content);
  if (marked === undefined) invalid('messages', 'a conversation whose last message has a text to continue', last);
  const { text, generations } = render([...messages.slice(0, -1), { ...last, content: marked }]);
  const at = text.lastIndexOf(OPEN_END.trimEnd());
  if (at < 0) invalid('messages', 'a conversation whose last message the template writes', last);
  const before = text.slice(0, at);
  const open = text.startsWith(OPEN_END, at) ? before : trimEnd(before);
  const ends = generations.map(([start, end]) => [start, Math.min(end, open.length)] as const);
  return { text: open, generations: ends.filter(([start, end]) => start < end) };
}

/** Appends the marker to the last text of a content. */
function withOpenEnd(content: ChatMessage['content']): ChatMessage['content'] {
  if (typeof content === 'string') return content + OPEN_END;
  if (!Array.isArray(content)) return undefined;
  const at = content.findLastIndex((part) => typeof part?.text === 'string');
  return at < 0 ? undefined : content.with(at, { ...content[at], text: content[at].text + OPEN_END });
}

/** `length` is in characters or bytes. */
function expectTemplateLength(length: number, place: string): void {
  if (length <= LONGEST_TEMPLATE) return;
  throw new MbokError(
    'MBOK_FORMAT',
    `the chat template of '${place}' has a length of ${length}, more than ${LONGEST_TEMPLATE}`,
  );
}

function chooseTemplate(value: unknown, place: string): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  const named = Array.isArray(value) ? value.filter(isJsonObject) : [];
  const chosen = (named.find(({ name }) => name === 'default') ?? named[0])?.template;
  if (typeof chosen === 'string') return chosen;
  throw new MbokError(
    'MBOK_FORMAT',
    `'${place}': 'chat_template' must be a string or a list of named templates, got ${show(value)}`,
  );
}

function specialTokens(config: JsonObject): Record<string, string> {
  const tokens = SPECIAL_TOKENS.map((name) => {
    const token = config[name];
    return [name, isJsonObject(token) ? token.content : token];
  });
  return Object.fromEntries(tokens.filter(([, token]) => typeof token === 'string'));
}
