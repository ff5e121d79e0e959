import { access, constants } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { evaluateTasks, type Metric, TASK_NAMES, type TaskResult } from '../eval/evaluate_tasks';
import type { Measurement } from '../eval/statistics';
import { writeFile } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { expectOwnFile } from '../io/output_path';
import { ARITHMETIC_OPTIONS, givenArithmetic } from './arithmetic';
import { type Command, type CommandCall, choiceList, given, type Outcome } from './command';
import { givenStartToken, START_TOKEN_OPTION } from './data';
import { LOAD_OPTIONS, loadModel } from './load_model';
import { StatusLine, say, table } from './terminal';

export const tasksCommand: Command = {
  name: 'eval tasks',
  summary: 'Evaluate models on published tasks.',
  operands: ['MODEL...'],
  options: {
    data: { kind: 'text', value: 'DIR', help: "folder of the tasks' published files; required" },
    tasks: {
      kind: 'text',
      value: 'LIST',
      help: `tasks, separated by commas, of ${TASK_NAMES.join(', ')}`,
      byDefault: 'all',
    },
    shots: { kind: 'integer', value: 'N', minimum: 0, help: 'worked examples before every question', byDefault: '0' },
    seed: { kind: 'integer', value: 'N', minimum: 0, help: 'seed for the choice of worked examples', byDefault: '0' },
    limit: { kind: 'integer', value: 'N', minimum: 1, help: 'largest number of questions per task', byDefault: 'all' },
    ...START_TOKEN_OPTION,
    ...LOAD_OPTIONS,
    ...ARITHMETIC_OPTIONS,
    out: { kind: 'text', value: 'FILE', help: 'file for the results as JSON' },
  },
  help: `Prompts, tokenization, metrics and standard errors are those of EleutherAI's lm-evaluation-harness, so figures are
comparable with published ones. Several models share one table. Texts beyond the model's limit are truncated at the start,
after the tokenizer's start token. With --start-token stream that token is cut off too, as in the harness.

  acc         share of questions whose correct option is the likeliest (LAMBADA: whose last word the model writes)
  acc_norm    the same by log-likelihood per character
  perplexity  perplexity of LAMBADA's last words

DIR contains arc/ARC-Easy-Test.jsonl, arc/ARC-Challenge-Test.jsonl, boolq/dev.jsonl, piqa/valid.jsonl with
valid-labels.lst, hellaswag/hellaswag_val.jsonl, winogrande_1.1/dev.jsonl and lambada_openai/lambada_openai.jsonl, or
those of the requested tasks. Worked examples come from the training or development file beside them. Without such a file
they come from the questions, and these are not asked. All questions of a task share the same examples.`,
  examples: [
    'mbok eval tasks MODEL --data tasks --tasks arc_easy,piqa --limit 200',
    'mbok eval tasks MODEL MODEL-k4 MODEL-k3 MODEL-k2 --data tasks --precision bf16 --out results.json',
  ],
  run,
};

interface ModelResults {
  readonly model: string;
  readonly results: readonly TaskResult[];
}

async function run(call: CommandCall): Promise<Outcome> {
  const data = call.required('data');
  const tasks = choiceList('tasks', call.text('tasks'), TASK_NAMES);
  const out = call.text('out');
  if (out !== undefined) await expectWritable(out);
  const options = given({
    tasks,
    shots: call.number('shots'),
    seed: call.number('seed'),
    limit: call.number('limit'),
    startToken: givenStartToken(call),
    ...givenArithmetic(call),
  });
  const models: { readonly model: string; readonly results: TaskResult[] }[] = [];
  const status = new StatusLine();
  const { signal } = call;
  try {
    const labels = labelsOf(call.operands);
    for (const [i, path] of call.operands.entries()) {
      const label = labels[i] as string;
      const results: TaskResult[] = [];
      models.push({ model: path, results });
      await using model = await loadModel(call, path, status);
      await evaluateTasks(model, {
        ...options,
        data,
        signal,
        onProgress: status.progress(label),
        onResult: (result) => {
          results.push(result);
          status.clear();
          if (!call.flag('json')) say(`${label}: ${result.task} ${summary(result)}`);
        },
      });
    }
  } finally {
    status.clear();
    // an interrupted run saves its finished tasks
    const finished = models.filter(({ results }) => results.length > 0);
    if (out !== undefined && finished.length > 0) await writeFile(out, `${JSON.stringify(finished, null, 2)}\n`);
  }
  return { json: { models }, lines: table(rows(models)) };
}

/** Throws MBOK_IO if the file cannot or must not be written, before an hour of work instead of after it. */
async function expectWritable(path: string): Promise<void> {
  // JSON.stringify starts a list of results like this
  await expectOwnFile(path, 'results of tasks', (beginning) => /^\[\s*\{\s*"model":/.test(beginning));
  try {
    await access(dirname(resolve(path)), constants.W_OK);
  } catch (error) {
    throw ioFailure('write', path, error);
  }
}

/** Returns short names of models, or their paths if two names are equal. */
function labelsOf(paths: readonly string[]): readonly string[] {
  const names = paths.map((path) => basename(resolve(path)));
  return new Set(names).size === names.length ? names : paths;
}

/** Returns a row per metric and task, with a column per model. */
function rows(models: readonly ModelResults[]): string[][] {
  const [first] = models as [ModelResults, ...ModelResults[]];
  const labels = labelsOf(models.map(({ model }) => model));
  const metrics = first.results.flatMap(({ task, metrics: measured, questions, shots }) =>
    (Object.keys(measured) as Metric[]).map((metric) => ({ task, metric, questions, shots })),
  );
  return [
    ['task', 'questions', 'shots', 'metric', ...labels],
    ...metrics.map(({ task, metric, questions, shots }) => [
      task,
      String(questions),
      String(shots),
      metric,
      ...models.map(({ results }) => {
        const measured = results.find((result) => result.task === task)?.metrics[metric];
        return measured === undefined ? '' : show(measured, metric);
      }),
    ]),
  ];
}

function summary({ metrics }: TaskResult): string {
  const shown = Object.entries(metrics).map(([metric, measured]) => `${metric} ${show(measured, metric as Metric)}`);
  return shown.join(', ');
}

function show({ value, standardError }: Measurement, metric: Metric): string {
  // a broken model has perplexities of any size
  const write = (x: number) => (value < 1e5 ? x.toFixed(metric === 'perplexity' ? 2 : 4) : x.toExponential(2));
  return `${write(value)} ± ${write(standardError)}`;
}
