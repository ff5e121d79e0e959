/** The text of one generation, from the logits of its tokens. */

import { StopMatcher, StreamDecoder } from '../text/stream';
import type { Tokenizer } from '../text/tokenizer';
import { TokenScorer } from './logprobs';
import type { EndReason, GenerationRequest, GenerationResult } from './request';
import { Sampler } from './sampler';

/** Tokens of the prompt that the decoding of the first token's text looks back at. */
const CONTEXT_TOKENS = 4;

/** What a token has brought. */
export interface Written {
  /** Text that is now certain; often '' within a character. */
  readonly text: string;
  /** The token that the text goes on with; undefined when it has ended. */
  readonly next: number | undefined;
}

/** Chooses tokens, makes text of them and knows when and why it ends. */
export class Writer {
  readonly #request: GenerationRequest;
  readonly #sampler: Sampler;
  readonly #decoder: StreamDecoder;
  readonly #matcher: StopMatcher;
  /** Undefined if nobody asks for probabilities. */
  readonly #scorer: TokenScorer | undefined;
  #text = '';
  #tokens = 0;
  #cachedTokens = 0;
  #started: number | undefined;
  #firstToken = 0;
  #reason: EndReason | undefined;

  constructor(tokenizer: Tokenizer, request: GenerationRequest) {
    this.#request = request;
    this.#sampler = new Sampler(request.options);
    this.#decoder = new StreamDecoder(tokenizer);
    this.#matcher = new StopMatcher(request.stop);
    this.#scorer = request.options.logprobs === undefined ? undefined : new TokenScorer();
  }

  /** Tokens chosen so far. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Why the text has ended, if it has. */
  get reason(): EndReason | undefined {
    return this.#reason;
  }

  /** The computation of the prompt begins. `cachedTokens`: those that need none. */
  start(cachedTokens: number): void {
    this.#started = performance.now();
    this.#cachedTokens = cachedTokens;
    const { prompt } = this.#request;
    // a token's text may depend on its neighbors: the prompt's end is context, its own text is not given out
    for (const id of prompt.subarray(-CONTEXT_TOKENS)) this.#decoder.push(id);
    for (const id of prompt) this.#sampler.see(id);
  }

  /** Chooses the next token by its logits [V], which are changed in place. Throws MBOK_NON_FINITE. */
  write(logits: Float32Array): Written {
    const { ends, maxTokens, limitedByContext } = this.#request;
    // the sampler changes what the model thinks
    const raw = this.#scorer && logits.slice();
    const id = this.#sampler.sample(logits);
    if (this.#tokens++ === 0) this.#firstToken = performance.now();
    const { onToken, logprobs = 0 } = this.#request.options;
    onToken?.(raw === undefined ? { id } : (this.#scorer as TokenScorer).score(raw, id, logprobs));
    const ended = ends.includes(id);
    const last = ended || this.#tokens === maxTokens;
    const piece = ended ? this.#decoder.flush() : this.#decoder.push(id) + (last ? this.#decoder.flush() : '');
    const found = this.#matcher.push(piece);
    const stopped = found.stop !== undefined;
    const text = found.text + (last && !stopped ? this.#matcher.flush() : '');
    this.#text += text;
    if (stopped) this.#reason = 'stop';
    else if (ended) this.#reason = 'end-of-text';
    else if (last) this.#reason = limitedByContext ? 'context' : 'max-tokens';
    if (this.#reason === undefined) this.#sampler.take(id);
    return { text, next: this.#reason === undefined ? id : undefined };
  }

  /** How it went, up to now. `cacheBytes`: of its key-value cache. */
  result(reason: EndReason, cacheBytes: number): GenerationResult {
    const now = performance.now();
    return {
      reason,
      text: this.#text,
      tokens: this.#tokens,
      promptTokens: this.#request.prompt.length,
      cachedTokens: this.#cachedTokens,
      seed: this.#sampler.seed,
      cacheBytes,
      prefillSeconds: this.#tokens === 0 ? 0 : (this.#firstToken - (this.#started ?? now)) / 1000,
      decodeSeconds: this.#tokens === 0 ? 0 : (now - this.#firstToken) / 1000,
    };
  }
}
