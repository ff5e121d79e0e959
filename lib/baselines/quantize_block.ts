/** Quantization of one block of a dense model: the values of the codes replace its linear weights. */

import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import { type BlockOptions, convertInOrder, convertLinears } from '../compress/block_conversion';
import type { ConvertedWeights } from '../compress/converted';
import type { DenseSource } from '../compress/dense_source';
import type { Walk } from '../compress/hidden_states';
import type { ParameterSpecification } from '../models/family';
import { type ModelPart, moduleOf, partsOf } from '../models/parts';
import { withWidened } from '../models/widen';
import { Matrix } from '../native/matrix';
import { DENSE } from '../structures/dense';
import { gptq } from './gptq';
import { factorInputs, type InputFactor } from './input_factor';
import { inputGram } from './input_gram';
import type { BaselineSettings } from './quantize_options';
import { roundToNearest } from './round_to_nearest';

/** Rounds the linear weights of block `layer` to nearest, with one of them in memory at a time. */
export async function roundBlock(
  source: DenseSource,
  layer: number,
  settings: BaselineSettings,
  options: BlockOptions,
): Promise<ConvertedWeights> {
  return await convertLinears(source, layer, options, (owner, weight, converted) =>
    withWidened(weight, options.signal, async (wide) => {
      const values = wide.toFloat32();
      addQuantized(converted, owner, values, roundToNearest(values, weight.cols, settings));
    }),
  );
}

/**
 * Applies GPTQ to block `layer`, in the order in which tokens pass its layers (`--true-sequential` of the authors'
 * code). The hidden states then continue to the next block.
 */
export async function compensateBlock(
  walk: Walk,
  layer: number,
  settings: BaselineSettings,
  { signal, onModule }: BlockOptions,
): Promise<ConvertedWeights> {
  return await convertInOrder(walk, layer, async (shared, converted) => {
    const inputs = await factorOf(await inputGram(walk, shared), settings, signal);
    try {
      for (const owner of shared.owners) {
        onModule(moduleOf(owner.name));
        throwIfAborted(signal);
        await withWidened(shared.sides.teacher.parameters.get(owner.name) as Matrix, signal, async (wide) => {
          const values = wide.toFloat32();
          addQuantized(converted, owner, values, await gptq(values, inputs, settings, signal));
        });
      }
    } finally {
      inputs.factor.dispose();
    }
  });
}

async function factorOf(h: Matrix, { order }: BaselineSettings, signal: AbortSignal | undefined): Promise<InputFactor> {
  try {
    return await factorInputs(h, order, signal);
  } finally {
    h.dispose();
  }
}

function addQuantized(
  converted: ConvertedWeights,
  owner: ParameterSpecification,
  weight: Float32Array,
  quantized: Float32Array,
): void {
  const { rows, cols } = owner;
  const module = moduleOf(owner.name);
  // 0 is on every grid, so an error as large as the weights means that all of them became 0
  const error = residual(weight, quantized);
  if (error === 1) throw new MbokError('MBOK_NON_FINITE', `the weights of '${module}' are too small for scales in F16`);
  const matrix = Matrix.from(quantized, { rows, cols });
  const [part] = partsOf(owner, DENSE) as [ModelPart];
  converted.set(module, { format: DENSE, matrices: [{ part, matrix, storage: 'F32' }], residual: error });
}

/** Returns ‖W − Ŵ‖ / ‖W‖; 0 for W = 0. */
function residual(weight: Float32Array, quantized: Float32Array): number {
  let [errorSum, weightSum] = [0, 0];
  for (let i = 0; i < weight.length; i++) {
    const value = weight[i] as number;
    errorSum += (value - (quantized[i] as number)) ** 2;
    weightSum += value ** 2;
  }
  return weightSum === 0 ? 0 : Math.sqrt(errorSum / weightSum);
}
