import { EXPORT_TYPES, type ExportType, exportDense } from '../compress/export_dense';
import { inspect } from '../models/inspect';
import type { Command, CommandCall, Outcome } from './command';
import { LOAD_OPTIONS, loadModel } from './load_model';
import { expectTarget, OUTPUT_OPTIONS } from './output';
import { megabytes, StatusLine } from './terminal';

export const exportCommand: Command = {
  name: 'export',
  summary: 'Write a Boolean model as a dense Hugging Face folder.',
  operands: ['MODEL', 'OUT'],
  options: {
    ...LOAD_OPTIONS,
    type: { kind: 'choice', choices: EXPORT_TYPES, help: 'element type of all weights', byDefault: 'f32' },
    ...OUTPUT_OPTIONS,
  },
  help: `Multiplies each layer's kernels out to a dense matrix, one layer at a time, so that transformers and other programs
that read Hugging Face folders can run the model. In f32 the logits are the same; f16 halves the size and rounds the
weights.`,
  examples: ['mbok export /tmp/tuned /tmp/dense', 'mbok export /tmp/tuned /tmp/dense16 --type f16'],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const [source, target] = [call.operand(0), call.operand(1)];
  const type = (call.text('type') ?? 'f32') as ExportType;
  await expectTarget(call, target, [source]);
  const status = new StatusLine();
  const { signal } = call;
  try {
    await using model = await loadModel(call, source, status);
    const overwrite = call.flag('overwrite');
    await exportDense(model, target, { type, overwrite, signal, onProgress: status.progress('export') });
    const { bytes, parameters } = await inspect(target);
    return {
      json: { bytes, parameters, type },
      lines: [`${target}: ${parameters} parameters in ${type}, ${megabytes(bytes)}`],
    };
  } finally {
    status.clear();
  }
}
