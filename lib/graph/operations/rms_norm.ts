import { MbokError } from '../../base/errors';
import { finiteNumber, options } from '../../base/validate';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';

/** An RMS norm as data: y = x / √(mean(x²) + ε) ⊙ (offset + weight). */
export interface RmsNorm {
  /** Weight [1, h]. */
  readonly weight: Tensor;
  readonly epsilon: number;
  /** Number added to the weight. */
  readonly offset: number;
}

/**
 * y = x / √(mean(x²) + ε) ⊙ (offset + w). Each group of as many columns as w has is normalized separately. Attributes:
 * ε, offset.
 */
const definition: OperationDefinition = {
  name: 'rms_norm',
  outputs([x, w]) {
    const shape = expectShape('rms_norm', 'x', x, {});
    const { cols } = expectShape('rms_norm', 'w', w, { rows: 1 });
    if (shape.cols % cols !== 0) {
      throw new MbokError('MBOK_SHAPE', `rms_norm: ${shape.cols} columns are not groups of ${cols}`);
    }
    return [shape];
  },
  gradient({ inputs, attributes, upstream, accumulator }) {
    const x = required('rms_norm', 'x', inputs[0]);
    const dx = x.graph.create(x);
    x.graph.emit('rms_norm_gradient', [upstream(0), x, inputs[1]], [dx, accumulator(1)], attributes);
    return [dx];
  },
};

/** Options of {@link rmsNorm}. */
export interface RmsNormOptions {
  /** Added to the mean square. Default 1e-5. */
  readonly epsilon?: number;
  /** Added to the weight: 1 in Gemma, whose weights are stored around 0. Default 0. */
  readonly offset?: number;
}

/**
 * Normalizes every row by its root mean square (arXiv 1910.07467): x / √(mean(x²) + ε) ⊙ (offset + w). If rows are several
 * times as wide as the weight, each group of as many columns is normalized separately, as norms of queries and keys are.
 *
 * @param x - [rows, groups · h], f32
 * @param w - weight [1, h]
 * @returns a tensor of the shape of x
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if the weight does not fit
 */
export function rmsNorm(x: Tensor, w: Tensor, given: RmsNormOptions = {}): Tensor {
  const { epsilon = 1e-5, offset = 0 } = options('options', given, ['epsilon', 'offset']);
  finiteNumber('epsilon', epsilon, 0);
  finiteNumber('offset', offset);
  return graphOf('x', x).apply(definition, [x, w], [epsilon, offset])[0] as Tensor;
}
