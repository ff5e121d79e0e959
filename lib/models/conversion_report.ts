/** The report of a conversion. It belongs to the model and is saved in its `quantization_config`. */

import type { ConfigReader } from './config_reader';

/** The conversion of a dense model to a Boolean one. */
export interface ConversionReport {
  /** Method: 'svid', 'refit' or 'calibrated'. */
  readonly method: string;
  /** Mean of ‖W − Ŵ‖ / ‖W‖ over the converted modules, at conversion. */
  readonly residual: number;
  /** ‖W − Ŵ‖ / ‖W‖ by module. */
  readonly residuals: Readonly<Record<string, number>>;
  /** Allocation under a budget: its method, and bits per weight in linear layers or bytes of the file. */
  readonly allocation?: AllocationReport;
  /** Settings of the calibrated method. */
  readonly calibration?: CalibrationReport;
  /** ‖W − Ŵ‖ / ‖W‖ of embedding and head by name, if they were converted to 8 bits. */
  readonly embeddingErrors?: Readonly<Record<string, number>>;
}

/** Allocation of kernels under a budget. */
export interface AllocationReport {
  /** Method: 'measured', 'uniform' or 'paper'. */
  readonly method: string;
  /** Bits per weight of the linear layers, if they were the budget. */
  readonly bits?: number;
  /** Bytes of the file, if they were the budget. */
  readonly size?: number;
}

/** Settings of the calibrated method, as used. */
export interface CalibrationReport {
  /** Number of text windows; fewer than requested if the text was short. */
  readonly windows: number;
  /** Tokens per window, the start token included. */
  readonly length: number;
  /** Tokens of all windows. */
  readonly tokens: number;
  /**
   * 'auto': every window began with the tokenizer's start token. 'stream': windows were cut from the text without one.
   */
  readonly startToken: string;
  /** Weight of the correction towards the original outputs. */
  readonly targetMix: number;
  /** Weight of the correction towards the original hidden states. */
  readonly residualMix: number;
  /** Rounds of signs and scales. */
  readonly rounds: number;
  /** Damping of H in units of mean(diag H). */
  readonly damping: number;
  /** Precision of products with tokens: 'f32' or 'bf16'. */
  readonly precision: string;
}

/** Reads the `conversion` of a `quantization_config`; undefined if there is none. Throws MBOK_FORMAT. */
export function readConversion(settings: ConfigReader | undefined): ConversionReport | undefined {
  const json = settings?.object('conversion');
  if (json === undefined) return undefined;
  const calibration = json.object('calibration');
  const allocation = json.object('allocation');
  const embeddingErrors = json.object('embedding_errors');
  return {
    method: json.string('method'),
    residual: json.amount('residual'),
    residuals: readAmounts(json.object('residuals')),
    ...(allocation && { allocation: readAllocation(allocation) }),
    ...(calibration && { calibration: readCalibration(calibration) }),
    ...(embeddingErrors && { embeddingErrors: readAmounts(embeddingErrors) }),
  };
}

function readAllocation(json: ConfigReader): AllocationReport {
  const method = json.string('method');
  return json.has('bits') ? { method, bits: json.amount('bits') } : { method, size: json.count('size') };
}

function readAmounts(json: ConfigReader | undefined): Record<string, number> {
  return Object.fromEntries(Object.keys(json?.json ?? {}).map((name) => [name, json?.amount(name) ?? 0]));
}

/**
 * Reads the calibration settings. Files of older versions lack some: those versions corrected outputs only, in f32, on
 * windows without start token.
 */
function readCalibration(json: ConfigReader): CalibrationReport {
  const [windows, length] = [json.count('windows'), json.count('length')];
  const earlier = !json.has('tokens');
  return {
    windows,
    length,
    tokens: windows * length,
    startToken: json.string('start_token', 'stream'),
    targetMix: json.amount('target_mix'),
    residualMix: earlier ? 0 : json.amount('residual_mix'),
    rounds: json.count('rounds'),
    damping: earlier ? 0.01 : json.amount('damping'),
    precision: json.string('precision', 'f32'),
  };
}

/** Writes the entry that {@link readConversion} reads, with the names of configurations. */
export function writeConversion({
  calibration,
  embeddingErrors,
  ...report
}: ConversionReport): Record<string, unknown> {
  const errors = embeddingErrors && { embedding_errors: embeddingErrors };
  if (calibration === undefined) return { ...report, ...errors };
  const { startToken, targetMix, residualMix, ...rest } = calibration;
  const renamed = { start_token: startToken, target_mix: targetMix, residual_mix: residualMix };
  return { ...report, ...errors, calibration: { ...rest, ...renamed } };
}
