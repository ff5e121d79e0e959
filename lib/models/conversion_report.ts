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
  /** How kernels were chosen under a budget: the method, and bits a weight in linear layers or bytes of the file. */
  readonly allocation?: AllocationReport;
  /** Of the calibrated method. */
  readonly calibration?: CalibrationReport;
  /** ‖W − Ŵ‖ / ‖W‖ by embedding table and head, where these were put into 8 bits. */
  readonly embeddingErrors?: Readonly<Record<string, number>>;
}

export interface AllocationReport {
  /** 'measured', 'uniform' or 'paper'. */
  readonly method: string;
  readonly bits?: number;
  readonly size?: number;
}

export interface CalibrationReport {
  /** Windows of text that were used; fewer than asked for where the text was short. */
  readonly windows: number;
  /** Tokens of a window, the start token included. */
  readonly length: number;
  /** Tokens of all windows. */
  readonly tokens: number;
  /** 'auto': every window began with the tokenizer's start token; 'stream': windows were cut as the text came. */
  readonly startToken: string;
  /** How far layers aimed at their original outputs. */
  readonly targetMix: number;
  /** How far layers aimed at the original hidden states. */
  readonly residualMix: number;
  /** Rounds of signs and scales. */
  readonly rounds: number;
  /** What was added to the diagonal of H, in units of its mean. */
  readonly damping: number;
  /** Of the products that saw tokens, 'f32' or 'bf16'. */
  readonly precision: string;
}

/** Reads the `conversion` of a `quantization_config`; undefined where a model has none. Throws MBOK_FORMAT. */
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

/** Models of earlier versions lack what these did not have: they aimed at outputs alone, in f32, on streams. */
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

/** The entry that {@link readConversion} reads, with names as configurations have them. */
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
