/** Calibrated conversion with its settings chosen by the text itself. */

import type { CalibrationReport } from '../models/conversion';
import type { ModelCore } from '../models/model_core';
import {
  type CalibrationWindows,
  type ConvertedModules,
  convertCalibrated,
  disposeConverted,
} from './calibrated_conversion';
import { type CheckedCalibration, holdOut, packCalibration } from './calibration';
import type { DecompositionSettings } from './decompose';
import type { Walk } from './hidden_states';

/** Mixes that are tried. Measured: ½ is best for three kernels and more, at one and two it depends on the model. */
const MIXES = [0, 0.25, 0.5];
const ROUNDS = [1, 2];

type Candidate = CalibrationReport['candidates'][number];
type Settings = Pick<Candidate, 'targetMix' | 'rounds'>;

export interface CalibrationTask {
  readonly model: ModelCore;
  readonly calibration: CheckedCalibration;
  readonly decomposition: DecompositionSettings;
  readonly signal: AbortSignal | undefined;
  /** Told each module of each conversion before its turn, and how many conversions there will be. */
  readonly onModule: (module: string, conversions: number) => void;
}

/**
 * Converts a model calibrated. Settings that are not given are chosen by converting the whole model with each candidate
 * on a part of the windows and measuring the divergence from the original on the rest: first the mix, then the rounds,
 * at most four conversions before the one on all windows that counts. Each costs as much as that one, about three
 * passes of all tokens through the model and the dense algebra of every layer: give both settings for large models.
 */
export async function calibrate({
  model,
  calibration,
  decomposition,
  signal,
  onModule,
}: CalibrationTask): Promise<{ modules: ConvertedModules; report: CalibrationReport }> {
  const windows = await packCalibration(model, calibration, signal);
  const walk: Walk = { model, length: calibration.length, signal };
  const mixes = calibration.targetMix === undefined ? MIXES : [calibration.targetMix];
  const [rounds = 1, ...moreRounds] = calibration.rounds === undefined ? ROUNDS : [calibration.rounds];
  const searched = mixes.length + moreRounds.length > 1;
  const conversions = searched ? mixes.length + moreRounds.length + 1 : 1;
  const convert = (used: CalibrationWindows, { targetMix, rounds }: Settings) =>
    convertCalibrated(walk, used, { ...decomposition, mix: targetMix, rounds }, (module) =>
      onModule(module, conversions),
    );

  const candidates: Candidate[] = [];
  let best: Settings = { targetMix: mixes[0] as number, rounds };
  const attempt = async (settings: Settings) => {
    const { modules, divergence = Infinity } = await convert(holdOut(windows), settings);
    disposeConverted(modules);
    if (candidates.every((other) => divergence < other.divergence)) best = settings;
    candidates.push({ ...settings, divergence });
  };
  if (searched) {
    for (const targetMix of mixes) await attempt({ targetMix, rounds });
    const { targetMix } = best;
    for (const more of moreRounds) await attempt({ targetMix, rounds: more });
  }
  const { modules } = await convert({ fitted: windows, heldOut: [] }, best);
  return { modules, report: { windows: windows.length, length: calibration.length, ...best, candidates } };
}
