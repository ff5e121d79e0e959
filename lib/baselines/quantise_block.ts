/** One block of a dense model, its linear weights replaced by the values of their codes. */

import { type BlockOptions, type ConvertedModules, convertInOrder, convertLinears } from '../compress/block_conversion';
import type { DenseSource } from '../compress/dense_source';
import type { Walk } from '../compress/hidden_states';
import { MbokError } from '../errors';
import { withWidened } from '../models/widen';
import { Matrix } from '../native/matrix';
import { throwIfAborted } from '../validate';
import { gptq } from './gptq';
import { factorInputs, type InputFactor } from './input_factor';
import { inputGram } from './input_gram';
import type { BaselineSettings } from './options';
import { roundToNearest } from './round_to_nearest';

/** Rounds the linear weights of block `layer` to nearest; one is in memory at a time. */
export async function roundBlock(
  source: DenseSource,
  layer: number,
  settings: BaselineSettings,
  options: BlockOptions,
): Promise<ConvertedModules> {
  return await convertLinears(source, layer, options, (module, weight, converted) =>
    withWidened(weight, options.signal, async (wide) => {
      const values = wide.toFloat32();
      keep(converted, module, values, roundToNearest(values, weight.cols, settings), weight);
    }),
  );
}

/**
 * GPTQ of block `layer` in the order in which tokens meet its layers (`--true-sequential` of the authors' code), whose
 * hidden states then go to the next.
 */
export async function compensateBlock(
  walk: Walk,
  layer: number,
  settings: BaselineSettings,
  { signal, onModule }: BlockOptions,
): Promise<ConvertedModules> {
  return await convertInOrder(walk, layer, async (shared, converted) => {
    const inputs = await factorOf(await inputGram(walk, shared), settings, signal);
    try {
      for (const module of shared.modules) {
        onModule(module);
        throwIfAborted(signal);
        await withWidened(shared.sides.teacher.get(`${module}.weight`) as Matrix, signal, async (wide) => {
          const values = wide.toFloat32();
          keep(converted, module, values, await gptq(values, inputs, settings, signal), wide);
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

function keep(
  { replaced, residuals }: ConvertedModules,
  module: string,
  weight: Float32Array,
  quantised: Float32Array,
  shape: { readonly rows: number; readonly cols: number },
): void {
  const { rows, cols } = shape;
  // the value 0 is on every grid, so an error as large as the weights means that nothing else was left
  const error = residual(weight, quantised);
  if (error === 1) throw new MbokError('MBOK_NON_FINITE', `the weights of '${module}' are too small for scales in F16`);
  replaced.set(`${module}.weight`, { matrix: Matrix.from(quantised, { rows, cols }), storage: 'F32' });
  residuals.set(module, error);
}

/** ‖W − Ŵ‖ / ‖W‖; 0 for W = 0. */
function residual(weight: Float32Array, quantised: Float32Array): number {
  let [rest, whole] = [0, 0];
  for (let i = 0; i < weight.length; i++) {
    const value = weight[i] as number;
    rest += (value - (quantised[i] as number)) ** 2;
    whole += value ** 2;
  }
  return whole === 0 ? 0 : Math.sqrt(rest / whole);
}
