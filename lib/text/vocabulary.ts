/** The tokens of a model, by id and by spelling. */
export class Vocabulary {
  readonly #ids = new Map<string, number>();
  readonly #tokens: (string | undefined)[];

  /** `ids[i]` is the id of `tokens[i]`, by default `i`; ids are integers from 0. Of equal tokens the last one wins. */
  constructor(tokens: readonly string[], ids?: readonly number[]) {
    const ofToken = (index: number) => ids?.[index] ?? index;
    for (let i = 0; i < tokens.length; i++) this.#ids.set(tokens[i] as string, ofToken(i));
    let largest = -1;
    for (const id of this.#ids.values()) largest = Math.max(largest, id);
    this.#tokens = new Array(largest + 1);
    for (const [token, id] of this.#ids) this.#tokens[id] = token;
  }

  /** Number of tokens; ids may have gaps. */
  get size(): number {
    return this.#ids.size;
  }

  /** Tokens by id; undefined for gaps. */
  get tokens(): readonly (string | undefined)[] {
    return this.#tokens;
  }

  /** Returns the id of a token, or undefined. */
  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  /** Returns all tokens with their ids, in the order of the file. */
  entries(): Iterable<[token: string, id: number]> {
    return this.#ids;
  }
}
