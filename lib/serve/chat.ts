/** POST /v1/chat/completions */

import type { GeneratedToken, GenerationResult } from '../generate/request';
import type { Tokenizer } from '../text/tokenizer';
import { type Answer, collect, countTokens, FINGERPRINT, finishReason, finite, tokenText, usageOf } from './answer';
import { HttpError } from './errors';
import { event } from './event_stream';
import type { Exchange } from './exchange';
import type { ServedModel } from './models';
import { chatPrompt, textRequest, unsupported } from './requests';
import type { ChatBody } from './schemas';
import type { Delta } from './texts';

export function chatAnswer(served: ServedModel, body: ChatBody, exchange: Exchange): Answer {
  expectSupported(body);
  const { tokenizer } = served.core;
  const prompt = chatPrompt(served, body);
  const choices = body.n ?? 1;
  const logprobs = body.logprobs === true ? (body.top_logprobs ?? 0) : undefined;
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? undefined;
  const head = (object: string) => ({
    id: `chatcmpl-${exchange.id}`,
    object,
    created: exchange.created,
    model: served.name,
    system_fingerprint: FINGERPRINT,
  });
  const scores = (tokens: readonly GeneratedToken[]) =>
    logprobs === undefined ? null : { content: tokens.map((token) => scoreOf(tokenizer, token)), refusal: null };
  const { signal } = exchange;
  return {
    prompts: [prompt],
    makers: Array.from(
      { length: choices },
      (_, index) => (onToken) => textRequest(served, body, prompt, index, { maxTokens, logprobs, signal, onToken }),
    ),
    async whole(deltas) {
      const texts = await collect(deltas);
      const results = texts.map(({ result }) => result);
      return {
        ...head('chat.completion'),
        choices: texts.map(({ text, tokens, result }, index) => ({
          index,
          message: { role: 'assistant', content: text, refusal: null },
          logprobs: scores(tokens),
          finish_reason: finishReason(result.reason),
        })),
        usage: usageOf(countTokens([prompt], results, choices)),
      };
    },
    async *events(deltas: AsyncIterable<Delta>) {
      const isCounted = body.stream_options?.include_usage === true;
      const chunk = (choices: readonly object[], usage: object | null = null) =>
        event({ ...head('chat.completion.chunk'), choices, ...(isCounted && { usage }) });
      const choice = (index: number, delta: object, tokens: readonly GeneratedToken[], reason: string | null = null) =>
        chunk([{ index, delta, logprobs: tokens.length === 0 ? null : scores(tokens), finish_reason: reason }]);
      const results: GenerationResult[] = [];
      // also tells the client at once that its request is being computed
      for (let index = 0; index < choices; index++) yield choice(index, { role: 'assistant', content: '' }, []);
      for await (const { index, text, tokens, result } of deltas) {
        if (text !== '') yield choice(index, { content: text }, tokens);
        if (result === undefined) continue;
        results[index] = result;
        yield choice(index, {}, tokens, finishReason(result.reason));
      }
      if (isCounted) yield chunk([], usageOf(countTokens([prompt], results, choices)));
      yield event('[DONE]');
    },
  };
}

function expectSupported({ tools, tool_choice: choice, response_format: format, ...body }: ChatBody): void {
  if (tools && tools.length > 0 && choice !== 'none') throw unsupported('tools', ' yet, unless tool_choice is none');
  if (format && format.type !== 'text') throw unsupported('response_format', ` yet with type '${format.type}'`);
  if (typeof body.top_logprobs === 'number' && body.logprobs !== true)
    throw new HttpError(400, "'top_logprobs' needs logprobs: true", { param: 'top_logprobs' });
}

/** A token and its probability. */
function scoreOf(tokenizer: Tokenizer, { id, logprob = 0, likeliest = [] }: GeneratedToken): object {
  const one = (id: number, logprob: number) => {
    const token = tokenText(tokenizer, id);
    // bytes of a part of a character are not known
    return { token, logprob: finite(logprob), bytes: token.includes('\ufffd') ? null : [...Buffer.from(token)] };
  };
  return { ...one(id, logprob), top_logprobs: likeliest.map((other) => one(other.id, other.logprob)) };
}
