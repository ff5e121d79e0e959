import { MbokError } from '../errors';
import { uniformInteger } from '../random';
import type { TokenArray } from '../text/token_buffer';
import { integerInRange } from '../validate';
import { ID_BITS, type TokenStore, UNCOUNTED } from './token_file';

/** Sequences of one length, one after the other. */
export interface Sequences {
  readonly ids: Int32Array;
  /** Of each token its successor, −1 where that does not count: at a sequence's end, and what others say in a chat. */
  readonly targets: Int32Array;
}

/**
 * Text as a stream of tokens: documents one after the other, each preceded by the token that starts one. The tokens of
 * long texts stay on disk and are read where they are needed. Close it.
 *
 * @example
 * await using data = await loadDataset({ files: 'corpus', field: 'content' }, model);
 * await finetune(model, { data, teacher });
 */
export class Dataset implements AsyncDisposable {
  /** Tokens, those that start documents included. */
  readonly length: number;
  /** The largest of the ids, −1 where there is none. */
  readonly largestId: number;
  /** A hash of the tokens, and of which of them count. */
  readonly digest: string;
  /** Paths of the files that the text came from; none where it was not read from files. */
  readonly files: readonly string[];
  readonly #store: TokenStore;

  /** @internal */
  constructor(store: TokenStore, files: readonly string[] = []) {
    this.#store = store;
    this.files = files;
    this.length = store.tokens;
    this.largestId = store.largestId;
    this.digest = store.digest;
  }

  /**
   * Token ids from `start` on.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT (a range that is not within the data), MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async read(start: number, count: number): Promise<Int32Array> {
    integerInRange('start', start, 0, this.length);
    integerInRange('count', count, 0, this.length - start);
    const tokens = await this.#store.read(start, count);
    return Int32Array.from(tokens, (token) => token & ID_BITS);
  }

  /**
   * The sequences of one training step: windows at random places that depend on seed, step and their number in the batch
   * alone.
   *
   * @param options - `window`: tokens a sequence; `batch`: sequences; `seed`; `step`, from 0
   * @throws MbokError MBOK_INVALID_ARGUMENT when the data is shorter than a window, MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async batch({
    window,
    batch,
    seed,
    step,
  }: {
    readonly window: number;
    readonly batch: number;
    readonly seed: number;
    readonly step: number;
  }): Promise<Sequences> {
    const places = this.length - window + 1;
    if (places < 1) {
      throw new MbokError(
        'MBOK_INVALID_ARGUMENT',
        `'window' is ${window} tokens, but the text has only ${this.length}`,
      );
    }
    const ids = new Int32Array(batch * window);
    const targets = new Int32Array(batch * window);
    for (let index = 0; index < batch; index++) {
      const tokens = await this.#store.read(uniformInteger(places, seed, step, index), window);
      fillSequence(tokens, ids.subarray(index * window), targets.subarray(index * window));
    }
    return { ids, targets };
  }

  /** Closes the file behind it; further reads fail with MBOK_DISPOSED. Closing twice is allowed. */
  async close(): Promise<void> {
    await this.#store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function fillSequence(tokens: TokenArray, ids: Int32Array, targets: Int32Array): void {
  for (let i = 0; i < tokens.length; i++) {
    ids[i] = (tokens[i] as number) & ID_BITS;
    const next = tokens[i + 1] ?? UNCOUNTED;
    targets[i] = next < 0 ? -1 : next;
  }
}
