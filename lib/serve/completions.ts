/** POST /v1/completions, with what lm-evaluation-harness asks for: `echo` and `logprobs` of prompts. */

import type { ScoredToken } from '../generate/logprobs';
import type { GeneratedToken, GenerationResult } from '../generate/request';
import { scorePrompt } from '../generate/score_prompt';
import type { Tokenizer } from '../text/tokenizer';
import { type Answer, collect, countTokens, FINGERPRINT, finishReason, finite, tokenText, usageOf } from './answer';
import { event } from './event_stream';
import type { Exchange } from './exchange';
import type { ServedModel } from './models';
import { type Prompt, textPrompt, textRequest, unsupported } from './requests';
import type { CompletionBody } from './schemas';
import type { Delta } from './texts';

/** OpenAI's default. */
const MAX_TOKENS = 16;

/** A token of a text; the first of a prompt has no probability. */
type Told = Pick<ScoredToken, 'id'> & Partial<ScoredToken>;

/** What the text of a prompt begins with. */
interface Beginning {
  readonly text: string;
  readonly tokens: readonly Told[];
}

export function completionAnswer(served: ServedModel, body: CompletionBody, exchange: Exchange): Answer {
  const choices = body.n ?? 1;
  expectSupported(body, choices);
  const { tokenizer } = served.core;
  const prompts = promptsOf(body).map((prompt) => textPrompt(served, prompt));
  const maxTokens = body.max_tokens ?? MAX_TOKENS;
  const count = body.logprobs ?? undefined;
  const echoes = body.echo === true;
  const { signal } = exchange;
  const head = {
    id: `cmpl-${exchange.id}`,
    object: 'text_completion',
    created: exchange.created,
    model: served.name,
    system_fingerprint: FINGERPRINT,
  };
  const promptOf = (index: number) => prompts[Math.floor(index / choices)] as Prompt;

  const beginning = async ({ ids }: Prompt): Promise<Beginning> => {
    if (!echoes) return { text: '', tokens: [] };
    const text = tokenizer.decode(ids, { skipSpecialTokens: true });
    if (count === undefined) return { text, tokens: [] };
    const { arithmetic } = served;
    const scored = await served.alone(() => scorePrompt(served.core, ids, { count, arithmetic, signal }));
    return { text, tokens: [{ id: ids[0] as number }, ...scored] };
  };
  const scores = () => new Scores(tokenizer);
  /** Texts that are not computed, where only the prompt is asked for. */
  const computed = (deltas: AsyncIterable<Delta>) => (maxTokens === 0 ? nothing() : deltas);
  const texts = prompts.length * choices;

  return {
    prompts,
    makers:
      maxTokens === 0
        ? []
        : Array.from({ length: texts }, (_, index) => (onToken) => {
            const options = { maxTokens, logprobs: count, signal, onToken };
            return textRequest(served, body, promptOf(index), index, options);
          }),
    async whole(deltas) {
      const collected = await collect(computed(deltas));
      const beginnings: Beginning[] = [];
      for (const prompt of prompts) beginnings.push(await beginning(prompt));
      const results = collected.map(({ result }) => result);
      return {
        ...head,
        choices: Array.from({ length: texts }, (_, index) => {
          const begun = beginnings[Math.floor(index / choices)] as Beginning;
          const { text = '', tokens = [], result } = collected[index] ?? {};
          return {
            index,
            text: begun.text + text,
            logprobs: count === undefined ? null : scores().of([...begun.tokens, ...tokens]),
            finish_reason: result === undefined ? 'length' : finishReason(result.reason),
          };
        }),
        usage: usageOf(countTokens(prompts, results, choices)),
      };
    },
    async *events(deltas: AsyncIterable<Delta>) {
      const isCounted = body.stream_options?.include_usage === true;
      const chunk = (choices: readonly object[], usage: object | null = null) =>
        event({ ...head, choices, ...(isCounted && { usage }) });
      const scorers = Array.from({ length: texts }, scores);
      const choice = (index: number, text: string, tokens: readonly Told[], reason: string | null = null) => {
        const logprobs = count === undefined || tokens.length === 0 ? null : (scorers[index] as Scores).of(tokens);
        return chunk([{ index, text, logprobs, finish_reason: reason }]);
      };
      for (const [at, prompt] of echoes ? prompts.entries() : []) {
        const { text, tokens } = await beginning(prompt);
        for (let i = 0; i < choices; i++) yield choice(at * choices + i, text, tokens);
      }
      const results: GenerationResult[] = [];
      for await (const { index, text, tokens, result } of computed(deltas)) {
        if (text !== '') yield choice(index, text, tokens);
        if (result === undefined) continue;
        results[index] = result;
        yield choice(index, '', tokens, finishReason(result.reason));
      }
      for (let index = 0; maxTokens === 0 && index < texts; index++) yield choice(index, '', [], 'length');
      if (isCounted) yield chunk([], usageOf(countTokens(prompts, results, choices)));
      yield event('[DONE]');
    },
  };
}

async function* nothing(): AsyncGenerator<Delta, undefined, undefined> {}

function expectSupported({ best_of: best, suffix }: CompletionBody, choices: number): void {
  if (typeof best === 'number' && best !== choices) throw unsupported('best_of', ' unless it equals n');
  if (suffix) throw unsupported('suffix', '');
}

/** The prompts of a body: one or several, each a text or tokens. */
function promptsOf({ prompt }: CompletionBody): readonly (string | readonly number[])[] {
  if (typeof prompt === 'string') return [prompt];
  const isOne = typeof prompt[0] === 'number';
  return isOne ? [prompt as readonly number[]] : (prompt as readonly (string | readonly number[])[]);
}

/** Writes the probabilities of a text's tokens, whose places in the text follow one another. */
class Scores {
  readonly #tokenizer: Tokenizer;
  #offset = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  of(tokens: readonly (Told | GeneratedToken)[]): object {
    const texts = tokens.map(({ id }) => tokenText(this.#tokenizer, id));
    return {
      tokens: texts,
      token_logprobs: tokens.map(({ logprob }) => (logprob === undefined ? null : finite(logprob))),
      top_logprobs: tokens.map((token) => this.#likeliest(token)),
      text_offset: tokens.map(({ id }) => {
        const at = this.#offset;
        // the text is without special tokens
        this.#offset += tokenText(this.#tokenizer, id, true).length;
        return at;
      }),
    };
  }

  /** The likeliest tokens by their texts, and the token itself. Of equal texts the likelier counts. */
  #likeliest({ id, logprob, likeliest = [] }: Told): Record<string, number> | null {
    if (logprob === undefined) return null;
    const scores = new Map<string, number>();
    for (const one of [...likeliest, { id, logprob }]) {
      const text = tokenText(this.#tokenizer, one.id);
      if (!scores.has(text)) scores.set(text, finite(one.logprob));
    }
    return Object.fromEntries(scores);
  }
}
