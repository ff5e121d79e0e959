/** The constant tables of a model, as long as the longest context in use. */

import type { Constants, DecoderConfig, Family } from './family';

/**
 * Constants that grow with the context. A configuration may allow a million positions, of which typical runs use a
 * thousand.
 */
export class ConstantTables implements Disposable {
  #constants: Constants = {};
  #positions = 0;

  constructor(
    private readonly family: Family,
    private readonly config: DecoderConfig,
  ) {}

  /**
   * Returns the constants for up to `positions` positions. Shorter tables are not disposed, since graphs and plans may
   * use them. Throws MBOK_UNSUPPORTED if a context is too long for a table, MBOK_OUT_OF_MEMORY.
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
