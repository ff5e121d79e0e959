/** Timing and verification shared by the benchmarks. */

import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
/** A module of the library, whether public or not. */
export const dist = (path) => require(`../dist/${path}.js`);

export const { Graph } = dist('graph/graph');
export const { Plan } = dist('graph/plan');
export const { Matrix } = dist('native/matrix');
export const { BitMatrix } = dist('native/bit_matrix');
export const { addon } = dist('native/addon');
export const { constantOnes } = dist('graph/constants');
export const { linear } = dist('graph/operations/linear');
export const { multiBooleanLinear } = dist('graph/operations/multi_boolean_linear');
export const { tiled } = dist('models/bit_tiles');
export const { booleanLinear } = dist('graph/operations/boolean_linear');

const RUNS = 9;

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Tells whether this machine supports the value for MBOK_ISA. */
export function hasIsa(isa) {
  const program = `require(${JSON.stringify(require.resolve('../dist/native/addon.js'))}).addon().info()`;
  try {
    execFileSync(process.execPath, ['-e', program], { env: { ...process.env, MBOK_ISA: isa }, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Returns seeded numbers in [−1, 1) by xorshift32. */
export function uniforms(count, seed = 1) {
  const values = new Float32Array(count);
  let x = seed;
  for (let i = 0; i < count; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    values[i] = (x >>> 0) / 2 ** 31 - 1;
  }
  return values;
}

export function randomMatrix(rows, cols, seed) {
  return Matrix.from(uniforms(rows * cols, seed), { rows, cols });
}

export function randomBits(rows, cols, seed) {
  const bytes = new Uint8Array(
    new Int32Array(uniforms(Math.ceil((rows * Math.ceil(cols / 8)) / 4), seed).buffer).buffer,
  );
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(bytes[i] + i, 2654435761) >>> 24;
  return BitMatrix.fromPacked(bytes.slice(0, rows * Math.ceil(cols / 8)), { rows, cols });
}

/**
 * Returns the median seconds of one operation. `emit` adds it to the graph once per call. A plan contains enough copies
 * to hide the cost of the native call.
 */
export async function secondsPerOperation(emit, { rows, copies = 1 }) {
  const graph = new Graph(emit.precision ? { precision: emit.precision } : {});
  for (let i = 0; i < copies; i++) emit(graph, i);
  const plan = new Plan(graph, { maxRows: Math.max(rows, 1) });
  const seconds = [];
  for (let i = 0; i <= RUNS; i++) {
    const start = process.hrtime.bigint();
    await plan.run({ scalars: { rows, sequenceLength: rows } });
    seconds.push(Number(process.hrtime.bigint() - start) / 1e9 / copies);
  }
  plan.dispose();
  return median(seconds.slice(1)); // the first run touches fresh memory
}

/** Throws unless ‖a − b‖ ≤ bound · ‖b‖. */
export function verify(name, a, b, bound) {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  const error = Math.sqrt(difference / norm);
  if (!(error <= bound)) throw new Error(`${name}: relative error ${error} exceeds ${bound}`);
}
