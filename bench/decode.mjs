/**
 * Times decode: one row of inputs through one layer, with weights from memory. Rates of weight bytes are relative to
 * the measured memory bandwidth. Times are relative to the same layer in F16 in the same run.
 */

import { measureLimits } from './limits.mjs';
import { constantOnes, linear, Matrix, multiBooleanLinear, randomMatrix, secondsPerOperation } from './measure.mjs';
import { emitter, tiledOperands } from './products.mjs';

/** Outputs × inputs of the layers of a LLaMA with 13 B parameters. */
const SHAPES = [
  [5120, 5120],
  [13824, 5120],
  [5120, 13824],
];
const KERNELS = [1, 2, 4];
/** Bits per weight, scales aside, of factor pairs: the bytes of one and of two kernels. */
const PAIRS = [1, 2];
/** Bytes of different weights in a run, more than any cache holds. */
const BYTES = 256e6;

function randomHalves(rows, cols) {
  const matrix = new Matrix({ rows, cols, type: 'f16' });
  const values = new Uint16Array(rows * cols);
  for (let i = 0; i < values.length; i++) values[i] = 0x2c00 + (Math.imul(i, 2654435761) >>> 23); // 2^-4 to 2^-3
  matrix.write(values);
  return matrix;
}

/** Creates random q8 weights. All scales are finite, since rows have an even number of bytes. */
function randomQ8(rows, cols) {
  const matrix = new Matrix({ rows, cols, type: 'q8' });
  const bytes = new Uint8Array(matrix.byteLength);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (Math.imul(i, 2654435761) >>> 24) & (i % 2 === 1 ? 0x2f : 0xff);
  matrix.write(bytes);
  return matrix;
}

/** Creates operands of pairs of two ±1 matrices of this rank: those of B, then those of A, whose inputs have no scale. */
async function pairOperands(rank, m, n, copies) {
  const [right, left] = [await tiledOperands(1, rank, n, copies), await tiledOperands(1, m, rank, copies)];
  return right.map((operands, i) => [...operands, ...left[i].slice(0, 2)]);
}

/** Adds the layer that these weights belong to: dense, kernels or a pair. */
function layer(x, [weights, ...others]) {
  if (others.length === 0) return linear(x, weights);
  const [sOut, sIn, left, leftOut] = others;
  const y = multiBooleanLinear(x, weights, sOut, sIn);
  return left === undefined ? y : multiBooleanLinear(y, left, leftOut, constantOnes(x.graph, sOut.cols));
}

/**
 * Times decode. The memory bandwidth is measured again for every shape, since it changes within minutes on a shared
 * machine.
 *
 * @yields {{what: string, shape: string, seconds: number, rate: number, unit: string, fraction: number, speedup:
 * number}}
 */
export async function* timeDecode() {
  for (const [m, n] of SHAPES) {
    const limits = measureLimits();
    const x = randomMatrix(1, n, 1);
    const time = async (what, bytes, make, precision, f16) => {
      const copies = Math.ceil(BYTES / bytes);
      const operands = await make(copies);
      const emit = emitter(precision, (graph, i) => {
        layer(
          graph.bind(x),
          operands[i].map((matrix) => graph.bind(matrix)),
        );
      });
      const seconds = await secondsPerOperation(emit, { rows: 1, copies });
      for (const matrix of new Set(operands.flat())) matrix.dispose();
      const rate = bytes / seconds;
      const fraction = rate / limits.read_bytes_per_second;
      return {
        what,
        shape: `1 × ${m} × ${n}`,
        seconds,
        rate,
        unit: 'weight B/s',
        fraction,
        speedup: (f16 ?? seconds) / seconds,
      };
    };
    const halves = (copies) => Array.from({ length: copies }, () => [randomHalves(m, n)]);
    const dense = await time('decode f16', 2 * m * n, halves, 'f32');
    yield dense;
    const blocks = (copies) => Array.from({ length: copies }, () => [randomQ8(m, n)]);
    yield await time('decode q8', (17 * m * n) / 16, blocks, 'f32', dense.seconds);
    for (const [precision, width] of [
      ['bf16', 10],
      ['f32', 30],
    ]) {
      for (const kernels of KERNELS) {
        const make = (copies) => tiledOperands(kernels, m, n, copies);
        const what = `decode K=${kernels}, ${width} bits`;
        yield await time(what, (kernels * m * n) / 8, make, precision, dense.seconds);
      }
      for (const bits of PAIRS) {
        const rank = Math.round((bits * m * n) / (m + n) / 8) * 8;
        const make = (copies) => pairOperands(rank, m, n, copies);
        const what = `decode pair of K=${bits}, ${width} bits`;
        yield await time(what, (rank * (m + n)) / 8, make, precision, dense.seconds);
      }
    }
  }
}
