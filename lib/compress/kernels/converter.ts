/** Conversion of weights to ±1 kernels: without data, or calibrated on the layer's inputs. */

import { moduleOf } from '../../models/parts';
import type { Matrix } from '../../native/matrix';
import { MOST_PAIR_BITS } from '../../structures/factors';
import { type KernelsFormat, kernelsFormat, MAX_KERNELS } from '../../structures/kernels';
import type { ConvertedWeight } from '../converted';
import type { FitGoal, WeightConverter } from '../converter';
import { relativeResidual } from '../relative_residual';
import { calibrateMatrix } from './calibrated_matrix';
import { decompose, SVID_ITERATIONS } from './decompose';
import { disposeKernels, type KernelMatrices, kernelParts, kernelsOf, roundScales } from './kernel_matrices';
import { calibrateFrom } from './nested_matrix';

const allFormats = () => Array.from({ length: MAX_KERNELS }, (_, i) => kernelsFormat(i + 1));

export const kernelsConverter: WeightConverter<KernelsFormat> = {
  formats: allFormats,
  inOrder: true,

  async fit(weight, goal): Promise<ConvertedWeight> {
    const { owner, format, signal } = goal;
    const matrices = await fitKernels(weight, goal);
    try {
      roundScales(moduleOf(owner.name), matrices);
      const parts = kernelParts(owner, matrices);
      return {
        format,
        matrices: parts,
        residual: await relativeResidual(weight, { format, matrices: parts }, signal),
      };
    } catch (error) {
      disposeKernels(matrices);
      throw error;
    }
  },

  budget: {
    formats: allFormats,
    // from 7.5 bits on 8-bit numbers are as accurate
    usualBits: [MOST_PAIR_BITS, 7.5],
    // successive extraction into the most kernels gives the residuals for every smaller number too
    async residuals(weight, formats, signal) {
      const maxCount = Math.max(...formats.map(({ count }) => count));
      const settings = { kernels: maxCount, iterations: SVID_ITERATIONS, refitRounds: 0 };
      const { residuals, ...matrices } = await decompose(weight, settings, signal);
      disposeKernels(matrices);
      const norm = Math.sqrt(weight.toFloat32().reduce((sum, value) => sum + value * value, 0));
      return formats.map(({ count }) => (residuals[count - 1] as number) * norm);
    },
  },
};

async function fitKernels(
  weight: Matrix,
  { owner, format, calibration, rounds, signal }: FitGoal<KernelsFormat>,
): Promise<KernelMatrices> {
  const kernels = format.count;
  if (calibration === undefined) return await decompose(weight, { ...rounds, kernels }, signal);
  const { moments, earlier } = calibration;
  const inputs = { module: moduleOf(owner.name), moments };
  const settings = { ...calibration.rounds, kernels };
  const { matrices } =
    earlier === undefined
      ? await calibrateMatrix(weight, inputs, settings, signal)
      : await calibrateFrom(kernelsOf(earlier), weight, inputs, settings, signal);
  return matrices;
}
