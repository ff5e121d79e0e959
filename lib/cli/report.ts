import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { listFiles } from '../data/sources';
import { PRECISIONS, type Precision } from '../graph/arithmetic';
import { makeReport } from '../report/report';
import { TRAINABLE } from '../train/trained';
import { type Command, type CommandCall, choiceList, isAbort, type Outcome, UsageError } from './command';
import { givenStartToken, START_TOKEN_OPTION, textOption } from './data';
import { StatusLine, say } from './terminal';

/** Default texts in the model's folder, as for the embedded model. */
const BESIDE = { text: 'corpus/train.txt', 'eval-text': 'corpus/valid.txt' } as const;

export const reportCommand: Command = {
  name: 'report',
  summary: 'Compare all ways of making a model small, as a page.',
  operands: ['SRC'],
  options: {
    out: { kind: 'text', value: 'DIR', help: "the report's folder; needed" },
    text: { ...textOption('what to calibrate and train on'), byDefault: `SRC/${BESIDE.text}, where it exists` },
    'eval-text': { ...textOption('what to measure perplexity on'), byDefault: `SRC/${BESIDE['eval-text']}` },
    steps: { kind: 'integer', value: 'N', minimum: 0, help: 'of every finetuning; 0: none', byDefault: '200' },
    train: {
      kind: 'text',
      value: 'LIST',
      help: `what finetuning trains besides the bits, of ${TRAINABLE.join(',')}`,
      byDefault: 'scales,norms',
    },
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a window, the start token included',
      byDefault: "256, or the model's limit",
    },
    ...START_TOKEN_OPTION,
    windows: { kind: 'integer', value: 'N', minimum: 1, help: 'windows of an evaluation at most', byDefault: '256' },
    tasks: { kind: 'text', value: 'DIR', help: 'also ask the questions of these files (see mbok eval tasks --help)' },
    precision: { kind: 'choice', choices: PRECISIONS, help: 'of products in evaluations', byDefault: 'f32' },
  },
  help: `SRC is a dense model. It is converted, quantized, finetuned and measured in some hundred ways by commands of mbok, each
a process of its own, and DIR/index.html shows what came of it: perplexity against bytes and bits, kernels and residuals
by layer, training curves and flips, native against latent weights, allocation, calibration, activations, nested
prefixes, speed and memory; with the commands, their versions and the machine. The page is one file that needs neither
network nor script. The numbers behind each figure are in DIR/figures, each command's own result in DIR/data.

A report can be stopped by Ctrl-C or a crash at any time; the same command goes on where it was. A result holds as long as
its command, the contents of its inputs, mbok's version and the machine are the same, so that other options run only
what is new. Models on the way need room in DIR/work, which is removed in the end. With 200 steps the embedded model
takes a quarter of an hour on two cores; for large models begin with --steps 0.

Charts need the packages vega and vega-lite, which npm installs unless told not to.`,
  examples: [
    'mbok report assets/tiny-stories --out report --train scales,norms,embeddings',
    'mbok report MODEL.gguf --out report --text train.txt --eval-text valid.txt --window 1024 --windows 64 --steps 0',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const source = call.operand(0);
  const folder = call.required('out');
  const train = choiceList('train', call.text('train'), TRAINABLE) ?? ['scales', 'norms'];
  const [texts, evalTexts] = [await textsOf(call, 'text', source), await textsOf(call, 'eval-text', source)];
  const tasks = call.text('tasks');
  const quiet = call.flag('json');
  const status = new StatusLine();
  try {
    const { page, ran, kept, failed, figures } = await makeReport({
      ...{ source, folder, texts, evalTexts, tasks, window: call.number('window'), startToken: givenStartToken(call) },
      settings: {
        steps: call.number('steps') ?? 200,
        windows: call.number('windows') ?? 256,
        precision: (call.text('precision') as Precision | undefined) ?? 'f32',
        train: train.join(','),
      },
      signal: call.signal,
      onCommand: ({ name }, done, of) => status.bar('report', done / of, `${done + 1} of ${of}: ${name}`),
      onResult: ({ name }, { seconds, error }) => {
        if (quiet) return;
        status.clear();
        say(error === undefined ? `${name}: ${seconds.toFixed(1)} s` : `${name}: ${error}`);
      },
    });
    return {
      json: { page, figures, ran, kept, failed },
      lines: [
        `${page}: ${figures.length} figures`,
        `${ran.length} commands run, ${kept.length} results kept${failed.length === 0 ? '' : `, ${failed.length} failed: ${failed.join(', ')}`}`,
      ],
    };
  } catch (error) {
    status.clear();
    if (isAbort(error)) say('stopped; the same command goes on where it was');
    throw error;
  } finally {
    status.clear();
  }
}

/**
 * Returns the files of an option, or the default text in the model's folder. Throws UsageError if there is neither,
 * MBOK_IO for missing files.
 */
async function textsOf(call: CommandCall, name: keyof typeof BESIDE, source: string): Promise<readonly string[]> {
  const given = call.texts(name);
  const texts = given.length > 0 ? given : [join(source, BESIDE[name])];
  if (given.length === 0 && !(await isFile(texts[0] as string))) throw new UsageError(`option --${name} is needed`);
  await listFiles(texts);
  return texts;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
