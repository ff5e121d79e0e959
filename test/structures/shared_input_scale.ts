/** A structure only for tests: K kernels with shared input scales, W ≈ (Σₖ diag(s_out[k]) · B[k]) · diag(s_in). */

import { MbokError } from '../../lib/base/errors';
import type { WeightConverter } from '../../lib/compress/converter';
import { decompose } from '../../lib/compress/kernels/decompose';
import { disposeKernels, roundScales } from '../../lib/compress/kernels/kernel_matrices';
import { relativeResidual } from '../../lib/compress/relative_residual';
import type { Tensor } from '../../lib/graph/graph';
import { add } from '../../lib/graph/operations/add';
import { rowsOfBits } from '../../lib/graph/operations/arrange_bits';
import { reconstruct } from '../../lib/graph/operations/kernel_fit';
import { multiBooleanLinear } from '../../lib/graph/operations/multi_boolean_linear';
import { LARGEST_F16_LOSS, roundToF16 } from '../../lib/io/half';
import { moduleOf, partsOf } from '../../lib/models/parts';
import { withWidened } from '../../lib/models/widen';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import type { LayerFormat, Structure, WeightTensors } from '../../lib/structures/structure';

export interface SharedInputScale extends LayerFormat {
  readonly kind: 'shared_input_scale';
  /** K, 1 to {@link MOST}. */
  readonly count: number;
}

const MOST = 4;

const formatOf = (count: number): SharedInputScale => ({ kind: 'shared_input_scale', count });

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

interface Plane {
  readonly signs: Tensor;
  readonly sOut: Tensor;
  readonly sIn: Tensor;
}

function planesOf(weight: WeightTensors): readonly Plane[] {
  const count = Object.keys(weight).filter((name) => name.startsWith('signs_')).length;
  const part = (name: string) => weight[name] as Tensor;
  return numbers(count).map((k) => ({ signs: part(`signs_${k}`), sOut: part(`s_out_${k}`), sIn: part('s_in') }));
}

export const sharedInputScale: Structure<SharedInputScale, string> = {
  kind: 'shared_input_scale',
  parts: ({ rows, cols }, { count }) => [
    ...numbers(count).map((k) => ({ name: `signs_${k}`, rows, cols, role: 'bits', type: 'bits' }) as const),
    ...numbers(count).map((k) => ({ name: `s_out_${k}`, rows: 1, cols: rows, role: 'scale', type: 'F16' }) as const),
    { name: 's_in', rows: 1, cols, role: 'scale', type: 'F16' },
  ],
  fits: (_, { count }) => count <= MOST,
  layer(weight, x, { bias, rounded }) {
    const input = rounded(x);
    return planesOf(weight)
      .map(({ signs, sOut, sIn }, k) => multiBooleanLinear(input, signs, sOut, sIn, k === 0 ? bias : undefined))
      .reduce((sum, output) => add(sum, output));
  },
  multiplyOut(weight, dense) {
    for (const [k, { signs, sOut, sIn }] of planesOf(weight).entries()) {
      const plane = k === 0 ? dense : dense.graph.create(dense);
      reconstruct({ kernels: rowsOfBits(signs, 1, sOut.cols), sOut, sIn }, plane);
      if (k > 0) dense.graph.emit('add', [dense, plane], [dense]);
    }
  },
  parse: (settings) => formatOf(settings.count('count')),
  write: ({ count }) => ({ count }),
  describe: ({ count }) => `K = ${count}, shared input scale`,
};

export const sharedInputScaleConverter: WeightConverter<SharedInputScale> = {
  formats: () => numbers(MOST).map(formatOf),
  inOrder: true,

  async fit(weight, { owner, format, calibration, signal }) {
    const convert = async (wide: Matrix) => {
      const left = await remainders(moduleOf(owner.name), wide, calibration?.moments.h, signal);
      const planes = numbers(format.count).map(left.next);
      return [
        ...planes.map(({ signs }) => BitMatrix.fromSigns(signs, wide)),
        ...[...planes.map(({ sOut }) => sOut), left.sIn].map((scales) =>
          Matrix.from(scales, { rows: 1, cols: scales.length }),
        ),
      ];
    };
    // nothing of an earlier conversion depends on the kernels of other weights
    const earlier = calibration?.earlier?.map((matrix) => matrix.clone());
    const matrices = earlier ?? (await withWidened(weight, signal, convert));
    const placed = partsOf(owner, format).map((part, i) => {
      return { part, matrix: matrices[i] as Matrix, storage: part.type ?? 'F16' };
    });
    return { format, matrices: placed, residual: await relativeResidual(weight, { format, matrices: placed }, signal) };
  },

  budget: {
    formats: () => numbers(MOST).map(formatOf),
    usualBits: [0, 16],
    async residuals(weight, formats, signal) {
      const left = await remainders('a weight', weight, undefined, signal);
      const norms = numbers(MOST).map(() => left.next().norm);
      return formats.map(({ count }) => norms[count - 1] as number);
    },
  },
};

/** One plane of a weight, and ‖W − Ŵ‖ with it. */
interface Taken {
  readonly signs: Float32Array;
  readonly sOut: Float32Array;
  readonly norm: number;
}

/**
 * Extracts the input scales of the best single kernel, then plane after plane: the signs of the residual, with output
 * scales by least squares. If H is known, columns are weighted by the squares of their inputs. Scales are F16 numbers.
 */
async function remainders(
  module: string,
  weight: Matrix,
  h: Matrix | undefined,
  signal: AbortSignal | undefined,
): Promise<{ readonly sIn: Float32Array; readonly next: () => Taken }> {
  const single = await decompose(weight, { kernels: 1, iterations: 30, refitRounds: 0 }, signal);
  roundScales(module, single);
  const sIn = single.sIn.toFloat32();
  disposeKernels(single);
  const squares = h?.toFloat32();
  const columns = sIn.map((scale, j) => (squares?.[j * (sIn.length + 1)] ?? 1) * scale);
  const length = columns.reduce((sum, column, j) => sum + column * (sIn[j] as number), 0);
  const rest = weight.toFloat32();
  const next = (): Taken => {
    const signs = rest.map((value, at) => (value * (sIn[at % sIn.length] as number) < 0 ? -1 : 1));
    const rows = Array.from({ length: weight.rows }, (_, i) => i * sIn.length);
    const along = rows.map((at) =>
      columns.reduce((sum, column, j) => sum + Math.abs(column * (rest[at + j] as number)), 0),
    );
    const { values: sOut, loss } = roundToF16(Float32Array.from(along, (sum) => (length === 0 ? 0 : sum / length)));
    if (!(loss <= LARGEST_F16_LOSS)) throw new MbokError('MBOK_NON_FINITE', `the scales of '${module}' do not fit F16`);
    for (const [at, sign] of signs.entries()) {
      const [i, j] = [Math.floor(at / sIn.length), at % sIn.length];
      rest[at] = (rest[at] as number) - (sOut[i] as number) * sign * (sIn[j] as number);
    }
    return { signs, sOut, norm: Math.sqrt(rest.reduce((sum, value) => sum + value * value, 0)) };
  };
  return { sIn, next };
}
