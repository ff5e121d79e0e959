/** Token ids, with 16 bits each if the vocabulary is small enough. */
export type TokenArray = Uint16Array | Int32Array;

/** A growable token array. */
export class TokenBuffer {
  #tokens: TokenArray;
  #length = 0;

  /** @param wide - whether ids need 32 bits */
  constructor(readonly wide: boolean) {
    this.#tokens = this.#make(1 << 12);
  }

  get length(): number {
    return this.#length;
  }

  push(ids: ArrayLike<number>): void {
    const needed = this.#length + ids.length;
    if (needed > this.#tokens.length) {
      const larger = this.#make(Math.max(needed, 2 * this.#tokens.length));
      larger.set(this.#tokens.subarray(0, this.#length));
      this.#tokens = larger;
    }
    this.#tokens.set(ids, this.#length);
    this.#length = needed;
  }

  /** Tokens pushed since the last `clear`; shares memory with the buffer. */
  get tokens(): TokenArray {
    return this.#tokens.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  #make(length: number): TokenArray {
    return this.wide ? new Int32Array(length) : new Uint16Array(length);
  }
}
