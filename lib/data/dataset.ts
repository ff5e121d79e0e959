import { MbokError } from '../base/errors';
import { uniformInteger } from '../base/random';
import { integerInRange } from '../base/validate';
import type { TokenArray } from '../text/token_buffer';
import type { Places } from './positions';
import { ID_BITS, type TokenStore } from './token_file';
import {
  countPlaces,
  cutWindows,
  findCounted,
  readWindow,
  type TextWindow,
  type WindowCut,
  type WindowShape,
} from './windows';

/** Concatenated sequences of equal length. */
export interface Sequences {
  readonly ids: Int32Array;
  /** Successor of each token; −1 if it does not count: at the end of a sequence, and for other speakers of a chat. */
  readonly targets: Int32Array;
}

/** Token ids and labels of a text. */
export interface LabeledTokens {
  /** The token ids. */
  readonly ids: Int32Array;
  /** The ids, with −1 for tokens that do not count. */
  readonly labels: Int32Array;
}

/** Number of conversations in a dataset. */
export interface ConversationCount {
  /** All conversations. */
  readonly count: number;
  /** Those without a token that counts. */
  readonly unanswered: number;
}

/** Windows from which {@link Dataset.batch} chooses. */
export interface WindowOptions extends WindowShape {
  /** Whether to skip windows whose targets are all −1. Default false. */
  readonly counted?: boolean;
}

/**
 * A token stream: documents in sequence, each after the token that starts a document. Tokens of long texts stay on disk
 * and are read on demand. Close the dataset after use.
 *
 * @example
 * await using data = await loadDataset({ files: 'corpus', field: 'content' }, model);
 * await finetune(model, { data, teacher });
 */
export class Dataset implements AsyncDisposable {
  /** Number of tokens, including those that start documents. */
  readonly length: number;
  /** Number of tokens that count: the assistant's in conversations, all in other texts. */
  readonly counted: number;
  /** Number of conversations; undefined for other texts. */
  readonly conversations: ConversationCount | undefined;
  /** Largest token id; −1 if there are no tokens. */
  readonly largestId: number;
  /** Hash of the tokens, and of which of them count. */
  readonly digest: string;
  /** Paths of the source files; empty if the text was not read from files. */
  readonly files: readonly string[];
  readonly #store: TokenStore;
  /** Places of windows with a token that counts, by the shape of the windows. */
  readonly #countedPlaces = new Map<string, Promise<Places>>();

  /** @internal */
  constructor(store: TokenStore, files: readonly string[] = []) {
    this.#store = store;
    this.files = files;
    this.length = store.tokens;
    this.counted = store.counted;
    this.conversations = store.conversations;
    this.largestId = store.largestId;
    this.digest = store.digest;
  }

  /** Whether some tokens do not count. */
  get masked(): boolean {
    return this.counted < this.length;
  }

  /**
   * Reads token ids from `start` on.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT if the range leaves the data, MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async read(start: number, count: number): Promise<Int32Array> {
    return (await this.readLabeled(start, count)).ids;
  }

  /**
   * Reads token ids from `start` on, and labels: the same ids, with −1 for tokens that do not count.
   *
   * @throws MbokError as {@link read}
   */
  async readLabeled(start: number, count: number): Promise<LabeledTokens> {
    integerInRange('start', start, 0, this.length);
    integerInRange('count', count, 0, this.length - start);
    return this.#labeled(await this.#store.read(start, count));
  }

  /**
   * @internal
   * Cuts consecutive windows, as {@link cutWindows} describes. Returns none if the text is shorter than one.
   *
   * @throws MbokError MBOK_ABORTED, MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async windows(shape: WindowShape, cut: WindowCut): Promise<TextWindow[]> {
    return await cutWindows(this.#store, shape, cut);
  }

  /**
   * @internal
   * Reads the window at `place`, which the text must fill, with token ids and labels as in {@link readLabeled}.
   *
   * @throws MbokError MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async window(place: number, shape: WindowShape): Promise<LabeledTokens> {
    return this.#labeled(await readWindow(this.#store, place, shape));
  }

  #labeled(tokens: TokenArray): LabeledTokens {
    const ids = Int32Array.from(tokens, (token) => token & ID_BITS);
    return { ids, labels: this.masked ? Int32Array.from(tokens, (token) => (token < 0 ? -1 : token)) : ids };
  }

  /**
   * @internal
   * Reads the sequences of one training step: windows at random places. The places depend only on the seed, the step
   * and the index in the batch.
   *
   * @param options - the windows to choose from; `batch`: sequences per step; `seed` of the choice; `step`, from 0
   * @throws MbokError MBOK_INVALID_ARGUMENT (naming the files) if the data is shorter than a window, or if no window
   * has a target that counts; MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async batch({
    batch,
    seed,
    step,
    ...options
  }: WindowOptions & { readonly batch: number; readonly seed: number; readonly step: number }): Promise<Sequences> {
    const { window } = options;
    const places = await this.#places(options);
    const ids = new Int32Array(batch * window);
    const targets = new Int32Array(batch * window).fill(-1);
    for (let index = 0; index < batch; index++) {
      const read = await this.window(places.at(uniformInteger(places.count, seed, step, index)), options);
      ids.set(read.ids, index * window);
      targets.set(read.labels.subarray(1), index * window);
    }
    return { ids, targets };
  }

  /**
   * @internal
   * Counts the windows to choose from, one at every place.
   *
   * @throws MbokError as {@link batch}
   */
  async countWindows(options: WindowOptions): Promise<number> {
    return (await this.#places(options)).count;
  }

  async #places({ counted = false, ...shape }: WindowOptions): Promise<Pick<Places, 'count' | 'at'>> {
    const { window, startId } = shape;
    const count = await countPlaces(this.#store, shape);
    if (count === 0) {
      throw new MbokError(
        'MBOK_INVALID_ARGUMENT',
        `'window' is ${window} tokens, but the text has only ${this.length}`,
      );
    }
    if (!counted || !this.masked) return { count, at: (index) => index };
    this.expectCounted();
    const key = `${window} ${startId}`;
    const finding = this.#countedPlaces.get(key) ?? findCounted(this.#store, shape);
    this.#countedPlaces.set(key, finding);
    const places = await finding;
    if (places.count > 0) return places;
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `${this.#name}: no window of ${window} tokens has a token that counts`,
    );
  }

  /** @internal Throws MBOK_INVALID_ARGUMENT, naming the files, if no token counts, since there is nothing to learn or score. */
  expectCounted(): void {
    if (this.counted > 0) return;
    const where = this.conversations ? ` of its ${this.conversations.count} conversations` : '';
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `${this.#name}: no token counts: the assistant says nothing in any${where}`,
    );
  }

  get #name(): string {
    return this.files.length === 0 ? 'the text' : this.files.map((path) => `'${path}'`).join(', ');
  }

  /** Closes the underlying file; later reads throw MBOK_DISPOSED. A second call does nothing. */
  async close(): Promise<void> {
    await this.#store.close();
  }

  /** Closes the dataset, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
