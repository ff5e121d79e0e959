/** Conversations as inputs of chat templates: messages, and arguments beside them. */

import { MbokError } from '../base/errors';
import { invalid, object, show } from '../base/validate';
import { isJsonObject, type JsonObject } from '../io/json';

/**
 * A part of a message's content. Templates print parts of type 'text'; the treatment of other types depends on the
 * template.
 */
export interface ContentPart {
  /** Type of the part, such as 'text'. */
  readonly type: string;
  /** Text of a part of type 'text'. */
  readonly text?: string | undefined;
}

/** Name and arguments of a called function. */
export interface FunctionCall {
  /** Name of the function. */
  readonly name: string;
  /** Arguments as an object; some templates also accept its JSON. */
  readonly arguments: object | string;
}

/** A tool call that the assistant requests. */
export interface ToolCall {
  /** Id that the tool's result refers to. */
  readonly id?: string | undefined;
  /** Usually 'function'. */
  readonly type?: string | undefined;
  /** The called function. */
  readonly function: FunctionCall;
}

/** A message of a conversation. Templates also see fields that are not listed here. */
export interface ChatMessage {
  /** 'system', 'developer', 'user', 'assistant', 'tool', or another role that the model's template knows. */
  readonly role: string;
  /**
   * A text or a list of parts. A tool result may also be an object, and the assistant's content may be null or absent.
   */
  readonly content?: string | readonly ContentPart[] | object | null | undefined;
  /** Thoughts of the assistant before its answer. Templates see them under all three names in use. */
  readonly reasoning_content?: string | null | undefined;
  /** Another name of `reasoning_content`. */
  readonly reasoning?: string | null | undefined;
  /** Another name of `reasoning_content`. */
  readonly thinking?: string | null | undefined;
  /** Tools that the assistant calls. */
  readonly tool_calls?: readonly ToolCall[] | null | undefined;
  /** For a tool result: id of the call that it answers. */
  readonly tool_call_id?: string | null | undefined;
  /** For a tool result: name of the tool. For other messages: name of the speaker. */
  readonly name?: string | null | undefined;
}

/** Template arguments beside the messages. */
export interface TemplateArguments {
  /** Tools that the model may call, each as a JSON schema: `{ type: 'function', function: { name, parameters } }`. */
  readonly tools?: readonly object[] | null | undefined;
  /** Documents to answer from, usually with `title` and `text`. */
  readonly documents?: readonly object[] | null | undefined;
  /** Further variables of the template, e.g. `{ enable_thinking: false }`. */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>> | null | undefined;
}

export const TEMPLATE_ARGUMENTS = ['tools', 'documents', 'chatTemplateKwargs'] as const;

/** Variables that are set by other options. */
const RESERVED = ['messages', 'tools', 'documents', 'add_generation_prompt', 'continue_final_message'];

/** Checks a conversation. Throws MBOK_INVALID_ARGUMENT, naming the first invalid message. */
export function expectMessages(messages: unknown): readonly ChatMessage[] {
  if (!Array.isArray(messages) || messages.length === 0)
    invalid('messages', 'a list of at least one message', messages);
  for (const [index, message] of messages.entries()) {
    const isObject = isJsonObject(message);
    if (isObject && typeof message.role === 'string' && hasContent(message)) continue;
    const shown = (key: string) => (isObject && Object.hasOwn(message, key) ? [`"${key}":${show(message[key])}`] : []);
    const got = isObject ? `{${['role', 'content'].flatMap(shown)}}` : show(message);
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'messages[${index}]' must have a 'role' and a 'content' that is a text, a list of parts or null, got ${got}`,
    );
  }
  return messages as ChatMessage[];
}

/** Field names of the assistant's thoughts; the first is the standard one. */
export const REASONING = ['reasoning_content', 'thinking', 'reasoning'] as const;

/**
 * Converts messages as transformers does: it drops null fields, which many templates would print as "None". It also
 * copies thoughts to the names that templates use.
 */
export function normalized(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  return messages.map((message) => {
    const given = Object.fromEntries(
      Object.entries(message).filter(([, value]) => value !== null),
    ) as unknown as ChatMessage;
    const reasoning = REASONING.map((name) => given[name]).find((value) => value !== undefined);
    return reasoning === undefined ? given : { thinking: reasoning, ...given, reasoning_content: reasoning };
  });
}

/** Tells whether the content is valid. Only the assistant may omit it, for thoughts or tool calls. */
function hasContent({ role, content }: JsonObject): boolean {
  if (content === undefined) return role === 'assistant';
  if (Array.isArray(content)) return content.every((part) => typeof part === 'string' || isJsonObject(part));
  return typeof content === 'string' || typeof content === 'object';
}

/** Checks the template arguments. Throws MBOK_INVALID_ARGUMENT, naming the wrong one. */
export function expectTemplateArguments({ tools, documents, chatTemplateKwargs }: TemplateArguments): {
  readonly tools: readonly object[] | null;
  readonly documents: readonly object[] | null;
  readonly kwargs: Readonly<Record<string, unknown>>;
} {
  const kwargs = chatTemplateKwargs ?? {};
  if (Array.isArray(kwargs)) invalid('chatTemplateKwargs', 'an object', kwargs);
  const taken = RESERVED.find((name) => Object.hasOwn(object('chatTemplateKwargs', kwargs), name));
  if (taken !== undefined) invalid('chatTemplateKwargs', `without '${taken}', which is a separate argument`, kwargs);
  return { tools: listOf('tools', tools ?? null), documents: listOf('documents', documents ?? null), kwargs };
}

function listOf(name: string, value: unknown): readonly object[] | null {
  if (value === null) return null;
  if (!Array.isArray(value)) return invalid(name, 'a list of objects', value);
  const index = value.findIndex((item) => !isJsonObject(item));
  return index < 0 ? (value as object[]) : invalid(`${name}[${index}]`, 'an object', value[index]);
}

/**
 * Reads the template arguments of a line of training data, from the columns `tools`, `documents` and
 * `chat_template_kwargs`. Tools may be JSON in a string, since table columns have one type.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT
 */
export function templateArgumentsOf(line: JsonObject): TemplateArguments {
  const { tools, documents, chat_template_kwargs: chatTemplateKwargs } = line;
  const given = { tools: parsed('tools', tools), documents, chatTemplateKwargs } as TemplateArguments;
  expectTemplateArguments(given);
  return given;
}

function parsed(name: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return invalid(name, 'a list of objects or its JSON', value);
  }
}
