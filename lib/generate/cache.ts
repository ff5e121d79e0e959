/** The keys and values that a generation has computed so far. */

import { setImmediate } from 'node:timers/promises';
import type { Precision } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import { Matrix, rowBytes } from '../native/matrix';
import type { KeyValueCache } from '../nn/builder';

/** Where products are rounded to 16 bits or fewer, keeping what comes of them in f32 would only cost memory and time. */
function cacheType(precision: Precision): 'f32' | 'f16' {
  return precision === 'f32' ? 'f32' : 'f16';
}

/** Bytes of a cache for `rows` tokens: 2 · layers · rows · key-value columns · 4, or · 2 in 'bf16' and 'int8'. */
export function cacheBytes(
  { family, config }: Pick<ModelCore, 'family' | 'config'>,
  rows: number,
  precision: Precision,
): number {
  const bytes = rowBytes(cacheType(precision), config.keyValueHeads * config.headDimension);
  return 2 * family.attentionModules(config).length * rows * bytes;
}

export interface CacheOptions {
  /** Tokens of a sequence that there is room for. */
  readonly context: number;
  /** Sequences side by side. Default 1. */
  readonly slots?: number;
  /** Of the computation: a cache beside f32 products is f32, f16 beside others. */
  readonly precision: Precision;
}

/** Owns the cache matrices of one generation, or of several side by side. Dispose it. */
export class GenerationCache {
  readonly entries: KeyValueCache;
  readonly #heads: number;
  readonly #slots: number;

  /** Throws MBOK_OUT_OF_MEMORY. */
  constructor({ family, config }: ModelCore, { context, slots = 1, precision }: CacheOptions) {
    this.#heads = config.keyValueHeads;
    this.#slots = slots;
    const cols = config.keyValueHeads * config.headDimension;
    const shape = { rows: slots * context, cols, type: cacheType(precision) };
    const entries = new Map<string, { readonly keys: Matrix; readonly values: Matrix }>();
    for (const module of family.attentionModules(config)) {
      entries.set(module, { keys: new Matrix(shape), values: new Matrix(shape) });
    }
    this.entries = entries;
  }

  /** Copies what a smaller cache of one sequence holds, of the same model and precision. */
  takeOver(smaller: GenerationCache): void {
    for (const [module, { keys, values }] of smaller.entries) {
      const own = this.entries.get(module) as { readonly keys: Matrix; readonly values: Matrix };
      this.#copyHeads(keys, own.keys);
      this.#copyHeads(values, own.values);
    }
  }

  /** Copies the first positions of the first sequence to all others. */
  async spread(positions: number): Promise<void> {
    for (const matrix of [...this.entries.values()].flatMap(({ keys, values }) => [keys, values])) {
      const headBytes = matrix.byteLength / (this.#slots * this.#heads);
      const rows = new Uint8Array((positions * matrix.byteLength) / (matrix.rows * this.#heads));
      for (let head = 0; head < this.#heads; head++) {
        matrix.readAt(head * headBytes, rows);
        for (let slot = 1; slot < this.#slots; slot++) matrix.writeAt((slot * this.#heads + head) * headBytes, rows);
      }
      await setImmediate();
    }
  }

  /** A sequence's positions of one head follow one another (operations/attention_cached). */
  #copyHeads(from: Matrix, to: Matrix): void {
    const [step, wider] = [from.byteLength / this.#heads, to.byteLength / this.#heads];
    const head = new Uint8Array(step);
    for (let i = 0; i < this.#heads; i++) {
      from.readAt(i * step, head);
      to.writeAt(i * wider, head);
    }
  }

  dispose(): void {
    for (const { keys, values } of this.entries.values()) {
      keys.dispose();
      values.dispose();
    }
  }
}
