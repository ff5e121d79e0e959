/** Finetuning of a Boolean model: the loop around a trainer. */

import { createHash } from 'node:crypto';
import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import type { Dataset, WindowOptions } from '../data/dataset';
import { type TextData, toDataset } from '../data/load_dataset';
import { type StartToken, startTokenOf } from '../data/windows';
import {
  expectMeasurable,
  measurePerplexity,
  type PerplexityOptions,
  type PerplexityResult,
  type ScoredTokens,
  scoredTokens,
} from '../eval/perplexity';
import type { JsonObject } from '../io/json';
import { expectModel, type Model } from '../model';
import type { ModelCore } from '../models/model_core';
import { Checkpoint, type Fingerprint } from './checkpoint';
import {
  type EvaluationOptions,
  type FinetuneOptions,
  type FinetuneSettings,
  finetuneSettings,
} from './finetune_options';
import type { FlipForm, FlipSettings } from './flip_forms';
import { TrainingLog } from './log';
import type { TrainingMemory } from './memory';
import { type FinetuneRecord, type Progress, readProgress } from './progress';
import { schedule } from './schedule';
import { restoreSnapshot, type Snapshot, takeSnapshot } from './snapshot';
import { modelDigest, TeacherCache } from './teacher_cache';
import { widenTrained } from './trained';
import { type StepResult, Trainer } from './trainer';

/** Result of {@link finetune}. */
export interface FinetuneResult extends Progress {
  /** Tokens that evaluations score: all, or in conversations those of the assistant; undefined without evaluations. */
  readonly scored: ScoredTokens | undefined;
  /** Training tokens per second, without evaluations and checkpoints; 0 if no step was left to do. */
  readonly tokensPerSecond: number;
  /** Number of moves of trained weights over all steps. */
  readonly flips: number;
  /** Planned memory of training in bytes, and the choices that fit it. */
  readonly memory: TrainingMemory;
  /**
   * 'auto': every sequence began with the tokenizer's start token; 'stream': sequences were cut from the text as it is.
   */
  readonly startToken: StartToken;
  /** With a teacher cache: mean KL in nats between the teacher's full predictions and the stored ones. */
  readonly teacherCacheError: number | undefined;
}

/**
 * Finetunes a Boolean model in place, to imitate `teacher` on `data`, or without a teacher to predict the text. The
 * Boolean optimizer trains bits natively. AdamW trains scales and norms, or the groups in `train`. At the end scales
 * are rounded to the precision in which they are saved. With `evaluation` the best evaluated model is restored.
 *
 * The result is deterministic: the same student, data and options give the same bits for any number of threads.
 *
 * If it rejects, the student is in the state after its last complete step. There is one exception, also with
 * MBOK_NON_FINITE: if a step's loss is finite but a gradient is not, bits of that step may have moved. An aborted run
 * first writes a checkpoint, if it has a folder for it. A run with values that are not finite leaves the last
 * checkpoint as it is.
 *
 * @param student - a Boolean model; changed in place
 * @returns a record of every step, the best evaluation, and the memory of training
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE, MBOK_NO_TOKENIZER (for text), MBOK_DISPOSED, MBOK_BUSY (another
 * call finetunes or reads the student, or another run has the checkpoint folder), MBOK_OUT_OF_MEMORY, MBOK_NON_FINITE
 * (naming the step), MBOK_IO, MBOK_FORMAT (checkpoint), MBOK_ABORTED
 *
 * @example
 * await finetune(small, { teacher: model, data: await readFile('train.txt', 'utf8'), steps: 300 });
 */
export async function finetune(student: Model, given: FinetuneOptions): Promise<FinetuneResult> {
  const core = expectModel('student', student);
  const settings = finetuneSettings(core, given);
  throwIfAborted(settings.signal);
  const { teacher } = settings;
  using _ = core.holdToChange('finetuned');
  using __ = teacher === core ? undefined : teacher?.holdToRead();
  await using checkpoint = settings.checkpoint && (await Checkpoint.open(settings.checkpoint.folder));
  const { use } = core;
  try {
    const result = await new Run(core, settings, checkpoint).complete();
    if (!core.disposed) core.roundToStorage();
    return result;
  } catch (error) {
    try {
      core.roundToStorage();
    } catch {
      // report the error that ended the run
    }
    throw error;
  } finally {
    if (!core.disposed) await core.arrangeFor(use);
  }
}

/** A single call of {@link finetune}. */
class Run {
  readonly #student: ModelCore;
  readonly #settings: FinetuneSettings;
  readonly #checkpoint: Checkpoint | undefined;
  #history: FinetuneRecord[] = [];
  #best: FinetuneResult['best'];
  #bestWeights: Snapshot | undefined;
  /** Steps completed. */
  #step = 0;
  #saved = 0;
  #seconds = 0;
  #tokens = 0;
  #cache: TeacherCache | undefined;

  constructor(student: ModelCore, settings: FinetuneSettings, checkpoint: Checkpoint | undefined) {
    this.#student = student;
    this.#settings = settings;
    this.#checkpoint = checkpoint;
  }

  async complete(): Promise<FinetuneResult> {
    const { log: path, evaluation, startId, signal } = this.#settings;
    const data = await this.#encode('data', this.#settings.data);
    // fail early if a text is shorter than a window, or if no token counts
    await data.countWindows(this.#windows);
    const heldOut = evaluation && (await this.#encode('evaluation.data', evaluation.data));
    if (evaluation && heldOut)
      await expectMeasurable(this.#student, heldOut, { ...this.#evaluation(evaluation), signal });
    await widenTrained(this.#student, this.#settings.train, this.#settings.signal);
    await this.#student.arrangeFor('training', this.#settings.signal);
    this.#cache = await this.#openCache(data);
    let trainer: Trainer | undefined;
    let log: TrainingLog | undefined;
    try {
      trainer = await this.#trainer();
      this.#settings.onMemory?.(trainer.memory);
      const fingerprint = this.#checkpoint && this.#fingerprint(trainer, data, heldOut);
      if (this.#settings.resume) await this.#resume(trainer, fingerprint as Fingerprint);
      log = path === undefined ? undefined : await TrainingLog.open(path, this.#step);
      const event = this.#step === 0 ? 'start' : 'resume';
      const { length: tokens, counted, conversations } = data;
      const conditions = {
        startToken: startTokenOf(startId),
        flipSettings: this.#settings.flipSettings,
        memory: trainer.memory,
        teacherCacheError: this.#cache?.error,
      };
      await log?.write({ step: this.#step, event, ...conditions, data: { tokens, counted, conversations } });
      try {
        await this.#evaluateIfDue(trainer, heldOut, log);
        while (this.#step < this.#settings.steps) {
          await this.#advance(trainer, data, heldOut, log);
          if (this.#step % (this.#settings.checkpoint?.every ?? Infinity) === 0) await this.#save(trainer, fingerprint);
        }
      } catch (error) {
        if (error instanceof MbokError && error.code === 'MBOK_ABORTED') await this.#save(trainer, fingerprint);
        throw error;
      }
      if (this.#bestWeights !== undefined) restoreSnapshot(trainer.changed, this.#bestWeights);
      return this.#result(trainer, heldOut);
    } finally {
      await log?.close();
      trainer?.dispose();
      await this.#cache?.close();
    }
  }

  async #openCache(data: Dataset): Promise<TeacherCache | undefined> {
    const { teacher, teacherCache, window, startId = null, batch, seed, steps, precision, signal } = this.#settings;
    if (teacherCache === undefined) return undefined;
    const { file, topK = 64 } = teacherCache;
    const shape = { window, startId, batch, seed, steps, topK, precision };
    const key = { teacher: teacher && modelDigest(teacher), data: data.digest, ...shape };
    const cache = await TeacherCache.open(file, key, this.#student.config.vocabularySize);
    if (cache !== undefined) return cache;
    if (teacher !== undefined) return TeacherCache.write(file, teacher, data, key, { signal });
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'${file}' holds no predictions for these windows of this data; to compute them, pass 'teacher'`,
    );
  }

  async #trainer(): Promise<Trainer> {
    const { rule, normalizer, decay, accumulator, flipSettings, latent, flipRate, resume, ...rest } = this.#settings;
    const native = (form: FlipForm) => {
      const { flipRate: peak, retainedEvidence } = flipSettings[form] as FlipSettings;
      return { rule, normalizer, decay, accumulator, retainedEvidence, rate: peak / flipRate };
    };
    const bits = latent ? 'latent' : flipRate === 0 ? 'frozen' : native;
    // the micro-batch changes results, so a resumed run must not choose another for the memory of this machine
    const earlierMicroBatch = resume ? this.#checkpoint?.fingerprint?.microBatch : undefined;
    const microBatch = rest.microBatch ?? dividing(rest.batch, earlierMicroBatch);
    const judge = this.#cache && { teacher: undefined, storedTokens: this.#settings.teacherCache?.topK };
    return new Trainer(this.#student, { ...rest, ...judge, microBatch, bits });
  }

  /** Returns the perplexity options of an evaluation. */
  #evaluation({ window, windows }: EvaluationOptions): PerplexityOptions {
    const startToken = startTokenOf(this.#settings.startId);
    return { startToken, ...(window && { window }), ...(windows && { maxWindows: windows }) };
  }

  /** Windows to choose from. A teacher is imitated at every token, whoever speaks. */
  get #windows(): WindowOptions {
    const { window, startId, teacher, teacherCache } = this.#settings;
    return { window, startId, counted: teacher === undefined && teacherCache === undefined };
  }

  #encode(name: string, data: TextData): Promise<Dataset> {
    return toDataset(name, data, this.#student, { signal: this.#settings.signal });
  }

  async #advance(
    trainer: Trainer,
    data: Dataset,
    heldOut: Dataset | undefined,
    log: TrainingLog | undefined,
  ): Promise<void> {
    const { steps, batch, seed, signal } = this.#settings;
    throwIfAborted(signal);
    this.#expectAlive();
    const rate = schedule(this.#step, steps);
    const rates = { learningRate: this.#settings.learningRate * rate, flipRate: this.#settings.flipRate * rate };
    const { ids, targets } = await data.batch({ ...this.#windows, batch, seed, step: this.#step });
    const predictions = await this.#cache?.read(this.#step);
    const started = performance.now();
    const result = await trainer.step({ step: this.#step, ids, targets, predictions, ...rates, signal });
    const seconds = (performance.now() - started) / 1000;
    this.#step++;
    this.#seconds += seconds;
    this.#tokens += ids.length;
    this.#history.push({
      step: this.#step,
      loss: result.loss,
      parts: result.parts,
      flips: movedOf(result) / trainer.trainedBits,
      beta: result.beta,
    });
    const tokensPerSecond = ids.length / seconds;
    await log?.write({
      ...this.#history.at(-1),
      ...rates,
      gradientNorm: result.gradientNorm,
      flipsByLayer: Object.fromEntries(result.moved),
      tokensPerSecond,
      rss: process.memoryUsage.rss(),
    });
    await this.#evaluateIfDue(trainer, heldOut, log);
    this.#settings.onProgress?.({ ...(this.#history.at(-1) as FinetuneRecord), steps, tokensPerSecond });
  }

  /** Evaluates after a step that requires it. A run that was stopped in an evaluation repeats it when it resumes. */
  async #evaluateIfDue(trainer: Trainer, heldOut: Dataset | undefined, log: TrainingLog | undefined): Promise<void> {
    const { evaluation, steps } = this.#settings;
    const record = this.#history.at(-1);
    if (evaluation === undefined || heldOut === undefined || record === undefined || record.perplexity !== undefined)
      return;
    if (record.step % evaluation.every !== 0 && record.step !== steps) return;
    const { perplexity, scored, tokens } = await this.#evaluate(trainer, evaluation, heldOut);
    this.#history[this.#history.length - 1] = { ...record, perplexity };
    await log?.write({ step: record.step, event: 'evaluation', perplexity, scored, tokens });
  }

  /** Measures the perplexity of the model as it would be saved. Training continues with unrounded scales. */
  async #evaluate(trainer: Trainer, evaluation: EvaluationOptions, heldOut: Dataset): Promise<PerplexityResult> {
    const weights = takeSnapshot(trainer.changed);
    try {
      this.#student.roundToStorage();
      const { signal, precision } = this.#settings;
      const result = await measurePerplexity(this.#student, heldOut, {
        ...this.#evaluation(evaluation),
        precision,
        signal,
      });
      const { perplexity } = result;
      if (perplexity < (this.#best?.perplexity ?? Infinity)) {
        this.#best = { perplexity, step: this.#step };
        this.#bestWeights = weights;
      }
      return result;
    } finally {
      if (!this.#student.disposed) restoreSnapshot(trainer.changed, weights);
    }
  }

  #expectAlive(): void {
    for (const model of [this.#student, this.#settings.teacher]) {
      if (model?.disposed) throw new MbokError('MBOK_DISPOSED', 'a model was disposed during training');
    }
  }

  async #save(trainer: Trainer, fingerprint: Fingerprint | undefined): Promise<void> {
    if (this.#checkpoint === undefined || fingerprint === undefined || this.#saved === this.#step) return;
    const step = this.#step;
    const progress: Progress = { history: this.#history, best: this.#best };
    const matrices = { trained: trainer.changed, state: trainer.state };
    await this.#checkpoint.save({ fingerprint, step, progress, matrices, best: this.#bestWeights });
    this.#saved = step;
  }

  async #resume(trainer: Trainer, fingerprint: Fingerprint): Promise<void> {
    const check = (json: JsonObject, place: string) => readProgress(json, this.#settings.steps, place);
    const restored = await this.#checkpoint?.load(
      fingerprint,
      { trained: trainer.changed, state: trainer.state },
      check,
    );
    if (restored === undefined) return;
    const { step, history, best } = restored.progress;
    this.#step = step;
    this.#saved = step;
    this.#history = [...history];
    this.#best = best;
    this.#bestWeights = restored.best;
  }

  /** Returns everything that determines the result, except what a checkpoint restores. */
  #fingerprint(trainer: Trainer, data: Dataset, heldOut: Dataset | undefined): Fingerprint {
    const { teacher, checkpoint, resume, log, signal, onProgress, evaluation, data: _, ...given } = this.#settings;
    const { memory: __, onMemory: ___, teacherCache, startId, ...options } = given;
    const { changed } = trainer;
    const frozen = [...this.#student.parameters].filter(([name]) => !changed.has(name));
    return {
      ...options,
      // absent without a start token, as in checkpoints of earlier versions
      ...(startId !== undefined && { startToken: startTokenOf(startId) }),
      microBatch: trainer.memory.microBatch,
      teacher: (teacherCache ? undefined : teacher?.json) ?? null,
      teacherCache: teacherCache?.topK ?? null,
      text: data.digest,
      evaluation: evaluation ? { ...evaluation, data: (heldOut as Dataset).digest } : null,
      'frozen weights': digest(frozen.map(([, matrix]) => matrix.raw())),
    };
  }

  #result(trainer: Trainer, heldOut: Dataset | undefined): FinetuneResult {
    const flips = this.#history.reduce((sum, entry) => sum + Math.round(entry.flips * trainer.trainedBits), 0);
    const tokensPerSecond = this.#seconds === 0 ? 0 : this.#tokens / this.#seconds;
    const teacherCacheError = this.#cache?.error;
    const startToken = startTokenOf(this.#settings.startId);
    const { memory } = trainer;
    const scored = heldOut && scoredTokens(heldOut);
    const summary = { scored, startToken, tokensPerSecond, flips, memory, teacherCacheError };
    return { history: this.#history, best: this.#best, ...summary };
  }
}

/** Returns the micro-batch of the earlier run, if its value is valid. */
function dividing(batch: number, microBatch: unknown): number | undefined {
  const divides =
    Number.isSafeInteger(microBatch) && (microBatch as number) > 0 && batch % (microBatch as number) === 0;
  return divides ? (microBatch as number) : undefined;
}

function movedOf({ moved }: StepResult): number {
  return [...moved.values()].reduce((sum, count) => sum + count, 0);
}

function digest(arrays: readonly NodeJS.TypedArray[]): string {
  const hash = createHash('sha256');
  for (const array of arrays) hash.update(array);
  return hash.digest('hex');
}
