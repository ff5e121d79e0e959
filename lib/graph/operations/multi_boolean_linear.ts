import { type GradientContext, matrixShape, type OperationDefinition, type Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';
import { tiledRows } from './arrange_bits';
import type { KernelTensors } from './kernel_fit';
import { precisionCode } from './linear';

const NAME = 'multi_boolean_linear';

/** y = Σₖ ((x ⊙ s_in[k]) B[k]ᵀ) ⊙ s_out[k] + bias (arXiv 2505.22811, §4). Attribute: precision. */
const definition: OperationDefinition = {
  name: NAME,
  outputs([x, kernels, sOut, sIn, bias]) {
    const { rows, cols } = expectShape(NAME, 'x', x, {});
    const { rows: count, cols: m } = expectShape(NAME, 'sOut', sOut, {});
    expectShape(NAME, 'sIn', sIn, { rows: count, cols });
    const tiles = kernels?.type === 'bitTiles' && { rows: tiledRows(count as number, m), type: kernels.type };
    expectShape(NAME, 'kernels', kernels, { rows: (count as number) * m, type: 'bits', cols, ...tiles });
    if (bias !== undefined) expectShape(NAME, 'bias', bias, { rows: 1, cols: m });
    return [matrixShape(rows, m)];
  },
  gradient(context) {
    const { inputs, attributes, upstream, needs, accumulator } = context;
    const x = required(NAME, 'x', inputs[0]);
    const dy = required(NAME, 'dy', upstream(0));
    const { graph } = dy;
    let dx: Tensor | undefined;
    if (needs(0)) {
      // must precede the update below, which flips bits in place
      dx = graph.create(x);
      graph.emit('multi_boolean_gradient_input', [dy, ...inputs.slice(1, 4)], [dx], attributes);
    }
    const db = accumulator(4);
    if (db !== undefined) graph.emit('bias_gradient', [dy], [db]);
    emitSignal(context, x, dy);
    return [dx];
  },
};

/** Emits the gradients of scales and bits. One dense gradient G = dyᵀ x, consumed tile by tile, serves all kernels. */
function emitSignal({ inputs, attributes, accumulator, booleanTarget }: GradientContext, x: Tensor, dy: Tensor): void {
  const [, kernels, sOut, sIn] = inputs;
  const scales = [accumulator(2), accumulator(3)];
  const target = booleanTarget(1);
  const operands = [dy, x, kernels, sOut, sIn];
  if (target?.kind === 'optimizer') {
    const { accumulator: evidence, rowStatistics, columnStatistics, state, settings } = target;
    const updated = [kernels, evidence, rowStatistics, columnStatistics, state];
    dy.graph.emit('multi_boolean_update', operands, [...scales, ...updated], [...attributes, ...settings]);
  } else if (target !== undefined || scales.some((scale) => scale !== undefined)) {
    const outputs = [...scales, target?.signal];
    dy.graph.emit('multi_boolean_signal', operands, outputs, [...attributes, target?.kernel ?? 0]);
  }
}

/**
 * Adds a multi-Boolean linear layer, y = Σₖ ((x ⊙ sIn[k]) B[k]ᵀ) ⊙ sOut[k] + bias, in the graph's precision.
 *
 * @param x - [rows, n]
 * @param kernels - ±1 [K·m, n], where row i of kernel k is row k·m + i; or tiles, which have no gradient
 * @param sOut - [K, m]
 * @param sIn - [K, n]
 * @param bias - [1, m]
 * @returns y [rows, m]
 * @throws MbokError MBOK_SHAPE if shapes do not fit
 */
export function multiBooleanLinear(x: Tensor, kernels: Tensor, sOut: Tensor, sIn: Tensor, bias?: Tensor): Tensor {
  return graphOf('x', x).apply(definition, [x, kernels, sOut, sIn, bias], [precisionCode(x)])[0] as Tensor;
}

/** Emits product = x Ŵ for x [q, m] and the weight Ŵ [m, n] of kernels in rows. */
export function multiplyByKernels(x: Tensor, { kernels, sOut, sIn }: KernelTensors, product: Tensor): void {
  x.graph.emit('multi_boolean_gradient_input', [x, kernels, sOut, sIn], [product], [precisionCode(x)]);
}
