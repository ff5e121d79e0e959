import { join, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { binarize } from '../compress/binarize';
import { evaluatePerplexity } from '../eval/perplexity';
import { makeFolder, writeFile } from '../io/atomic';
import { readTextFile } from '../io/files';
import { expectOwnFile } from '../io/output_path';
import { Model } from '../model';
import { inspect } from '../models/inspect';
import { lineChart, smooth } from '../plot/line_chart';
import { COLORS } from '../plot/style';
import { finetune } from '../train/finetune';
import type { FinetuneProgress } from '../train/finetune_options';
import type { FinetuneRecord } from '../train/progress';
import type { Command, CommandCall, Outcome } from './command';
import { stepLine } from './finetune';
import { megabytes, StatusLine, say, table } from './terminal';

/** Folder of the embedded model and its texts. */
const SOURCE = resolve(__dirname, '../../assets/tiny-stories');
const KERNELS = 2;
/** Windows of the held-out text, the same for every row. */
const EVALUATION = { window: 256, maxWindows: 64 };
/** Calibration settings, chosen on this model's held-out text. */
const CALIBRATION = { windows: 64, length: 256 };
const PROMPT = 'Once upon a time';
const STORY = { maxTokens: 250, temperature: 0.7, topP: 0.9, seed: 1 };
const TRAINING = { batch: 8, window: 256, train: ['scales', 'norms', 'embeddings'] } as const;

export const demoCommand: Command = {
  name: 'demo',
  summary: 'Convert, finetune and run the embedded model.',
  operands: [],
  options: {
    steps: { kind: 'integer', value: 'N', minimum: 1, help: 'finetuning steps', byDefault: '100' },
    out: { kind: 'text', value: 'DIR', help: 'output folder', byDefault: 'mbok-demo' },
  },
  help: `Converts the small language model in the package, which writes stories, in about a minute. It replaces every linear
layer by ${KERNELS} matrices of ±1, first without data, then calibrated on text. It finetunes the bits to imitate the original, and
compares the results. All texts were written by the model itself. Nothing is downloaded.`,
  examples: ['mbok demo', 'mbok demo --steps 300'],
  run,
};

interface Row {
  readonly model: string;
  readonly bitsPerWeight: number;
  readonly bytes: number;
  readonly perplexity: number;
}

async function run(call: CommandCall): Promise<Outcome> {
  const status = new StatusLine();
  try {
    return await demonstrate(call, status);
  } finally {
    status.clear();
  }
}

async function demonstrate(call: CommandCall, status: StatusLine): Promise<Outcome> {
  const { signal } = call;
  const report = call.flag('json') ? () => {} : say;
  const started = performance.now();
  const steps = call.number('steps') ?? 100;
  const folder = resolve(call.text('out') ?? 'mbok-demo');
  await makeFolder(folder);
  const read = (name: string) => readTextFile(join(SOURCE, 'corpus', name));
  const [train, valid] = [await read('train.txt'), await read('valid.txt')];
  await using original = await Model.load(SOURCE, { signal });

  const rows: Row[] = [];
  /** Saves and measures a model, and adds its row to the table. */
  const measure = async (name: string, model: Model) => {
    const place = model === original ? SOURCE : join(folder, name);
    if (model !== original) await model.save(place, { signal });
    const onProgress = ({ done }: { readonly done: number }) => status.bar(`evaluate ${name}`, done, '');
    const { perplexity } = await evaluatePerplexity(model, valid, { ...EVALUATION, signal, onProgress });
    const { bitsPerWeight, bytes } = await inspect(place);
    rows.push({ model: name, bitsPerWeight, bytes, perplexity });
    status.clear();
    report(`${name}: perplexity ${perplexity.toFixed(3)}`);
  };

  await measure('original', original);
  const onProgress = status.progress('convert');
  await using converted = await binarize(original, { kernels: KERNELS, method: 'refit', signal, onProgress });
  await measure('converted', converted);
  const calibration = { data: train, ...CALIBRATION };
  await using student = await binarize(original, {
    kernels: KERNELS,
    method: 'calibrated',
    calibration,
    signal,
    onProgress,
  });
  await measure('calibrated', student);
  const { history } = await finetune(student, {
    ...TRAINING,
    teacher: original,
    data: train,
    steps,
    signal,
    onProgress: (progress) => follow(progress, status, report),
  });
  status.clear();
  await measure('finetuned', student);
  const plot = await drawTraining(history, join(folder, 'training.svg'));
  const story = await tellStory(join(folder, 'finetuned'), signal);
  const seconds = (performance.now() - started) / 1000;
  return {
    json: { models: rows, steps, loss: history.at(-1)?.loss, folder, plot, story, seconds },
    lines: [
      ...describe(rows),
      '',
      story,
      '',
      `models ${folder}`,
      `plot   ${plot ?? 'none: npm install vega vega-lite'}`,
      `${seconds.toFixed(0)} s in all`,
    ],
  };
}

/** Shows a step: on a terminal as a status line, otherwise every tenth step as a line. */
function follow(progress: FinetuneProgress, status: StatusLine, tell: (line: string) => void): void {
  const { step, steps } = progress;
  status.show(stepLine(progress));
  if (!process.stderr.isTTY && (step % 10 === 0 || step === steps)) tell(stepLine(progress));
}

/** Loads the finished model from its files, as another program would, and lets it write a story. */
async function tellStory(folder: string, signal: AbortSignal): Promise<string> {
  await using model = await Model.load(folder, { signal });
  const generation = model.generate(PROMPT, { ...STORY, signal });
  let story = PROMPT;
  for await (const piece of generation) story += piece;
  return story;
}

/** Draws the losses into a file. Returns undefined if the optional drawing packages are not installed. */
async function drawTraining(history: readonly FinetuneRecord[], path: string): Promise<string | undefined> {
  const losses = history.map(({ step, loss }) => ({ x: step, y: loss }));
  const [color] = COLORS;
  try {
    const chart = await lineChart({
      title: `Finetuning the bits of tiny-stories, K = ${KERNELS}`,
      xLabel: 'step',
      yLabel: 'KL + 10 · hidden-state loss',
      series: [
        { name: 'each step', color, faint: true, points: losses },
        { name: 'smoothed', color, points: smooth(losses, Math.ceil(losses.length / 25)) },
      ],
    });
    await expectOwnFile(path, 'a chart', (beginning) => beginning.startsWith('<svg'));
    await writeFile(path, chart);
    return path;
  } catch (error) {
    if (error instanceof MbokError && error.code === 'MBOK_PACKAGE_MISSING') return undefined;
    throw error;
  }
}

function describe(rows: readonly Row[]): string[] {
  return table([
    ['model', 'bits a weight', 'file', 'perplexity'],
    ...rows.map(({ model, bitsPerWeight, bytes, perplexity }) => [
      model,
      bitsPerWeight.toFixed(3),
      megabytes(bytes),
      perplexity.toFixed(3),
    ]),
  ]);
}
