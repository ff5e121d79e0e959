/** Small models for tests of training. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { coreOf, Model } from '../../lib/model';
import { type Matrix, rowBytes } from '../../lib/native/matrix';
import { Random } from './random';

/** Loads a LLaMA of two layers with random weights. */
export const loadTeacher = () => Model.load(join(__dirname, '../golden/llama'));

/** Converts the teacher to `kernels` kernels per weight, with scales rounded as when saved. */
export const makeStudent = (teacher: Model, kernels = 2) => binarize(teacher, { kernels, method: 'svid' });

/** Creates learnable token ids below `limit`: each follows from its predecessor, with some noise. */
export function learnableIds(count: number, { seed = 1, limit = 160 } = {}): number[] {
  const random = new Random(seed);
  const ids = [3];
  while (ids.length < count) {
    const next = ((ids.at(-1) as number) * 7 + 11) % limit;
    ids.push(random.uniform() < 0.1 ? random.integer(0, limit - 1) : next);
  }
  return ids;
}

/** Returns the ±1 kernels of a module, row by row in whole bytes, independent of their order in memory. */
export function kernelRows(model: Model, module: string): Uint8Array {
  const matrix = coreOf(model).parameters.get(`${module}.boolean_kernels`) as Matrix;
  const { rows: kernels, cols: rows } = coreOf(model).parameters.get(`${module}.s_out`) as Matrix;
  const bytes = matrix.raw() as Uint8Array;
  const width = rowBytes('bits', matrix.cols);
  if (matrix.type === 'bits') return bytes;
  const tiles = Math.ceil(rows / 64);
  return Uint8Array.from({ length: kernels * rows * width }, (_, at) => {
    const [row, byte] = [Math.floor(at / width) % rows, at % width];
    const tile = Math.floor(at / width / rows) * tiles + Math.floor(row / 64);
    return bytes[(tile * width + byte) * 64 + (row % 64)] as number;
  });
}

/** Returns a digest of every matrix by name. */
export function contents(model: Model): Map<string, string> {
  const hash = (bytes: NodeJS.TypedArray) => createHash('sha256').update(bytes).digest('hex');
  const bytes = (name: string, matrix: Matrix) =>
    /\.boolean_kernels$/.test(name) ? kernelRows(model, name.replace(/\.boolean_kernels$/, '')) : matrix.raw();
  return new Map([...coreOf(model).parameters].map(([name, matrix]) => [name, hash(bytes(name, matrix))]));
}

/** Returns the names of the matrices that differ. */
export function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [...before.keys()].filter((name) => before.get(name) !== after.get(name));
}
