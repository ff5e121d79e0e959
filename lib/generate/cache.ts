/** The keys and values that a generation has computed so far. */

import type { ModelCore } from '../models/model_core';
import { Matrix } from '../native/matrix';
import type { KeyValueCache } from '../nn/builder';

/** Bytes of a cache for `rows` tokens: 2 · layers · rows · key-value columns · 4. */
export function cacheBytes({ family, config }: ModelCore, rows: number): number {
  return 8 * family.attentionModules(config).length * rows * config.keyValueHeads * config.headDimension;
}

/** Owns the cache matrices of one generation, or of several side by side. Dispose it. */
export class GenerationCache {
  readonly entries: KeyValueCache;
  readonly bytes: number;

  /** Room for `context` tokens in each of `slots` sequences. Throws MBOK_OUT_OF_MEMORY. */
  constructor(model: ModelCore, context: number, slots = 1) {
    const { family, config } = model;
    const shape = { rows: slots * context, cols: config.keyValueHeads * config.headDimension };
    const entries = new Map<string, { readonly keys: Matrix; readonly values: Matrix }>();
    for (const module of family.attentionModules(config)) {
      entries.set(module, { keys: new Matrix(shape), values: new Matrix(shape) });
    }
    this.entries = entries;
    this.bytes = cacheBytes(model, shape.rows);
  }

  /** Copies the rows of a smaller cache of one sequence. */
  takeOver(smaller: GenerationCache): void {
    for (const [module, { keys, values }] of smaller.entries) {
      const own = this.entries.get(module);
      own?.keys.writeAt(0, keys.toFloat32());
      own?.values.writeAt(0, values.toFloat32());
    }
  }

  dispose(): void {
    for (const { keys, values } of this.entries.values()) {
      keys.dispose();
      values.dispose();
    }
  }
}
