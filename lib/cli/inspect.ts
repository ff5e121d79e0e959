import type { Command, CommandCall, Outcome } from './command';
import { type ModelStorage, readStorage } from './storage';
import { megabytes, table } from './terminal';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: "Show a model's layers, kernels and bits per weight.",
  operands: ['MODEL'],
  options: {},
  help: `Reads the folder's config.json and the header of its model.safetensors, so it takes no time whatever the size.
Bits per weight are strict: every byte of the stored linear layers, scales included, times 8, by their weights.
The size is that of the whole file, embeddings included.`,
  examples: ['mbok inspect /tmp/small', 'mbok inspect /tmp/small --json'],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const storage = await readStorage(call.operand(0));
  const { conversion, ...json } = storage;
  return { json: { ...json, ...(conversion && { conversion }) }, lines: describe(storage) };
}

function describe({
  family,
  parameters,
  linearWeights,
  bitsPerWeight,
  bytes,
  layers,
  conversion,
}: ModelStorage): string[] {
  const rows = layers.map(({ module, rows, cols, kernels, bitsPerWeight: bits }) => [
    module,
    `${rows} × ${cols}`,
    kernels === 0 ? 'dense' : `K = ${kernels}`,
    bits.toFixed(3),
    conversion?.residuals[module]?.toFixed(4) ?? '',
  ]);
  const header = ['layer', 'rows × columns', 'kernels', 'bits a weight', conversion ? 'residual' : ''];
  return [
    ...table([header, ...rows]),
    '',
    `family ${family}, ${parameters} parameters, ${linearWeights} of them in linear layers`,
    ...(conversion ? [`converted by ${conversion.method}, mean residual ${conversion.residual.toFixed(4)}`] : []),
    `${bitsPerWeight.toFixed(3)} bits a weight in linear layers; the file has ${megabytes(bytes)}`,
  ];
}
