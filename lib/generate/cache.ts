/** The keys and values that a generation has computed so far. */

import type { ModelCore } from '../models/model_core';
import { Matrix } from '../native/matrix';
import type { KeyValueCache } from '../nn/builder';

/** Owns the cache matrices of one generation. Dispose it. */
export class GenerationCache {
  readonly entries: KeyValueCache;
  /** 2 · layers · context · key-value columns · 4. */
  readonly bytes: number;

  /** Room for `context` tokens. Throws MBOK_OUT_OF_MEMORY. */
  constructor({ family, config }: ModelCore, context: number) {
    const shape = { rows: context, cols: config.keyValueHeads * config.headDimension };
    const entries = new Map<string, { readonly keys: Matrix; readonly values: Matrix }>();
    for (const module of family.attentionModules(config)) {
      entries.set(module, { keys: new Matrix(shape), values: new Matrix(shape) });
    }
    this.entries = entries;
    this.bytes = [...entries.values()].reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
  }

  dispose(): void {
    for (const { keys, values } of this.entries.values()) {
      keys.dispose();
      values.dispose();
    }
  }
}
