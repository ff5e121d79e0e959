/** Conversations in the record formats of common data sets. */

import { invalid, string } from '../base/validate';
import { isJsonObject, type JsonObject } from '../io/json';

/** Roles by ShareGPT's names (https://github.com/lm-sys/FastChat, docs/dataset). */
const SPEAKERS: Readonly<Record<string, string>> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  system: 'system',
  tool: 'tool',
};

/** Record formats, recognized by their fields. */
const FORMS: readonly (readonly [fields: readonly string[], messages: (record: JsonObject) => unknown])[] = [
  [['messages'], ({ messages }) => messages],
  [['conversations'], shareGpt],
  [['prompt', 'completion'], promptAndCompletion],
  [['instruction', 'output'], alpaca],
];

/**
 * Returns the messages of a record. It reads `messages`, or ShareGPT's `conversations` with `from` and `value`. It also
 * reads `prompt` and `completion`, each a text or a list of messages, and Alpaca's `instruction`, `input` and `output`.
 * All formats but the first may have a field `system`, which becomes the first message.
 *
 * @returns undefined if the record has none of these; messages are not checked
 * @throws MbokError MBOK_INVALID_ARGUMENT for an unknown speaker or a nonempty `history`
 */
export function messagesOf(record: JsonObject): unknown {
  return formOf(record)?.[1](record);
}

/** Tells whether a record has one of the formats of {@link messagesOf}. */
export function isConversation(record: JsonObject): boolean {
  return formOf(record) !== undefined;
}

function formOf(record: JsonObject): (typeof FORMS)[number] | undefined {
  return FORMS.find(([fields]) => fields.every((name) => Object.hasOwn(record, name)));
}

function promptAndCompletion({ prompt, completion, system }: JsonObject): unknown {
  return [...opening(system), ...turn('user', prompt), ...turn('assistant', completion)];
}

function shareGpt({ conversations: turns, system }: JsonObject): unknown {
  if (!Array.isArray(turns)) return turns;
  const messages = turns.map((each: unknown, index) => {
    if (!isJsonObject(each) || !Object.hasOwn(each, 'from')) return each;
    const { from, value, ...others } = each;
    const role = typeof from === 'string' && Object.hasOwn(SPEAKERS, from) ? SPEAKERS[from] : undefined;
    if (role === undefined) invalid(`conversations[${index}].from`, `one of ${Object.keys(SPEAKERS).join(', ')}`, from);
    return { ...others, role, content: value };
  });
  return [...opening(system), ...messages];
}

/** Converts Alpaca's format. The input, if present, follows the instruction on a new line. */
function alpaca({ instruction, input, output, system, history }: JsonObject): unknown {
  if (history !== undefined && history !== null && !(Array.isArray(history) && history.length === 0)) {
    invalid('history', "absent: write several turns as 'messages'", history);
  }
  const request =
    input === undefined || input === null || input === ''
      ? instruction
      : `${string('instruction', instruction, { allowEmpty: true })}\n${string('input', input)}`;
  return [...opening(system), ...turn('user', request), ...turn('assistant', output)];
}

function turn(role: string, content: unknown): readonly unknown[] {
  return Array.isArray(content) ? content : [{ role, content }];
}

function opening(system: unknown): readonly unknown[] {
  return system === undefined || system === null || system === '' ? [] : turn('system', system);
}
