/** What one does with a language model. */

import { join } from 'node:path';
import { MbokError } from './base/errors';
import { integers, invalid, oneOf, options } from './base/validate';
import { generateBatch } from './generate/batch';
import { generate } from './generate/generate';
import type { Generation } from './generate/generation';
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
import type { ConversionReport } from './models/conversion_report';
import { type LoadOptions, ModelCore, type SaveOptions } from './models/model_core';
import { MODEL_USES, type ModelUse, type ProgressOptions } from './models/stored_matrix';
import type { Formats } from './structures/structure';
import { ChatTemplate, encodeRendered, endTokens } from './text/chat';
import { type ChatMessage, TEMPLATE_ARGUMENTS, type TemplateArguments } from './text/messages';
import type { Tokenizer } from './text/tokenizer';

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
  /** Tokens N and vocabulary V. */
  readonly shape: readonly [number, number];
}

/** Options of {@link Model.arrangeFor}. */
export type ArrangeOptions = Pick<ProgressOptions, 'signal'>;

/** Sizes of a model's architecture. */
export interface ModelConfig {
  /** Name of the model family, such as 'llama'. */
  readonly family: string;
  /** Number of blocks. */
  readonly layers: number;
  /** Width of a hidden state. */
  readonly hiddenSize: number;
  /** Number of rows of the embedding table. */
  readonly vocabularySize: number;
  /** Maximum tokens of a sequence: the context that the model was trained for. */
  readonly maxPositions: number;
}

let readCore: (value: unknown) => ModelCore | undefined;
let wrapCore: (core: ModelCore) => Model;

/**
 * A decoder-only language model, dense or Boolean, with its weights in native memory. Load it with {@link Model.load}, and
 * dispose it after use. Calls may run concurrently; finetuning excludes all others.
 *
 * @example
 * const model = await Model.load('assets/tiny-stories');
 * for await (const text of model.generate('Once upon a time', { maxTokens: 100, temperature: 0.8 })) {
 *   process.stdout.write(text);
 * }
 * model.dispose();
 */
export class Model {
  readonly #core: ModelCore;
  #chatTemplate: ChatTemplate | undefined;

  static {
    readCore = (value) => (typeof value === 'object' && value !== null && #core in value ? value.#core : undefined);
    wrapCore = (core) => new Model(core);
  }

  private constructor(core: ModelCore) {
    if (!(core instanceof ModelCore)) {
      throw new MbokError('MBOK_INVALID_ARGUMENT', "'Model' has no constructor: load a model with Model.load");
    }
    this.#core = core;
  }

  /**
   * Loads a Hugging Face folder or a GGUF file, dense or Boolean. A model without a tokenizer loads, but its text functions
   * throw. One MbokWarning names modules in the file that the model does not use, such as a vision tower.
   *
   * With `kernels` only the bits of the first kernels are read, with their scales if the file is nested; of nested factor
   * pairs the size of that number, 1 being the smallest. The model is then saved in that size, and has no `conversion`,
   * which describes all of it.
   *
   * A name at the hub is downloaded first, as {@link pullModel} does; `onProgress` then runs from 0 to 1 twice.
   *
   * @param path - a folder with config.json and safetensors files, a GGUF file, or a name at the hub, as in
   *   'hf:HuggingFaceTB/SmolLM2-135M-Instruct'
   * @throws MbokError MBOK_INVALID_ARGUMENT (`kernels`), MBOK_IO, MBOK_FORMAT, MBOK_SHAPE, MBOK_UNSUPPORTED,
   *   MBOK_NON_FINITE, MBOK_OUT_OF_MEMORY, MBOK_ABORTED; what `pullModel` throws
   */
  static async load(path: string, given: LoadOptions = {}): Promise<Model> {
    return new Model(await ModelCore.load(path, given));
  }

  /**
   * Saves the model as a Hugging Face folder that {@link Model.load} reads to identical numbers. The folder appears whole
   * or not at all; an older model at the same path is replaced at the end.
   *
   * @throws MbokError MBOK_IO, also for a folder with files that mbok did not write, unless `overwrite` is set; MBOK_BUSY
   *   while the model is finetuned; MBOK_INVALID_ARGUMENT, MBOK_NON_FINITE, MBOK_ABORTED, MBOK_DISPOSED
   */
  async save(folder: string, given: SaveOptions = {}): Promise<void> {
    await this.#core.save(folder, given);
  }

  /** Frees the weights. Every later call throws MBOK_DISPOSED. */
  dispose(): void {
    this.#core.dispose();
  }

  /** Frees the weights, as `dispose` does, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#core.dispose();
  }

  /** Whether the model has been disposed. */
  get disposed(): boolean {
    return this.#core.disposed;
  }

  /** Sizes of the architecture. */
  get config(): ModelConfig {
    const { family, config } = this.#core;
    const { layers, hiddenSize, vocabularySize, maxPositions } = config;
    return { family: family.name, layers, hiddenSize, vocabularySize, maxPositions };
  }

  /** Tokenizer of the model. Throws MBOK_NO_TOKENIZER if its files have none. */
  get tokenizer(): Tokenizer {
    return this.#core.tokenizer;
  }

  /** Whether the model has a tokenizer, so that text functions can be used. */
  get hasTokenizer(): boolean {
    return this.#core.hasTokenizer;
  }

  /** Number of ±1 kernels by module; empty for a dense model. */
  get kernels(): ReadonlyMap<string, number> {
    return this.#core.kernels;
  }

  /** Formats of the weights that are not dense, by module. */
  get formats(): Formats {
    return new Map(this.#core.formats);
  }

  /** Format of the embedding table, such as 'int8'; undefined if it is dense. */
  get embeddings(): string | undefined {
    return this.#core.embeddings;
  }

  /**
   * Bits per weight of the linear layers, as {@link inspect} counts them in the saved model: every byte of their weights,
   * scales and biases · 8 / number of their weights. Throws MBOK_DISPOSED.
   */
  get bitsPerWeight(): number {
    return this.#core.bitsPerWeight;
  }

  /** Report of the conversion; undefined for a dense model. */
  get conversion(): ConversionReport | undefined {
    return this.#core.conversion;
  }

  /**
   * Arranges the bits of all layers for a use, one matrix at a time. Does nothing if they are so arranged.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_BUSY while other calls read the model, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY,
   *   MBOK_ABORTED
   */
  async arrangeFor(use: ModelUse, given: ArrangeOptions = {}): Promise<void> {
    const { signal } = options('options', given, ['signal']);
    await this.#core.arrangeFor(oneOf('use', use, MODEL_USES), signal);
  }

  /**
   * Computes the logits after every token of one text.
   *
   * @param ids - token ids, at least one, at most the model's limit
   * @returns `data` [N · V] and `shape` [N, V]
   * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_ABORTED, MBOK_DISPOSED, MBOK_BUSY (the model is being finetuned),
   *   MBOK_OUT_OF_MEMORY
   */
  async logits(ids: ArrayLike<number>, given: LogitsOptions = {}): Promise<Logits> {
    const { signal, onProgress, ...rest } = options('options', given, LOGITS_KEYS);
    const arithmetic = arithmeticOf(rest);
    const core = this.#core;
    const { vocabularySize, maxPositions } = core.config;
    const rows = integers('ids', ids, 0, vocabularySize - 1).length;
    if (rows < 1 || rows > maxPositions) {
      throw new MbokError('MBOK_INVALID_ARGUMENT', `'ids' must have 1 to ${maxPositions} tokens, got ${rows}`);
    }
    using _ = core.holdToRead();
    const graph = new Graph(arithmetic);
    const builder = core.builder(graph);
    const { finished } = core.build(builder, graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' }), rows);
    graph.output('logits', headLogits(core.family.head(builder, finished, core.config)));
    await using plan = new Plan(graph, { maxRows: rows });
    onProgress?.({ done: 0, what: 'logits' });
    const { logits } = await plan.run({ inputs: { ids: Int32Array.from(ids) }, scalars: { rows }, signal });
    onProgress?.({ done: 1, what: 'logits' });
    return { data: logits as Float32Array, shape: [rows, vocabularySize] };
  }

  /**
   * Continues a prompt. Invalid options and prompts that do not fit throw at once, other errors while iterating.
   *
   * @param prompt - text, or token ids that are taken as they are; an empty text begins a new one
   * @returns an async iterator of strings, whose `result` says why it ended
   * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_NO_TOKENIZER, MBOK_DISPOSED
   */
  generate(prompt: string | ArrayLike<number>, given: GenerateOptions = {}): Generation {
    return generate(this.#core, readRequest(this.#core, prompt, given));
  }

  /**
   * Continues several prompts together, in little more time than the longest needs alone: each weight is read once for
   * all. The texts equal those of {@link Model.generate}, where prompt `i` has the seed `seed + i`.
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
    return await generateBatch(this.#core, prompts, given);
  }

  /**
   * Answers a conversation, formatted by the model's chat template. The answer ends at a token that ends a message. Sampling
   * has the defaults of {@link Model.generate}; {@link Model.recommendedSampling} has those of generation_config.json.
   *
   * @param messages - the conversation; its last message is usually the user's
   * @param given - options of {@link Model.generate}, and template arguments beside the messages
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
    expectRoom(text, tokenizer, this.#core.config);
    const prompt = encodeRendered(tokenizer, text);
    return generate(this.#core, readRequest(this.#core, prompt, request, endTokens(tokenizer, template)));
  }

  /** Chat template of the model. Throws MBOK_UNSUPPORTED if its files have none, MBOK_FORMAT. */
  get chatTemplate(): ChatTemplate {
    const { companions, place } = this.#core;
    this.#chatTemplate ??= ChatTemplate.fromFiles(companions, join(place, '..'));
    if (this.#chatTemplate !== undefined) return this.#chatTemplate;
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${place}: this model has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)`,
    );
  }

  /** Sampling options of generation_config.json; greedy if it does not ask for sampling. Throws MBOK_FORMAT. */
  get recommendedSampling(): SamplingOptions {
    const { companions, place } = this.#core;
    return recommendedSampling(companions, join(place, '..'));
  }
}

/** @internal Wraps a core, which the model then owns. */
export function modelOf(core: ModelCore): Model {
  return wrapCore(core);
}

/** @internal Returns the core of a model: for the library and its tests, not for users. */
export function coreOf(model: Model): ModelCore {
  return readCore(model) as ModelCore;
}

/** @internal Returns the core if `value` is a model of this copy of mbok. Throws MBOK_INVALID_ARGUMENT otherwise. */
export function expectModel(name: string, value: Model): ModelCore {
  return readCore(value) ?? invalid(name, 'a model', value);
}
