/** Small models for tests of training. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { binarize } from '../lib/compress/binarize';
import { ModelCore } from '../lib/models/model_core';
import { Random } from './random';

/** A LLaMA of two layers with random weights. */
export const loadTeacher = () => ModelCore.load(join(__dirname, 'golden/llama'));

/** The teacher with `kernels` kernels a weight, scales rounded as they are saved. */
export const makeStudent = (teacher: ModelCore, kernels = 2) => binarize(teacher, { kernels, method: 'svid' });

/** Token ids below `limit` that a model can learn something from: each follows from the one before, but for some noise. */
export function learnableIds(count: number, { seed = 1, limit = 160 } = {}): number[] {
  const random = new Random(seed);
  const ids = [3];
  while (ids.length < count) {
    const next = ((ids.at(-1) as number) * 7 + 11) % limit;
    ids.push(random.uniform() < 0.1 ? random.integer(0, limit - 1) : next);
  }
  return ids;
}

/** Bytes of every matrix by name. */
export function contents(model: ModelCore): Map<string, string> {
  const hash = (bytes: NodeJS.TypedArray) => createHash('sha256').update(bytes).digest('hex');
  return new Map([...model.parameters].map(([name, matrix]) => [name, hash(matrix.raw())]));
}

/** Names of the matrices that differ. */
export function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [...before.keys()].filter((name) => before.get(name) !== after.get(name));
}
