import { estimateSpeed, type SpeedEstimate } from '../eval/estimate';
import { type KernelCorrelation, kernelCorrelations } from '../eval/kernel_correlations';
import { inspect, type ModelInspection, type PartOfFile } from '../models/inspect';
import { maxPrefix } from '../models/parts';
import { formatJson } from '../models/quantization';
import { rate } from '../report/format';
import { isFactors } from '../structures/factors';
import { structureOf } from '../structures/registry';
import type { Command, CommandCall, Outcome } from './command';
import { modelPath } from './load_model';
import { megabytes, StatusLine, table } from './terminal';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: "Show a model's layers, kernels and bits per weight.",
  operands: ['MODEL'],
  options: {
    original: {
      kind: 'text',
      value: 'MODEL',
      help: 'the original model; shows how the first two kernels of a layer correlate with each other and with it',
    },
  },
  help: `MODEL is a Hugging Face folder, dense or Boolean, a GGUF file, or a name at the hub (see mbok pull --help). Only headers
and the configuration are read, so the time does not depend on the size; at the hub they are read in parts, before anything
is downloaded. Bits per weight of linear layers are strict: every byte stored for them, including
scales and biases, times 8, divided by the number of their weights. Bits per weight over everything: every byte of the
model, including the tokenizer, times 8, divided by the number of parameters.

Memory is that of the weights when loaded, and of keys and values in 16 bits. For a model at the hub, speed is estimated by
timing one dense layer in 16 bits on this machine: a decoded token reads all linear layers and the head once, a token of a
prompt multiplies with the linear layers once.

With --original all weights are read. The correlations are those of outputs for uncorrelated inputs: of y₁ and y₂ by the
first and the second kernel, and of y₂ with what y₁ leaves of the original's y.`,
  examples: [
    'mbok inspect /tmp/small',
    'mbok inspect MODEL.gguf',
    'mbok inspect hf:HuggingFaceTB/SmolLM2-135M-Instruct',
    'mbok inspect /tmp/small --json',
    'mbok inspect /tmp/small --original assets/tiny-stories',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const { signal } = call;
  const status = new StatusLine();
  try {
    const original = call.text('original');
    if (original === undefined) return await outcome(call, call.operand(0), []);
    const [path, other] = [await modelPath(call, call.operand(0), status), await modelPath(call, original, status)];
    return await outcome(call, path, await kernelCorrelations(path, other, { signal }));
  } finally {
    status.clear();
  }
}

async function outcome(call: CommandCall, path: string, found: readonly KernelCorrelation[]): Promise<Outcome> {
  const storage = await inspect(path, { signal: call.signal });
  const estimate = storage.download && (await estimateSpeed(storage, call.signal));
  const correlations: Correlations = new Map(
    found.map(({ module, kernels, residual }) => [module, { kernels, residual }]),
  );
  const { conversion, embeddings, tables, prefixBytes, unread, notes, layers, download, ...json } = storage;
  return {
    json: {
      ...json,
      layers: layers.map(({ format, residual, ...layer }) => ({
        ...layer,
        format: formatJson(format),
        ...(residual !== undefined && { residual }),
        ...(correlations.has(layer.module) && { correlations: correlations.get(layer.module) }),
      })),
      ...(embeddings && { embeddings, tables }),
      ...(unread.length > 0 && { unread }),
      ...(notes.length > 0 && { notes }),
      ...(prefixBytes !== undefined && { prefixBytes }),
      ...(conversion && { conversion }),
      ...(download && { download, estimate }),
    },
    lines: [...describe(storage, correlations), ...needs(storage, estimate)],
  };
}

/** Tokens of context for which the memory of keys and values is shown. */
const CONTEXT = 2048;
/** Rate of a download for which its time is shown, in bytes per second: 100 Mbit/s. */
const DOWNLOAD_RATE = 100e6 / 8;

/** Formats what downloading, loading and running the model takes. */
function needs(storage: ModelInspection, estimate: SpeedEstimate | undefined): string[] {
  const { loadedBytes, cacheBytesPerToken, download } = storage;
  const context = Math.min(CONTEXT, storage.maxPositions);
  const memory = `memory: ${megabytes(loadedBytes)} of weights, ${megabytes(context * cacheBytesPerToken)} for ${context} tokens of context`;
  if (download === undefined || estimate === undefined) return [memory];
  const { name, commit, files, bytes, cachedBytes } = download;
  const minutes = (bytes - cachedBytes) / DOWNLOAD_RATE / 60;
  const time = minutes < 1.5 ? `${Math.ceil(minutes * 60)} s` : `${Math.ceil(minutes)} min`;
  return [
    memory,
    `estimated speed here: ${rate(estimate.decode)} tokens/s in decode, ${rate(estimate.prefill)} tokens/s in prompts`,
    `download: ${name} at ${commit.slice(0, 8)}, ${files.length} ${files.length === 1 ? 'file' : 'files'}, ${megabytes(bytes)}, ${megabytes(cachedBytes)} of them in the cache; ${time} at 100 Mbit/s`,
  ];
}

/** Correlations of the first two kernels by module; empty without an original. */
type Correlations = ReadonlyMap<string, Omit<KernelCorrelation, 'module'>>;

/** Titles of the parts for people. */
const TITLES: Readonly<Record<PartOfFile, string>> = {
  kernels: 'linear layers: kernels',
  scales: 'linear layers: scales',
  dense: 'linear layers: dense weights',
  biases: 'linear layers: biases',
  embeddings: 'embeddings',
  head: 'head',
  norms: 'norms and other biases',
  tokenizer: 'tokenizer files',
  other: 'headers, metadata, configuration',
};

function describe(storage: ModelInspection, correlations: Correlations): string[] {
  const { family, parameters, linearWeights, bitsPerWeight, bitsPerParameter, bytes, layers, conversion } = storage;
  const rows = layers.map(({ module, rows, cols, format, residual, bitsPerWeight: bits }) => [
    module,
    `${rows} × ${cols}`,
    structureOf(format).describe(format),
    bits.toFixed(3),
    residual?.toFixed(4) ?? '',
    ...(correlations.size > 0 ? correlationCells(correlations.get(module)) : []),
  ]);
  const header = ['layer', 'rows × columns', 'format', 'bits a weight', conversion ? 'residual' : ''];
  if (correlations.size > 0) header.push('corr(y₁, y₂)', 'corr(y − y₁, y₂)');
  const total = Object.values(storage.parts).reduce((sum, part) => sum + part, 0);
  const parts = (Object.keys(TITLES) as PartOfFile[])
    .filter((part) => storage.parts[part] > 0)
    .map((part) => [
      part === 'embeddings' || part === 'head' ? `${TITLES[part]}${tableState(storage)}` : TITLES[part],
      megabytes(storage.parts[part]),
      `${((storage.parts[part] / total) * 100).toFixed(1)} %`,
    ]);
  return [
    ...table([header, ...rows]),
    '',
    ...table([['part', 'size', 'share'], ...parts]),
    '',
    `family ${family}, ${parameters} parameters, ${linearWeights} of them in linear layers`,
    ...(conversion ? [`converted by ${conversion.method}, mean residual ${conversion.residual.toFixed(4)}`] : []),
    ...meanCorrelations(correlations),
    ...nested(storage),
    ...storage.notes,
    `${bitsPerWeight.toFixed(3)} bits a weight in linear layers, ${bitsPerParameter.toFixed(3)} over everything; the weights' files have ${megabytes(bytes)}`,
  ];
}

function correlationCells(found: Omit<KernelCorrelation, 'module'> | undefined): string[] {
  return found === undefined ? ['', ''] : [found.kernels.toFixed(4), found.residual.toFixed(4)];
}

function meanCorrelations(correlations: Correlations): string[] {
  if (correlations.size === 0) return [];
  const mean = (name: 'kernels' | 'residual') =>
    [...correlations.values()].reduce((sum, found) => sum + found[name], 0) / correlations.size;
  return [`mean corr(y₁, y₂) ${mean('kernels').toFixed(4)}, corr(y − y₁, y₂) ${mean('residual').toFixed(4)}`];
}

function nested({ prefixBytes, layers }: ModelInspection): string[] {
  if (prefixBytes === undefined) return [];
  const most = maxPrefix(new Map(layers.map(({ module, format }) => [module, format])));
  const what = layers.some(({ format }) => isFactors(format))
    ? `as size 1 to ${most} of --kernels`
    : `with 1 to ${most} kernels`;
  return [`nested: loads ${what}; ${megabytes(prefixBytes)} of the scales are for fewer than all`];
}

function tableState({ embeddings, conversion }: ModelInspection): string {
  if (embeddings === undefined) return '';
  const how = embeddings === 'boolean_table' ? 'Boolean' : 'in 8 bits';
  const errors = Object.values(conversion?.embeddingErrors ?? {});
  const largest = errors.reduce((most, error) => Math.max(most, error), 0);
  return errors.length === 0 ? ` ${how}` : ` ${how}, residual ${largest.toFixed(4)}`;
}
