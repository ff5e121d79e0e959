import { MbokError } from '../../base/errors';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape, required } from '../operation';

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

/**
 * Applies RMS normalization to every row of x [rows, groups · h] with weight w [1, h]; groups are normalized
 * separately. `offset` is added to the weight (1 in Gemma, whose weights are stored around 0).
 */
export function rmsNorm(x: Tensor, w: Tensor, epsilon: number, offset = 0): Tensor {
  return x.graph.apply(definition, [x, w], [epsilon, offset])[0] as Tensor;
}
