/** What one does with a language model. */

import { join } from 'node:path';
import { MbokError } from './base/errors';
import { integers, options } from './base/validate';
import { generateBatch } from './generate/batch';
import { Generation } from './generate/generate';
import { recommendedSampling } from './generate/recommended';
import {
  type BatchOptions,
  expectRoom,
  GENERATE_OPTIONS,
  type GenerateOptions,
  type GenerationResult,
  readRequest,
} from './generate/request';
import type { SamplingOptions } from './generate/sampler';
import { type ActivationBits, arithmeticOf, type Precision } from './graph/arithmetic';
import { Graph } from './graph/graph';
import { headLogits } from './graph/operations/head';
import { Plan } from './graph/plan';
import { ModelCore } from './models/model_core';
import type { ProgressOptions } from './models/stored_matrix';
import { ChatTemplate, encodeRendered, endTokens } from './text/chat';
import { type ChatMessage, TEMPLATE_ARGUMENTS, type TemplateArguments } from './text/messages';

/** Options of {@link Model.logits}. */
export interface LogitsOptions extends ProgressOptions {
  /** Of dense products. Default 'f32'. */
  readonly precision?: Precision;
  /** Bits that the inputs of Boolean layers are rounded to. Default: only as the precision rounds them. */
  readonly activations?: ActivationBits;
}

const LOGITS_KEYS = ['precision', 'activations', 'signal', 'onProgress'] as const;

/** Options of {@link Model.chat}. */
export interface ChatOptions extends GenerateOptions, TemplateArguments {
  /** Whether the model continues the last message instead of beginning one. Default false. */
  readonly continueFinalMessage?: boolean | undefined;
}

/** Logits of every position of a text. */
export interface Logits {
  /** N · V numbers, position by position. */
  readonly data: Float32Array;
  /** [N, V]: tokens, vocabulary. */
  readonly shape: readonly [number, number];
}

/**
 * A decoder-only language model, dense or Boolean, with its weights in native memory. Load it with {@link Model.load},
 * dispose it after use. Calls may run side by side, but for finetuning, which excludes all others.
 *
 * @example
 * const model = await Model.load('assets/tiny-stories');
 * for await (const text of model.generate('Once upon a time', { maxTokens: 100, temperature: 0.8 })) {
 *   process.stdout.write(text);
 * }
 * model.dispose();
 */
export class Model extends ModelCore {
  #chatTemplate: ChatTemplate | undefined;

  /**
   * Logits after every token of one text.
   *
   * @param ids - token ids, at least one, at most the model's limit
   * @returns `data` [N · V] and `shape` [N, V]
   * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_ABORTED, MBOK_DISPOSED, MBOK_BUSY (the model is being finetuned),
   *   MBOK_OUT_OF_MEMORY
   */
  async logits(ids: ArrayLike<number>, given: LogitsOptions = {}): Promise<Logits> {
    const { signal, onProgress, ...rest } = options('options', given, LOGITS_KEYS);
    const arithmetic = arithmeticOf(rest);
    const { vocabularySize, maxPositions } = this.config;
    const rows = integers('ids', ids, 0, vocabularySize - 1).length;
    if (rows < 1 || rows > maxPositions) {
      throw new MbokError('MBOK_INVALID_ARGUMENT', `'ids' must have 1 to ${maxPositions} tokens, got ${rows}`);
    }
    using _ = this.holdToRead();
    const graph = new Graph(arithmetic);
    const builder = this.builder(graph);
    const { finished } = this.build(builder, graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' }), rows);
    graph.output('logits', headLogits(this.family.head(builder, finished, this.config)));
    await using plan = new Plan(graph, { maxRows: rows });
    onProgress?.({ done: 0, what: 'logits' });
    const { logits } = await plan.run({ inputs: { ids: Int32Array.from(ids) }, scalars: { rows }, signal });
    onProgress?.({ done: 1, what: 'logits' });
    return { data: logits as Float32Array, shape: [rows, vocabularySize] };
  }

  /**
   * Continues a prompt. Options outside their ranges and prompts that do not fit throw here, the rest while iterating.
   *
   * @param prompt - text, or token ids that are taken as they are; an empty text begins a new one
   * @returns an async iterator of strings, whose `result` says why it ended
   * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_NO_TOKENIZER, MBOK_DISPOSED
   */
  generate(prompt: string | ArrayLike<number>, given: GenerateOptions = {}): Generation {
    return new Generation(this, readRequest(this, prompt, given));
  }

  /**
   * Continues several prompts side by side, which takes little longer than the longest of them alone: each weight is read
   * once for all. The texts are those that {@link Model.generate} gives, prompt `i` with seed `seed + i`, up to rounding.
   *
   * @param prompts - as `generate` takes them
   * @returns the results in the order of the prompts
   * @throws MbokError what `generate` throws, MBOK_ABORTED, MBOK_NON_FINITE, MBOK_OUT_OF_MEMORY
   *
   * @example
   * const [first, second] = await model.generateBatch(['Once', 'One day'], { maxTokens: 50, temperature: 0 });
   */
  async generateBatch(
    prompts: readonly (string | ArrayLike<number>)[],
    given: BatchOptions = {},
  ): Promise<GenerationResult[]> {
    return await generateBatch(this, prompts, given);
  }

  /**
   * Answers a conversation as the model's chat template writes one. The answer ends with the tokens that end a message;
   * sampling is as in {@link Model.generate}, whatever the model's generation_config.json recommends: see
   * {@link Model.recommendedSampling}.
   *
   * @param messages - the conversation, the last message usually the user's
   * @param given - options of {@link Model.generate}, and what the template is told beside the messages
   * @returns an async iterator of strings, whose `result` says why it ended
   * @throws MbokError MBOK_UNSUPPORTED (no chat template), MBOK_INVALID_ARGUMENT (also for conversations that the template
   * refuses or that are longer than the model's context), MBOK_FORMAT (a template that cannot be parsed),
   * MBOK_NO_TOKENIZER, MBOK_DISPOSED
   *
   * @example
   * const answer = model.chat([{ role: 'user', content: 'Why is the sky blue?' }], { maxTokens: 200 });
   * for await (const text of answer) process.stdout.write(text);
   */
  chat(messages: readonly ChatMessage[], given: ChatOptions = {}): Generation {
    const { tokenizer } = this;
    const template = this.chatTemplate;
    const checked = options('options', given, [...GENERATE_OPTIONS, ...TEMPLATE_ARGUMENTS, 'continueFinalMessage']);
    const { tools, documents, chatTemplateKwargs, continueFinalMessage, ...request } = checked;
    const told = { tools, documents, chatTemplateKwargs, continueFinalMessage };
    const text = template.apply(messages, { ...told, addGenerationPrompt: continueFinalMessage !== true });
    expectRoom(text, tokenizer, this.config);
    const prompt = encodeRendered(tokenizer, text);
    return new Generation(this, readRequest(this, prompt, request, endTokens(tokenizer, template)));
  }

  /** How the model wants conversations written. Throws MBOK_UNSUPPORTED where it does not say, MBOK_FORMAT. */
  get chatTemplate(): ChatTemplate {
    this.#chatTemplate ??= ChatTemplate.fromFiles(this.companions, join(this.place, '..'));
    if (this.#chatTemplate !== undefined) return this.#chatTemplate;
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${this.place}: this model has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)`,
    );
  }

  /** Sampling as generation_config.json recommends it; greedy where it does not ask for sampling. Throws MBOK_FORMAT. */
  get recommendedSampling(): SamplingOptions {
    return recommendedSampling(this.companions, join(this.place, '..'));
  }
}
