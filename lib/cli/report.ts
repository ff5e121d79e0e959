import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { listFiles } from '../data/sources';
import { PRECISIONS, type Precision } from '../graph/arithmetic';
import { isReference, parseReference } from '../hub/reference';
import { makeReport } from '../report/report';
import { TRAINABLE } from '../train/trained';
import { type Command, type CommandCall, choiceList, isAbort, type Outcome, UsageError } from './command';
import { givenStartToken, START_TOKEN_OPTION, textOption } from './data';
import { modelPath } from './load_model';
import { StatusLine, say } from './terminal';

/** Default texts in the model's folder, as for the embedded model. */
const BESIDE = { text: 'corpus/train.txt', 'eval-text': 'corpus/valid.txt' } as const;

export const reportCommand: Command = {
  name: 'report',
  summary: 'Compare all compression methods on a model, as a page.',
  operands: ['SRC'],
  options: {
    out: { kind: 'text', value: 'DIR', help: 'folder of the report; required' },
    text: { ...textOption('text for calibration and training'), byDefault: `SRC/${BESIDE.text}, if it exists` },
    'eval-text': { ...textOption('text for perplexity'), byDefault: `SRC/${BESIDE['eval-text']}` },
    steps: {
      kind: 'integer',
      value: 'N',
      minimum: 0,
      help: 'steps of each finetuning run; 0: no finetuning',
      byDefault: '200',
    },
    train: {
      kind: 'text',
      value: 'LIST',
      help: `groups that train besides the bits, of ${TRAINABLE.join(',')}`,
      byDefault: 'scales,norms',
    },
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a window, including the start token',
      byDefault: "256, or the model's limit",
    },
    ...START_TOKEN_OPTION,
    windows: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'largest number of windows of an evaluation',
      byDefault: '256',
    },
    tasks: { kind: 'text', value: 'DIR', help: 'folder of task files to evaluate too (see mbok eval tasks --help)' },
    precision: { kind: 'choice', choices: PRECISIONS, help: 'precision of products in evaluations', byDefault: 'f32' },
  },
  help: `SRC is a dense model. About 150 mbok commands, each a separate process, convert, quantize, finetune and measure it.
DIR/index.html shows the results: perplexity against bytes and bits with their Pareto fronts, kernels, factor pairs,
budgets, Boolean embeddings and whole files, forms and residuals by layer, training curves and flips, native against
latent weights, calibration, activations, nested prefixes, questions, speed and memory. It lists the commands, their
versions and the machine. The page is one file without network resources and scripts. The data of each figure are in
DIR/figures, the result of each command in DIR/data.

A report may be stopped by Ctrl-C or a crash at any time, and the same command continues it. A result stays valid as long
as its command, the contents of its inputs, mbok's version and the machine are the same. Other options therefore run only
what is new. Intermediate models take space in DIR/work, which is removed at the end. For large models begin with
--steps 0: factor pairs and budgets then take most of the time.

Charts need the packages vega and vega-lite, which npm installs by default.`,
  examples: [
    'mbok report assets/tiny-stories --out report --steps 100 --train scales,norms,embeddings',
    'mbok report MODEL.gguf --out report --text train.txt --eval-text valid.txt --window 1024 --windows 64 --steps 0',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const name = call.operand(0);
  const folder = call.required('out');
  const train = choiceList('train', call.text('train'), TRAINABLE) ?? ['scales', 'norms'];
  const [texts, evalTexts] = [await textsOf(call, 'text', name), await textsOf(call, 'eval-text', name)];
  const tasks = call.text('tasks');
  const quiet = call.flag('json');
  const status = new StatusLine();
  try {
    const source = await modelPath(call, name, status);
    const { page, ran, kept, failed, figures } = await makeReport({
      ...{
        source,
        name: titleOf(name),
        folder,
        texts,
        evalTexts,
        tasks,
        window: call.number('window'),
        startToken: givenStartToken(call),
      },
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
    if (isAbort(error)) say('stopped; the same command continues the report');
    throw error;
  } finally {
    status.clear();
  }
}

/** Returns the name of a repository, or that of a folder or file. */
function titleOf(model: string): string {
  const path = isReference(model) ? parseReference(model).repo : resolve(model);
  return basename(path).replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, '');
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
