/** From bodies to requests of the scheduler. */

import type { GeneratedToken } from '../generate/request';
import { type GenerateOptions, type GenerationRequest, readRequest } from '../generate/request';
import type { SamplingOptions } from '../generate/sampler';
import { encodeRendered } from '../text/chat';
import type { ChatMessage, TemplateArguments } from '../text/messages';
import { HttpError } from './errors';
import type { ServedModel } from './models';
import type { ChatBody, CompletionBody, Message, ResponseBody } from './schemas';

type Sampling = ChatBody | CompletionBody | ResponseBody;

/** A prompt as tokens, and the tokens that end its text. */
export interface Prompt {
  readonly ids: Int32Array;
  readonly ends: readonly number[];
}

/** Refuses what would change the answer and is not supported. */
export function unsupported(param: string, why: string): HttpError {
  return new HttpError(400, `'${param}' is not supported${why}`, { code: 'unsupported_parameter', param });
}

/** Options of the `index`-th text of a request, without what the endpoint adds. */
function samplingOf(body: Sampling, { model }: ServedModel, index: number): SamplingOptions {
  const recommended = model.recommendedSampling;
  // a model that recommends nothing is greedy in transformers; OpenAI's clients expect to sample
  const { temperature, ...rest } = recommended.temperature === 0 ? { ...recommended, temperature: 1 } : recommended;
  const given = {
    temperature: body.temperature,
    // nothing is likelier than the likeliest
    topP: body.top_p === 0 ? Number.MIN_VALUE : body.top_p,
    topK: body.top_k === -1 ? 0 : body.top_k,
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    logitBias: body.logit_bias,
    seed: typeof body.seed === 'number' && body.seed >= 0 ? body.seed + index : undefined,
  };
  const told = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null));
  return { temperature, ...rest, ...told };
}

/** What an endpoint asks for beside sampling. */
export interface TextOptions {
  readonly maxTokens: number | undefined;
  /** How many alternatives of each token are told; undefined if no probabilities are. */
  readonly logprobs: number | undefined;
  readonly signal: AbortSignal;
  readonly onToken: (token: GeneratedToken) => void;
}

/** Creates the request of the `index`-th text. Throws MBOK_INVALID_ARGUMENT. */
export function textRequest(
  served: ServedModel,
  body: Sampling,
  { ids, ends }: Prompt,
  index: number,
  { maxTokens, logprobs, signal, onToken }: TextOptions,
): GenerationRequest {
  const { precision, activations } = served.arithmetic;
  const options: GenerateOptions = {
    ...samplingOf(body, served, index),
    ...(maxTokens !== undefined && { maxTokens }),
    stop: body.stop ?? [],
    precision,
    activations,
    logprobs,
    signal,
    onToken,
  };
  return readRequest(served.core, ids, options, ends);
}

/** Encodes the prompt of a text. Throws 400 if it is too long. */
export function textPrompt(served: ServedModel, prompt: string | readonly number[]): Prompt {
  const { tokenizer } = served.core;
  const ends = tokenizer.eosTokenIds;
  if (typeof prompt !== 'string') return { ids: expectFits(served, prompt), ends };
  expectMayFit(served, prompt);
  const start = tokenizer.documentStartId;
  // an empty text begins a new document
  const ids = prompt === '' && start !== undefined ? [start] : tokenizer.encode(prompt);
  if (ids.length === 0) throw new HttpError(400, "'prompt' has no tokens", { param: 'prompt' });
  return { ids: expectFits(served, ids), ends };
}

/** Encodes a conversation. Throws 400 if it is too long, or the template refuses it. */
export function chatPrompt(served: ServedModel, body: Conversation): Prompt {
  const text = renderChat(served, body);
  expectMayFit(served, text);
  return { ids: expectFits(served, encodeRendered(served.core.tokenizer, text)), ends: served.chatEnds };
}

/** A conversation of any endpoint. */
export type Conversation = Pick<ChatBody, 'messages' | 'documents' | 'chat_template_kwargs' | 'reasoning_effort'>;

/** Formats a conversation. Throws MBOK_UNSUPPORTED (no template), MBOK_INVALID_ARGUMENT, MBOK_FORMAT. */
export function renderChat(served: ServedModel, body: Conversation): string {
  const { messages, documents, chat_template_kwargs: kwargs, reasoning_effort: effort } = body;
  const told: TemplateArguments = {
    documents,
    chatTemplateKwargs: { ...(typeof effort === 'string' && { reasoning_effort: effort }), ...kwargs },
  };
  return served.model.chatTemplate.apply(messages.map(chatMessage), { ...told, addGenerationPrompt: true });
}

/** Converts a message to what templates are written for. */
function chatMessage(message: Message, index: number): ChatMessage {
  const { role, content, tool_calls: calls, ...rest } = message;
  return {
    ...rest,
    // templates know no developer
    role: role === 'developer' ? 'system' : role,
    content: textOf(content, `messages[${index}].content`),
    ...(calls && {
      tool_calls: calls.map(({ id, function: called, ...call }) => ({
        ...call,
        ...(typeof id === 'string' && { id }),
        function: { ...called, arguments: objectOf(called.arguments) },
      })),
    }),
  };
}

/** Joins parts of text; many templates print lists of parts as Python does. */
function textOf(content: Message['content'], param: string): string {
  if (typeof content === 'string') return content;
  const parts = (content ?? []).map((part, index) => {
    if (typeof part.text === 'string') return part.text;
    throw new HttpError(400, `'${param}[${index}]' must be a part with text, got type '${part.type}'`, { param });
  });
  return parts.join('');
}

/** Clients send arguments as JSON; templates expect objects. What is no object stays as it is. */
function objectOf(text: string | Record<string, unknown>): string | Record<string, unknown> {
  if (typeof text !== 'string') return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : text;
  } catch {
    return text;
  }
}

/** Refuses, without encoding it, a text that no tokenizer could fit into the context. */
export function expectMayFit({ core, context }: ServedModel, text: string): void {
  const tokens = core.tokenizer.fewestTokens(text.length);
  if (tokens > context) throw tooLong(`at least ${tokens}`, context);
}

function expectFits({ core, context }: ServedModel, ids: readonly number[]): Int32Array {
  if (ids.length > context) throw tooLong(String(ids.length), context);
  const { vocabularySize } = core.config;
  const strange = ids.find((id) => id >= vocabularySize);
  if (strange === undefined) return Int32Array.from(ids);
  throw new HttpError(400, `the prompt has the token ${strange}; there are ${vocabularySize}`, { param: 'prompt' });
}

function tooLong(tokens: string, context: number): HttpError {
  return new HttpError(400, `the prompt has ${tokens} tokens, more than the context of ${context}`, {
    code: 'context_length_exceeded',
  });
}
