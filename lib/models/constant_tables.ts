/** The constants of a model, as long as the longest context that has been in use. */

import type { Constants, DecoderConfig, Family } from './family';

/** Grows with the context: a configuration's limit may be a million positions, of which most runs reach a thousand. */
export class ConstantTables implements Disposable {
  #constants: Constants = {};
  #positions = 0;

  constructor(
    private readonly family: Family,
    private readonly config: DecoderConfig,
  ) {}

  /**
   * The constants for runs that reach `positions` positions. Shorter ones are left to the graphs and plans that use them.
   * Throws MBOK_UNSUPPORTED for a context that is too long for a table, MBOK_OUT_OF_MEMORY.
   */
  upTo(positions: number): Constants {
    if (positions > this.#positions) {
      this.#constants = this.family.constants(this.config, positions);
      this.#positions = positions;
    }
    return this.#constants;
  }

  [Symbol.dispose](): void {
    for (const matrix of Object.values(this.#constants)) matrix.dispose();
    this.#constants = {};
    this.#positions = 0;
  }
}
