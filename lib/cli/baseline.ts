import { COLUMN_ORDERS, type ColumnOrder } from '../baselines/input_factor';
import { quantizeFolder } from '../baselines/quantize_folder';
import { BASELINE_METHODS, type BaselineMethod, BITS, type QuantizeOptions } from '../baselines/quantize_options';
import type { TrainingPrecision } from '../graph/arithmetic';
import { CALIBRATION_OPTIONS, calibrationFiles, calibrationLine, calibrationText } from './calibration_text';
import { type Command, type CommandCall, given, type Outcome, UsageError } from './command';
import { givenStartToken } from './data';
import { modelPath } from './load_model';
import { expectTarget, OUTPUT_OPTIONS } from './output';
import { megabytes, RemainingTime, StatusLine } from './terminal';

export const baselineCommand: Command = {
  name: 'baseline',
  summary: 'Quantize a dense model by another method, for comparison.',
  operands: ['SRC', 'OUT'],
  options: {
    method: { kind: 'choice', choices: BASELINE_METHODS, help: 'round to nearest, or GPTQ; required' },
    bits: {
      kind: 'integer',
      value: 'B',
      minimum: BITS.least,
      maximum: BITS.most,
      help: "bits of a weight's code; required",
    },
    group: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'inputs that share a scale and a zero point in every row',
      byDefault: '128',
    },
    order: {
      kind: 'choice',
      choices: COLUMN_ORDERS,
      help: "order of columns for GPTQ; descending: by their inputs' squares",
      byDefault: 'descending',
    },
    ...CALIBRATION_OPTIONS,
    restart: { kind: 'flag', help: 'discard an unfinished call for OUT instead of continuing it' },
    ...OUTPUT_OPTIONS,
  },
  help: `Replaces the weights of every linear layer of SRC (a Hugging Face folder or a GGUF file) by the values of the method's
codes; everything else stays. OUT becomes a dense Hugging Face folder in f32, which mbok eval and transformers can read.
The size of a file of packed codes is printed, and stored with the report in OUT/baseline.json.

  rtn    rounds each weight to the nearest of 2^B values between the smallest and the largest of its group; no data
  gptq   rounds column by column to the same values; each column compensates the errors of earlier ones on inputs from
         calibration text (arXiv 2210.17323); works block by block and resumes like mbok binarize

OneBit's method (signs with latent weights) is mbok binarize --kernels 1 --method svid, then mbok finetune --latent.
docs/baselines.md explains it, and how each method differs from its paper.`,
  examples: [
    'mbok baseline assets/tiny-stories /tmp/rtn3 --method rtn --bits 3',
    'mbok baseline MODEL.gguf OUT --method gptq --bits 3 --calibration train.txt --json',
    'mbok baseline MODEL OUT --method gptq --bits 4 --order natural --calibration train.txt',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const [name, target] = [call.operand(0), call.operand(1)];
  const method = call.required('method') as BaselineMethod;
  const bits = call.requiredNumber('bits');
  if (method === 'gptq' && !call.has('calibration')) throw new UsageError('--method gptq needs --calibration PATH');
  const unread = ['order', ...Object.keys(CALIBRATION_OPTIONS)].find((name) => method === 'rtn' && call.has(name));
  if (unread !== undefined) throw new UsageError(`--${unread} requires --method gptq`);
  await expectTarget(call, target, [name, ...calibrationFiles(call)]);
  const status = new StatusLine();
  try {
    const source = await modelPath(call, name, status);
    const text = method === 'gptq' ? await calibrationText(call, source, status) : undefined;
    try {
      const remaining = new RemainingTime();
      const report = await quantizeFolder(source, target, {
        ...given({
          group: call.number('group'),
          order: call.text('order') as ColumnOrder | undefined,
          calibration: text && calibration(call, text),
        }),
        ...{ method, bits, restart: call.flag('restart'), overwrite: call.flag('overwrite'), signal: call.signal },
        onProgress: ({ done, what }) => status.bar('quantize', done, `${what}${remaining.after(done)}`),
      });
      status.clear();
      const { residual, packed } = report;
      return {
        json: { ...report },
        lines: [
          `${target}: ${packed.bitsPerWeight.toFixed(3)} bits a weight, ${megabytes(packed.bytes)} if packed, residual ${residual.toFixed(4)}`,
          ...(report.calibration ? [calibrationLine(report.calibration)] : []),
        ],
      };
    } finally {
      await text?.close();
    }
  } finally {
    status.clear();
  }
}

function calibration(
  call: CommandCall,
  text: Awaited<ReturnType<typeof calibrationText>>,
): NonNullable<QuantizeOptions['calibration']> {
  return given({
    data: text.data,
    windows: call.number('calibration-windows') ?? text.windows,
    length: call.number('calibration-window'),
    startToken: givenStartToken(call),
    precision: call.text('precision') as TrainingPrecision | undefined,
  });
}
