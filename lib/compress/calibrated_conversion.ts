/**
 * Calibrated conversion of a whole model (method §1; error compensation after GPTQ, arXiv 2210.17323): block by block,
 * in order, so that each block is fitted to what those before it have become. The hidden states of all windows wait at
 * the boundary between converted and original blocks, which keeps the cost linear in depth.
 */

import type { StoredMatrix } from '../models/checkpoint';
import { withWidened } from '../models/widen';
import type { Matrix } from '../native/matrix';
import { type CalibratedSettings, calibrateMatrix } from './calibrated_matrix';
import {
  advance,
  collectMoments,
  divergence,
  embedWindows,
  type HiddenStates,
  type SharedInput,
  type Walk,
} from './hidden_states';
import { disposeMoments, type PreparedMoments, prepareMoments } from './input_moments';
import { storedKernels } from './kernel_matrices';
import { relativeResidual } from './residual';

/** Windows of token ids, all of one length: those that the kernels are fitted to, and those that judge the result. */
export interface CalibrationWindows {
  readonly fitted: readonly Int32Array[];
  /** May be empty: then nothing is judged. */
  readonly heldOut: readonly Int32Array[];
}

/** The converted modules of a model; whoever receives them owns the matrices. */
export interface ConvertedModules {
  /** Matrices by name, as a model stores them. */
  readonly replaced: Map<string, StoredMatrix>;
  /** ‖W − Ŵ‖ / ‖W‖ by module. */
  readonly residuals: Map<string, number>;
}

export function disposeConverted({ replaced }: ConvertedModules): void {
  for (const { matrix } of replaced.values()) matrix.dispose();
}

/**
 * Converts every linear module; `onModule` is told each before its turn. Resolves to the modules and, if there are held
 * out windows, the divergence KL(original ‖ converted) on them, averaged over tokens.
 */
export async function convertCalibrated(
  walk: Walk,
  { fitted, heldOut }: CalibrationWindows,
  settings: CalibratedSettings,
  onModule: (module: string) => void,
): Promise<{ modules: ConvertedModules; divergence: number | undefined }> {
  const { model } = walk;
  const modules: ConvertedModules = { replaced: new Map(), residuals: new Map() };
  const parameters = new Map(model.parameters);
  try {
    let student = await embedWindows(walk, fitted);
    let teacher: HiddenStates | undefined = settings.mix === 0 ? undefined : student;
    let judged = await embedWindows(walk, heldOut);
    let reference = judged;
    for (let layer = 0; layer < model.config.layers; layer++) {
      const collected = await collectMoments(walk, layer, student, teacher);
      await convertBlock(walk, collected.shared, { settings, tokens: fitted.length * walk.length, modules, onModule });
      for (const [name, { matrix }] of modules.replaced) parameters.set(name, matrix);
      teacher = collected.teacher;
      student = await advance(walk, layer, parameters, student);
      judged = await advance(walk, layer, parameters, judged);
      reference = await advance(walk, layer, model.parameters, reference);
    }
    const loss = heldOut.length > 0 ? await divergence(walk, { student: judged, teacher: reference }) : undefined;
    return { modules, divergence: loss };
  } catch (error) {
    disposeConverted(modules);
    throw error;
  }
}

interface BlockTask {
  readonly settings: CalibratedSettings;
  /** Calibration tokens that the moments were summed over. */
  readonly tokens: number;
  /** Where the results go. */
  readonly modules: ConvertedModules;
  readonly onModule: (module: string) => void;
}

/** Converts the modules of one block and frees its moments. */
async function convertBlock(walk: Walk, inputs: readonly SharedInput[], task: BlockTask): Promise<void> {
  try {
    for (const { names, moments } of inputs) {
      const prepared = await prepareMoments(moments, task.tokens, walk.signal);
      try {
        for (const name of names) await convertModule(walk, name, prepared, task);
      } finally {
        disposeMoments(prepared);
      }
    }
  } finally {
    for (const { moments } of inputs) disposeMoments(moments);
  }
}

async function convertModule(
  { model, signal }: Walk,
  module: string,
  moments: PreparedMoments,
  { settings, modules, onModule }: BlockTask,
): Promise<void> {
  onModule(module);
  const weight = model.parameters.get(`${module}.weight`) as Matrix;
  await withWidened(weight, signal, async (wide) => {
    const { matrices } = await calibrateMatrix(wide, moments, settings, signal);
    for (const [name, stored] of storedKernels(module, matrices)) modules.replaced.set(name, stored);
    modules.residuals.set(module, await relativeResidual(wide, matrices, signal));
  });
}
