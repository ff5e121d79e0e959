import { inspect, type ModelInspection, type PartOfFile } from '../models/inspect';
import { formatJson } from '../models/quantization';
import { structureOf } from '../structures/registry';
import type { Command, CommandCall, Outcome } from './command';
import { megabytes, table } from './terminal';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: "Show a model's layers, kernels and bits per weight.",
  operands: ['MODEL'],
  options: {},
  help: `MODEL is a Hugging Face folder, dense or Boolean, or a GGUF file. Only headers and the configuration are read, so the
time does not depend on the size. Bits per weight of linear layers are strict: every byte stored for them, including
scales and biases, times 8, divided by the number of their weights. Bits per weight over everything: every byte of the
model, including the tokenizer, times 8, divided by the number of parameters.`,
  examples: ['mbok inspect /tmp/small', 'mbok inspect MODEL.gguf', 'mbok inspect /tmp/small --json'],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const storage = await inspect(call.operand(0));
  const { conversion, embeddings, prefixBytes, unread, notes, layers, ...json } = storage;
  return {
    json: {
      ...json,
      layers: layers.map(({ format, residual, ...layer }) => ({
        ...layer,
        format: formatJson(format),
        ...(residual !== undefined && { residual }),
      })),
      ...(embeddings && { embeddings }),
      ...(unread.length > 0 && { unread }),
      ...(notes.length > 0 && { notes }),
      ...(prefixBytes !== undefined && { prefixBytes }),
      ...(conversion && { conversion }),
    },
    lines: describe(storage),
  };
}

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

function describe(storage: ModelInspection): string[] {
  const { family, parameters, linearWeights, bitsPerWeight, bitsPerParameter, bytes, layers, conversion } = storage;
  const rows = layers.map(({ module, rows, cols, format, residual, bitsPerWeight: bits }) => [
    module,
    `${rows} × ${cols}`,
    structureOf(format).describe(format),
    bits.toFixed(3),
    residual?.toFixed(4) ?? '',
  ]);
  const header = ['layer', 'rows × columns', 'format', 'bits a weight', conversion ? 'residual' : ''];
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
    ...nested(storage),
    ...storage.notes,
    `${bitsPerWeight.toFixed(3)} bits a weight in linear layers, ${bitsPerParameter.toFixed(3)} over everything; the weights' files have ${megabytes(bytes)}`,
  ];
}

function nested({ prefixBytes, layers }: ModelInspection): string[] {
  if (prefixBytes === undefined) return [];
  const most = Math.max(...layers.map(({ kernels }) => kernels));
  return [`nested: loads with 1 to ${most} kernels; ${megabytes(prefixBytes)} of the scales are for fewer than all`];
}

function tableState({ embeddings, conversion }: ModelInspection): string {
  if (embeddings === undefined) return '';
  const how = embeddings === 'boolean_table' ? 'Boolean' : 'in 8 bits';
  const errors = Object.values(conversion?.embeddingErrors ?? {});
  const largest = errors.reduce((most, error) => Math.max(most, error), 0);
  return errors.length === 0 ? ` ${how}` : ` ${how}, residual ${largest.toFixed(4)}`;
}
