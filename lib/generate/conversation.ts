/** Conversations that outgrow a model's context. */

import { integerInRange, invalid, object, options } from '../base/validate';
import { ChatTemplate, encodeRendered } from '../text/chat';
import { type ChatMessage, TEMPLATE_ARGUMENTS, type TemplateArguments } from '../text/messages';
import type { Tokenizer } from '../text/tokenizer';

/** Part of a model that {@link fitMessages} reads. */
export interface ChatModel {
  /** The tokenizer that counts. */
  readonly tokenizer: Tokenizer;
  /** The template that formats messages. */
  readonly chatTemplate: ChatTemplate;
  /** Sizes of the model. */
  readonly config: {
    /** Tokens of its context. */
    readonly maxPositions: number;
  };
}

/** Options of {@link fitMessages}. */
export interface FitOptions extends TemplateArguments {
  /** Tokens that the answer may have. Room is left for them, up to a quarter of the context. Default 1. */
  readonly maxTokens?: number | undefined;
}

/**
 * Leaves out the oldest messages of a conversation until the rest fits into the model's context with room for an answer. A
 * question goes with its answer. The first message stays if it is the system's, and the last question always stays:
 * `model.chat` refuses it if it is too long alone.
 *
 * @param given - template arguments and `maxTokens`, as `model.chat` takes them
 * @returns the messages that fit, in their order
 * @throws MbokError MBOK_INVALID_ARGUMENT (also for conversations that the template refuses), MBOK_UNSUPPORTED (no chat
 *   template), MBOK_FORMAT, MBOK_NO_TOKENIZER
 *
 * @example
 * for await (const text of model.chat(fitMessages(model, messages, { maxTokens: 200 }), { maxTokens: 200 })) …
 */
export function fitMessages(model: ChatModel, messages: readonly ChatMessage[], given: FitOptions = {}): ChatMessage[] {
  const { maxTokens = 1, ...told } = options('options', given, [...TEMPLATE_ARGUMENTS, 'maxTokens']);
  const { tokenizer, chatTemplate, config } = object('model', model);
  if (typeof tokenizer?.encode !== 'function') invalid('model.tokenizer', 'a tokenizer', tokenizer);
  if (!(chatTemplate instanceof ChatTemplate)) invalid('model.chatTemplate', 'a chat template', chatTemplate);
  if (!Array.isArray(messages)) invalid('messages', 'a list of messages', messages);
  const maxPositions = integerInRange('model.config.maxPositions', config?.maxPositions, 1);
  const room = Math.min(integerInRange('maxTokens', maxTokens, 1), Math.floor(maxPositions / 4));
  const fitting: ChatMessage[] = [...messages];
  const first = fitting[0]?.role === 'system' ? 1 : 0;
  const length = () => {
    const text = chatTemplate.apply(fitting, { ...told, addGenerationPrompt: true });
    return encodeRendered(tokenizer, text).length;
  };
  while (fitting.length > first + 2 && length() + room > maxPositions) fitting.splice(first, 2);
  return fitting;
}
