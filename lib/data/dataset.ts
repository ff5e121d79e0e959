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

/** Sequences of one length, one after the other. */
export interface Sequences {
  readonly ids: Int32Array;
  /** Of each token its successor, −1 where that does not count: at a sequence's end, and what others say in a chat. */
  readonly targets: Int32Array;
}

/** Tokens of a text. */
export interface Labeled {
  readonly ids: Int32Array;
  /** The same ids, but −1 for tokens that do not count. */
  readonly labels: Int32Array;
}

/** Which windows {@link Dataset.batch} chooses from. */
export interface WindowOptions extends WindowShape {
  /** Leave out windows whose targets are all −1. Default false. */
  readonly counted?: boolean;
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
  /** Tokens that count: of conversations those that the assistant says, of any other text all. */
  readonly counted: number;
  /** Of conversations how many there are, and in how many of them no token counts; undefined for any other text. */
  readonly conversations: { readonly count: number; readonly unanswered: number } | undefined;
  /** The largest of the ids, −1 where there is none. */
  readonly largestId: number;
  /** A hash of the tokens, and of which of them count. */
  readonly digest: string;
  /** Paths of the files that the text came from; none where it was not read from files. */
  readonly files: readonly string[];
  readonly #store: TokenStore;
  /** Places of windows in which a token counts, by the windows' shape. */
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

  /** True where some tokens do not count. */
  get masked(): boolean {
    return this.counted < this.length;
  }

  /**
   * Token ids from `start` on.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT (a range that is not within the data), MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async read(start: number, count: number): Promise<Int32Array> {
    return (await this.readLabeled(start, count)).ids;
  }

  /**
   * Token ids from `start` on, and labels: the same ids, but −1 for tokens that do not count.
   *
   * @throws MbokError as {@link read}
   */
  async readLabeled(start: number, count: number): Promise<Labeled> {
    integerInRange('start', start, 0, this.length);
    integerInRange('count', count, 0, this.length - start);
    return this.#labeled(await this.#store.read(start, count));
  }

  /**
   * Windows one after the other, as {@link cutWindows} says; none where the text is shorter than one.
   *
   * @throws MbokError MBOK_ABORTED, MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async windows(shape: WindowShape, cut: WindowCut): Promise<TextWindow[]> {
    return await cutWindows(this.#store, shape, cut);
  }

  /**
   * The window at `place`, which the text must fill: token ids and labels as of {@link readLabeled}.
   *
   * @throws MbokError MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
   */
  async window(place: number, shape: WindowShape): Promise<Labeled> {
    return this.#labeled(await readWindow(this.#store, place, shape));
  }

  #labeled(tokens: TokenArray): Labeled {
    const ids = Int32Array.from(tokens, (token) => token & ID_BITS);
    return { ids, labels: this.masked ? Int32Array.from(tokens, (token) => (token < 0 ? -1 : token)) : ids };
  }

  /**
   * The sequences of one training step: windows at random places that depend on seed, step and their number in the batch
   * alone.
   *
   * @param options - the windows to choose from; `batch`: sequences of the step; `seed` of the choice; `step`, from 0
   * @throws MbokError MBOK_INVALID_ARGUMENT when the data is shorter than a window, or has none in which a target counts
   *   (naming its files); MBOK_IO, MBOK_FORMAT, MBOK_DISPOSED
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
   * How many windows there are to choose from, one at every place.
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

  /** Throws MBOK_INVALID_ARGUMENT, naming the files, where no token counts: there is nothing to learn or to score. */
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

  /** Closes the file behind it; further reads fail with MBOK_DISPOSED. Closing twice is allowed. */
  async close(): Promise<void> {
    await this.#store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
