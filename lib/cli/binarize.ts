import { type BinarizeOptions, binarize, type ConversionMethod } from '../compress/binarize';
import { Model } from '../model';
import { MAX_KERNELS } from '../models/quantization';
import { type Command, type CommandCall, given, type Outcome, UsageError } from './command';
import { expectTarget, readText } from './files';
import { readStorage } from './storage';
import { megabytes, StatusLine, say } from './terminal';

/** Those that only the calibrated method reads. */
const CALIBRATION_OPTIONS = ['calibration', 'calibration-windows', 'calibration-window', 'target-mix'] as const;
const METHODS: readonly ConversionMethod[] = ['svid', 'refit', 'calibrated'];

export const binarizeCommand: Command = {
  name: 'binarize',
  summary: 'Convert a dense model to Boolean kernels.',
  operands: ['SRC', 'OUT'],
  options: {
    kernels: {
      kind: 'integer',
      value: 'K',
      minimum: 1,
      maximum: MAX_KERNELS,
      help: '±1 matrices of every linear layer: bits a weight',
      byDefault: '2',
    },
    method: { kind: 'choice', choices: METHODS, help: 'how', byDefault: 'calibrated with --calibration, else refit' },
    calibration: { kind: 'text', value: 'FILE', help: 'text that calibration keeps the outputs on' },
    'calibration-windows': { kind: 'integer', value: 'N', minimum: 1, help: 'windows of it', byDefault: '64' },
    'calibration-window': { kind: 'integer', value: 'N', minimum: 2, help: 'tokens of a window', byDefault: '256' },
    'target-mix': {
      kind: 'number',
      value: 'A',
      minimum: 0,
      maximum: 1,
      help: 'how far layers make up for the errors before them',
      byDefault: 'the best of 0, 0.25, 0.5 on held-out windows',
    },
    rounds: {
      kind: 'integer',
      value: 'R',
      minimum: 1,
      help: 'rounds: of the refit, or of calibrated signs and scales',
      byDefault: '10 for refit; the better of 1 and 2 for calibrated',
    },
  },
  help: `SRC is a Hugging Face folder (config.json, model.safetensors, tokenizer.json); OUT becomes one that every mbok
command reads. Each linear layer W turns into K matrices of ±1 with a scale per row and column; embeddings, norms
and biases stay.

  svid        one kernel after the other, each the best for what is left; no data, seconds
  refit       then all kernels together; closer from two kernels on; no data
  calibrated  keeps the layers' outputs on some text: much the best where little or no finetuning follows;
              a few thousand tokens like those the model will see are enough

K = 2 is a good start; K = 1 wants finetuning (see mbok finetune --help).`,
  examples: [
    'mbok binarize assets/tiny-stories /tmp/small --kernels 2 --method refit',
    'mbok binarize MODEL OUT --kernels 3 --method calibrated --calibration train.txt --json',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const [source, target] = [call.operand(0), call.operand(1)];
  const options = await readOptions(call);
  await expectTarget(source, target);
  const status = new StatusLine();
  const { signal } = call;
  try {
    await using model = await Model.load(source, { signal, onProgress: status.progress('load') });
    const onProgress = status.progress('convert');
    await using converted = await binarize(model, { ...options, signal, onProgress });
    await converted.save(target, { signal, onProgress: status.progress('save') });
    status.clear();
    const { bitsPerWeight, bytes } = await readStorage(target);
    const { residual, calibration, method } = converted.conversion as NonNullable<typeof converted.conversion>;
    const chosen = calibration && { targetMix: calibration.targetMix, rounds: calibration.rounds };
    return {
      json: { bitsPerWeight, bytes, residual, method, kernels: options.kernels, ...(calibration && { calibration }) },
      lines: [
        `${target}: ${bitsPerWeight.toFixed(3)} bits a weight, ${megabytes(bytes)}, residual ${residual.toFixed(4)}`,
        ...(chosen ? [`calibrated with target mix ${chosen.targetMix}, rounds ${chosen.rounds}`] : []),
      ],
    };
  } finally {
    status.clear();
  }
}

async function readOptions(call: CommandCall): Promise<BinarizeOptions> {
  const kernels = call.number('kernels') ?? 2;
  const file = call.text('calibration');
  const method = (call.text('method') as ConversionMethod | undefined) ?? (file === undefined ? 'refit' : 'calibrated');
  const rounds = call.number('rounds');
  if (method !== 'calibrated') {
    const unread = method === 'svid' ? [...CALIBRATION_OPTIONS, 'rounds'] : CALIBRATION_OPTIONS;
    const unused = unread.filter((name) => call.has(name)).map((name) => `--${name}`);
    if (unused.length > 0) say(`mbok: ${unused.join(', ')} not used: --method is ${method}`);
    return given({ kernels, method, rounds }) as BinarizeOptions;
  }
  if (file === undefined) throw new UsageError('--method calibrated needs --calibration FILE');
  const calibration = given({
    data: await readText(file),
    windows: call.number('calibration-windows'),
    length: call.number('calibration-window'),
    targetMix: call.number('target-mix'),
    rounds,
  });
  return { kernels, method, calibration };
}
