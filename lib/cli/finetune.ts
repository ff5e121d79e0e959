import type { Dataset } from '../data/dataset';
import { startIdFor, type WindowShape } from '../data/windows';
import { TRAINING_PRECISIONS, type TrainingPrecision } from '../graph/arithmetic';
import { HIDDEN_LOSSES, type HiddenLoss } from '../graph/operations/losses';
import { Model } from '../model';
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
import { expectTarget, OUTPUT_OPTIONS } from './output';
import { readStorage } from './storage';
import { megabytes, StatusLine, say } from './terminal';

export const finetuneCommand: Command = {
  name: 'finetune',
  summary: 'Train the bits and scales of a Boolean model.',
  operands: ['SRC', 'OUT'],
  options: {
    text: textOption('what to train on, needed'),
    ...DATA_OPTIONS,
    teacher: { kind: 'text', value: 'DIR', help: 'the original model, to imitate; without it the text is predicted' },
    steps: { kind: 'integer', value: 'N', minimum: 1, help: 'optimizer steps', byDefault: '300' },
    batch: { kind: 'integer', value: 'N', minimum: 1, help: 'sequences of a step', byDefault: '8' },
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a sequence, the start token included',
      byDefault: '256',
    },
    'micro-batch': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'sequences at once; less memory',
      byDefault: 'what fits, or 2048 tokens',
    },
    memory: {
      kind: 'text',
      value: 'SIZE',
      help: 'what the process may use, e.g. 8GB; sets micro-batch and recomputation',
      byDefault: 'half of what is free',
    },
    'teacher-cache': { kind: 'text', value: 'FILE', help: "keep the teacher's likeliest tokens; goes with --gamma 0" },
    'top-k': { kind: 'integer', value: 'N', minimum: 1, help: 'tokens kept at every position', byDefault: '64' },
    train: {
      kind: 'text',
      value: 'LIST',
      help: `besides the bits, of ${TRAINABLE.join(',')}`,
      byDefault: 'scales,norms',
    },
    lr: {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 1,
      help: 'learning rate of AdamW at its height',
      byDefault: '0.001',
    },
    'flip-rate': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 1,
      help: 'rate η of the Boolean optimizer at its height; 0 leaves the bits alone',
      byDefault: '0.03, at K = 1 0.06',
    },
    rule: { kind: 'choice', choices: BOOLEAN_RULES, help: 'which bits may flip', byDefault: 'neighbors' },
    normalizer: { kind: 'choice', choices: NORMALIZERS, help: 'what signals are divided by', byDefault: 'factored' },
    decay: {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 0.9999,
      help: 'memory of the normalizer; 0: each step by itself',
      byDefault: '0',
    },
    accumulator: {
      kind: 'choice',
      choices: ACCUMULATOR_TYPES,
      help: "the optimizer's number a weight",
      byDefault: 'bf16',
    },
    latent: { kind: 'flag', help: 'latent weights, straight-through estimator and Adam instead, to compare' },
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
    precision: { kind: 'choice', choices: TRAINING_PRECISIONS, help: 'of dense products', byDefault: 'f32' },
    seed: { kind: 'integer', value: 'N', minimum: 0, help: 'of the choice of windows', byDefault: '1' },
    'eval-text': textOption('measure perplexity on it and keep the best model'),
    'eval-every': { kind: 'integer', value: 'N', minimum: 1, help: 'steps between evaluations', byDefault: '100' },
    'eval-windows': { kind: 'integer', value: 'N', minimum: 1, help: 'windows of an evaluation', byDefault: 'all' },
    'save-every': { kind: 'integer', value: 'N', minimum: 1, help: 'steps between checkpoints', byDefault: '100' },
    resume: { kind: 'flag', help: 'go on from the checkpoint of an interrupted run, with the same options' },
    log: { kind: 'text', value: 'FILE', help: 'write a line of JSON a step' },
    ...OUTPUT_OPTIONS,
  },
  help: `SRC is a Boolean model (see mbok binarize --help); it is not changed. Its bits are trained themselves: a bit
flips when the evidence that its signal leaves in a 16-bit accumulator is strong enough. Scales and norms are
trained by AdamW. With --teacher the original model's predictions and hidden states are imitated, which is the
best use of any text; without it the model adapts to the text itself, of conversations (--chat) to what the
assistant says alone. Text is plain (*.txt, documents between <|endoftext|>) or JSON: an object a line (*.jsonl) or
a list of them (*.json). Perplexity of conversations is of what the assistant says, too.

A run can be stopped by Ctrl-C or a crash at any time: its checkpoint is OUT.checkpoint, and the same command with
--resume goes on to the very bits that an uninterrupted run gives. The checkpoint is removed when OUT is written.`,
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
    await using student = await Model.load(source, { for: 'training', signal, onProgress: status.progress('load') });
    await using teacher = teacherFolder === undefined ? undefined : await Model.load(teacherFolder, { signal });
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
    if (isAbort(error)) say('stopped; the same command with --resume goes on where it was');
    throw error;
  } finally {
    status.clear();
  }
}

function readOptions(call: CommandCall, folder: string): Omit<FinetuneOptions, 'data'> {
  for (const name of ['eval-every', 'eval-windows']) {
    if (!call.has('eval-text') && call.has(name)) throw new UsageError(`--${name} goes with --eval-text`);
  }
  const file = call.text('teacher-cache');
  if (file === undefined && call.has('top-k')) throw new UsageError('--top-k goes with --teacher-cache');
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
  const activations = recompute ? 'computed again' : 'kept';
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
  const { bitsPerWeight, bytes } = await readStorage(target);
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
      ...(teacherCacheError === undefined
        ? []
        : [`the teacher's cache is off by ${teacherCacheError.toFixed(4)} nats`]),
      ...(best
        ? [
            `perplexity ${best.perplexity.toFixed(3)}${scoredOf(scored)}, best of the evaluations, after step ${best.step}`,
          ]
        : []),
    ],
  };
}
