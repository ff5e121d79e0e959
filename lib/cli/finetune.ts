import type { Dataset } from '../data/dataset';
import { startIdFor, type WindowShape } from '../data/windows';
import { TRAINING_PRECISIONS, type TrainingPrecision } from '../graph/arithmetic';
import { HIDDEN_LOSSES, type HiddenLoss } from '../graph/operations/losses';
import { Model } from '../model';
import { inspect } from '../models/inspect';
import {
  ACCUMULATOR_TYPES,
  type AccumulatorType,
  BOOLEAN_RULES,
  type BooleanRule,
  NORMALIZERS,
  type Normalizer,
} from '../train/boolean_optimizer';
import { Checkpoint } from '../train/checkpoint';
import { type FinetuneResult, finetune } from '../train/finetune';
import type { FinetuneOptions, FinetuneProgress } from '../train/finetune_options';
import { gigabytes, type TrainingMemory } from '../train/memory';
import { TRAINABLE } from '../train/trained';
import { readBytes } from './bytes';
import { type Command, type CommandCall, choiceList, given, isAbort, type Outcome, UsageError } from './command';
import { cutNote, DATA_OPTIONS, givenStartToken, openText, requiredTextFiles, textFiles, textOption } from './data';
import { modelPath } from './load_model';
import { expectTarget, OUTPUT_OPTIONS } from './output';
import { megabytes, StatusLine, say } from './terminal';

export const finetuneCommand: Command = {
  name: 'finetune',
  summary: 'Train the bits and scales of a Boolean model.',
  operands: ['SRC', 'OUT'],
  options: {
    text: textOption('training text, required'),
    ...DATA_OPTIONS,
    teacher: {
      kind: 'text',
      value: 'MODEL',
      help: 'the original model, to imitate; without it the model learns to predict the text',
    },
    steps: { kind: 'integer', value: 'N', minimum: 1, help: 'optimizer steps', byDefault: '300' },
    batch: { kind: 'integer', value: 'N', minimum: 1, help: 'sequences per step', byDefault: '8' },
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a sequence, including the start token',
      byDefault: '256',
    },
    'micro-batch': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'sequences computed at once; fewer need less memory',
      byDefault: 'what fits, or 2048 tokens',
    },
    memory: {
      kind: 'text',
      value: 'SIZE',
      help: 'memory budget, e.g. 8GB; sets micro-batch and recomputation',
      byDefault: 'present use plus half of free memory',
    },
    'teacher-cache': {
      kind: 'text',
      value: 'FILE',
      help: "file for the teacher's likeliest tokens; implies --gamma 0",
    },
    'top-k': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'tokens stored per position in the teacher cache',
      byDefault: '64',
    },
    train: {
      kind: 'text',
      value: 'LIST',
      help: `groups that train besides the bits, of ${TRAINABLE.join(',')}`,
      byDefault: 'scales,norms',
    },
    lr: {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 1,
      help: 'peak learning rate of AdamW',
      byDefault: '0.001',
    },
    'flip-rate': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 1,
      help: 'peak rate η of the Boolean optimizer; 0 freezes the bits',
      byDefault: 'by form, see below',
    },
    rule: { kind: 'choice', choices: BOOLEAN_RULES, help: 'rule by which bits flip', byDefault: 'neighbors' },
    normalizer: { kind: 'choice', choices: NORMALIZERS, help: 'divisor of signals', byDefault: 'factored' },
    decay: {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 0.9999,
      help: 'decay of the running statistics of the normalizer; 0: statistics of each step',
      byDefault: '0',
    },
    accumulator: {
      kind: 'choice',
      choices: ACCUMULATOR_TYPES,
      help: "element type of the optimizer's accumulator",
      byDefault: 'bf16',
    },
    'retained-evidence': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 0.9999,
      help: 'evidence for the move back with which a moved weight starts',
      byDefault: '0.7 with K = 1 and in pairs, else 0',
    },
    latent: {
      kind: 'flag',
      help: 'train latent weights by straight-through estimator and Adam instead, for comparison',
    },
    'hidden-loss': {
      kind: 'choice',
      choices: HIDDEN_LOSSES,
      help: 'distance of hidden states',
      byDefault: 'logarithmic',
    },
    gamma: {
      kind: 'number',
      value: 'X',
      minimum: 0,
      help: 'weight of the hidden-state loss',
      byDefault: '10; with --teacher-cache 0',
    },
    precision: { kind: 'choice', choices: TRAINING_PRECISIONS, help: 'precision of dense products', byDefault: 'f32' },
    seed: { kind: 'integer', value: 'N', minimum: 0, help: 'seed for the choice of windows', byDefault: '1' },
    'eval-text': textOption('evaluation text, to save the best model'),
    'eval-every': { kind: 'integer', value: 'N', minimum: 1, help: 'steps between evaluations', byDefault: '100' },
    'eval-windows': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'largest number of windows of an evaluation',
      byDefault: 'all',
    },
    'save-every': { kind: 'integer', value: 'N', minimum: 1, help: 'steps between checkpoints', byDefault: '100' },
    resume: { kind: 'flag', help: 'resume from the checkpoint of an interrupted run with the same options' },
    log: { kind: 'text', value: 'FILE', help: 'log file, one line of JSON per step' },
    ...OUTPUT_OPTIONS,
  },
  help: `SRC is a Boolean model (see mbok binarize --help); it is not changed. Its bits are trained directly: a bit flips when
its signal has left enough evidence in a 16-bit accumulator. AdamW trains scales and norms. With --teacher the model
imitates the original model's predictions and hidden states, which is the best use of any text. Without it the model
learns the text itself, and in conversations (--chat) only the assistant's tokens. Text is plain (*.txt, documents
separated by <|endoftext|>) or JSON: one object per line (*.jsonl) or a list of objects (*.json). Perplexity of
conversations also counts only the assistant's tokens.

By default one kernel flips at η = 0.03, two at 0.02, more at 0.015, and a factor pair at 0.03, from 2 bits on at 0.02.
Runs of fewer than 400 steps multiply the rate by √(400 / steps), at most by 2.

A run may be stopped by Ctrl-C or a crash at any time. Its checkpoint is OUT.checkpoint, and the same command with
--resume gives the same bits as an uninterrupted run. The checkpoint is removed when OUT is written.`,
  examples: [
    'mbok finetune /tmp/small /tmp/tuned --teacher assets/tiny-stories --text train.txt --steps 300 --train scales,norms,embeddings',
    'mbok finetune SMALL OUT --teacher MODEL --text train.txt --eval-text valid.txt --eval-every 50 --resume',
    'mbok finetune SMALL OUT --text talks.jsonl --chat',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const [source, target] = [call.operand(0), call.operand(1)];
  const folder = `${target}.checkpoint`;
  const options = readOptions(call, folder);
  const [text, evalText] = [await requiredTextFiles(call, 'text'), await textFiles(call, 'eval-text')];
  const teacherFolder = call.text('teacher');
  await expectTarget(call, target, [
    source,
    ...(teacherFolder === undefined ? [] : [teacherFolder]),
    ...text,
    ...evalText,
  ]);
  const status = new StatusLine();
  const { signal } = call;
  try {
    const path = await modelPath(call, source, status);
    const teacherPath = teacherFolder && (await modelPath(call, teacherFolder, status));
    await using student = await Model.load(path, { for: 'training', signal, onProgress: status.progress('load') });
    await using teacher = teacherPath === undefined ? undefined : await Model.load(teacherPath, { signal });
    await using data = await openText(text, call, student, status);
    await using held = evalText.length === 0 ? undefined : await openText(evalText, call, student, status);
    const windowTokens = options.window ?? 256;
    if (teacher === undefined && options.teacherCache === undefined && data.masked && !call.flag('json')) {
      status.clear();
      const startId = startIdFor(student, options.startToken);
      say(await countedLine(data, { window: windowTokens, startId }));
    }
    const evaluation = held && { data: held, ...evaluationOptions(call) };
    const onProgress = (progress: FinetuneProgress) => status.show(stepLine(progress));
    const chosen = { ...options, data, ...(teacher && { teacher }), ...(evaluation && { evaluation }) };
    const onMemory = (memory: TrainingMemory) => {
      status.clear();
      if (!call.flag('json')) say(memoryLine(memory, windowTokens));
    };
    const result = await finetune(student, { ...chosen, signal, onMemory, onProgress });
    await student.save(target, { overwrite: call.flag('overwrite'), signal });
    status.clear();
    // OUT now contains the model
    await Checkpoint.remove(folder);
    return outcome(result, target, data);
  } catch (error) {
    status.clear();
    if (isAbort(error)) say('stopped; the same command with --resume continues the run');
    throw error;
  } finally {
    status.clear();
  }
}

function readOptions(call: CommandCall, folder: string): Omit<FinetuneOptions, 'data'> {
  for (const name of ['eval-every', 'eval-windows']) {
    if (!call.has('eval-text') && call.has(name)) throw new UsageError(`--${name} requires --eval-text`);
  }
  const file = call.text('teacher-cache');
  if (file === undefined && call.has('top-k')) throw new UsageError('--top-k requires --teacher-cache');
  const memory = call.text('memory');
  return given({
    memory: memory === undefined ? undefined : readBytes('memory', memory),
    teacherCache: file === undefined ? undefined : { file, ...given({ topK: call.number('top-k') }) },
    steps: call.number('steps'),
    batch: call.number('batch'),
    window: call.number('window'),
    startToken: givenStartToken(call),
    microBatch: call.number('micro-batch'),
    train: choiceList('train', call.text('train'), TRAINABLE),
    learningRate: call.number('lr'),
    flipRate: call.number('flip-rate'),
    rule: call.text('rule') as BooleanRule | undefined,
    normalizer: call.text('normalizer') as Normalizer | undefined,
    decay: call.number('decay'),
    accumulator: call.text('accumulator') as AccumulatorType | undefined,
    retainedEvidence: call.number('retained-evidence'),
    latent: call.flag('latent'),
    hiddenLoss: call.text('hidden-loss') as HiddenLoss | undefined,
    gamma: call.number('gamma'),
    precision: call.text('precision') as TrainingPrecision | undefined,
    seed: call.number('seed'),
    checkpoint: { folder, every: call.number('save-every') ?? 100 },
    resume: call.flag('resume'),
    log: call.text('log'),
  });
}

function evaluationOptions(call: CommandCall) {
  return { every: call.number('eval-every') ?? 100, ...given({ windows: call.number('eval-windows') }) };
}

/** Formats the memory of training for people. */
function memoryLine({ total, overhead, microBatch, recompute }: TrainingMemory, window: number): string {
  const activations = recompute ? 'recomputed' : 'stored';
  return `memory ${gigabytes(total + overhead)}: ${microBatch} × ${window} tokens at once, activations ${activations}`;
}

/** Formats which tokens of conversations count, for people. */
async function countedLine(data: Dataset, shape: WindowShape): Promise<string> {
  const { counted, length, conversations } = data;
  const silent = conversations?.unanswered
    ? `, in ${conversations.unanswered} of ${conversations.count} conversations nothing`
    : '';
  const all = await data.countWindows(shape);
  const without = all - (await data.countWindows({ ...shape, counted: true }));
  const left =
    without === 0 ? '' : `; ${without} of ${all} windows of ${shape.window} tokens have none of it and are left out`;
  return `${counted} of ${length} tokens count: what the assistant says${silent}${left}`;
}

/** Formats one step for people. */
export function stepLine({ step, steps, loss, parts, flips, tokensPerSecond, perplexity }: FinetuneProgress): string {
  const named = Object.entries(parts).map(([name, value]) => `${name} ${value.toFixed(4)}`);
  const detail = named.length > 1 ? ` (${named.join(', ')})` : '';
  const measured = perplexity === undefined ? '' : `  perplexity ${perplexity.toFixed(3)}`;
  const speed = `${Math.round(tokensPerSecond)} tokens/s`;
  return `step ${step}/${steps}  loss ${loss.toFixed(4)}${detail}  flips ${(flips * 100).toFixed(3)} %${measured}  ${speed}`;
}

/** Describes the scored tokens if they are not all. */
function scoredOf(scored: FinetuneResult['scored']): string {
  return scored === 'assistant' ? ' of what the assistant says' : '';
}

async function outcome(
  { history, best, scored, flips, tokensPerSecond, memory, startToken, teacherCacheError }: FinetuneResult,
  target: string,
  { length: tokens, counted, conversations }: Dataset,
): Promise<Outcome> {
  const { bitsPerWeight, bytes } = await inspect(target);
  const loss = history.at(-1)?.loss;
  const result = {
    steps: history.length,
    loss,
    perplexity: best?.perplexity,
    bestStep: best?.step,
    scored,
    flips,
    tokensPerSecond,
    startToken,
  };
  return {
    json: { ...result, bitsPerWeight, bytes, memory, teacherCacheError, data: { tokens, counted, conversations } },
    lines: [
      `${target}: ${bitsPerWeight.toFixed(3)} bits a weight, ${megabytes(bytes)}`,
      `${history.length} steps, loss ${loss?.toFixed(4)}, ${flips} flips, ${Math.round(tokensPerSecond)} tokens/s`,
      cutNote(startToken),
      ...(teacherCacheError === undefined ? [] : [`error of the teacher cache: ${teacherCacheError.toFixed(4)} nats`]),
      ...(best
        ? [
            `perplexity ${best.perplexity.toFixed(3)}${scoredOf(scored)}, best of the evaluations, after step ${best.step}`,
          ]
        : []),
    ],
  };
}
