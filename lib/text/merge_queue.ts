/** A queue of merges, as a binary heap. The lowest rank comes first, and of equal ranks the lowest position. */
export class MergeQueue {
  #size = 0;
  readonly #ranks: Float64Array;
  readonly #positions: Int32Array;
  /** Rank of the merge that was popped last. */
  rank = -1;

  /** @param capacity - largest number of queued merges */
  constructor(capacity: number) {
    this.#ranks = new Float64Array(capacity);
    this.#positions = new Int32Array(capacity);
  }

  push(rank: number, position: number): void {
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(rank, position, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, rank, position);
  }

  /** Removes the first merge and returns its position, with its rank in `rank`. Returns -1 if the queue is empty. */
  pop(): number {
    if (this.#size === 0) return -1;
    const first = this.#positions[0] as number;
    this.rank = this.#ranks[0] as number;
    const last = --this.#size;
    const [rank, position] = [this.#ranks[last] as number, this.#positions[last] as number];
    let at = 0;
    for (let child = 1; child < last; child = 2 * at + 1) {
      const other = child + 1;
      if (other < last && this.#isBefore(this.#ranks[other] as number, this.#positions[other] as number, child))
        child++;
      if (this.#isBefore(rank, position, child)) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, rank, position);
    return first;
  }

  #isBefore(rank: number, position: number, other: number): boolean {
    const otherRank = this.#ranks[other] as number;
    return rank < otherRank || (rank === otherRank && position < (this.#positions[other] as number));
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#ranks[from] as number, this.#positions[from] as number);
  }

  #put(at: number, rank: number, position: number): void {
    this.#ranks[at] = rank;
    this.#positions[at] = position;
  }
}
