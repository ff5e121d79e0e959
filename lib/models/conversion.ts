/** How a Boolean model was made from a dense one; kept with it and saved in its `quantization_config`. */

import type { ConfigReader } from './config_reader';

/** How a Boolean model was made from the dense one. */
export interface ConversionReport {
  /** 'svid', 'refit' or 'calibrated'. */
  readonly method: string;
  /** Mean over the converted modules of ‖W − Ŵ‖ / ‖W‖, at conversion. */
  readonly residual: number;
  /** ‖W − Ŵ‖ / ‖W‖ by module. */
  readonly residuals: Readonly<Record<string, number>>;
  /** Of the calibrated method. */
  readonly calibration?: CalibrationReport;
}

export interface CalibrationReport {
  /** Windows of text that were used; fewer than asked for where the text was short. */
  readonly windows: number;
  /** Tokens of a window. */
  readonly length: number;
  /** The mix a of the target, given or chosen. */
  readonly targetMix: number;
  /** Rounds of signs and scales, given or chosen. */
  readonly rounds: number;
  /** What was tried, in order, with KL(original ‖ converted) on held-out windows, averaged over tokens; empty if given. */
  readonly candidates: readonly {
    readonly targetMix: number;
    readonly rounds: number;
    readonly divergence: number;
  }[];
}

/** Reads the `conversion` of a `quantization_config`; undefined where a model has none. Throws MBOK_FORMAT. */
export function readConversion(settings: ConfigReader | undefined): ConversionReport | undefined {
  const json = settings?.object('conversion');
  if (json === undefined) return undefined;
  const residuals = json.object('residuals');
  const calibration = json.object('calibration');
  return {
    method: json.string('method'),
    residual: json.amount('residual'),
    residuals: Object.fromEntries(
      Object.keys(residuals?.json ?? {}).map((name) => [name, residuals?.amount(name) ?? 0]),
    ),
    ...(calibration && { calibration: readCalibration(calibration) }),
  };
}

function readCalibration(json: ConfigReader): CalibrationReport {
  return {
    windows: json.count('windows'),
    length: json.count('length'),
    targetMix: json.amount('target_mix'),
    rounds: json.count('rounds'),
    candidates: json.objects('candidates').map((candidate) => ({
      targetMix: candidate.amount('target_mix'),
      rounds: candidate.count('rounds'),
      divergence: candidate.amount('divergence'),
    })),
  };
}

/** The entry that {@link readConversion} reads, with names as configurations have them. */
export function writeConversion({ calibration, ...report }: ConversionReport): Record<string, unknown> {
  if (calibration === undefined) return report;
  const { targetMix, candidates, ...rest } = calibration;
  const rename = <T extends { targetMix: number }>({ targetMix: mix, ...others }: T) => ({
    target_mix: mix,
    ...others,
  });
  return { ...report, calibration: { ...rest, target_mix: targetMix, candidates: candidates.map(rename) } };
}
