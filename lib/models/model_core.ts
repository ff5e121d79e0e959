/**
 * The core of a language model: configuration, matrices and tokenizer. `Model` (lib/model.ts) wraps it with the public
 * functions.
 */

import { MbokError } from '../base/errors';
import { ahead } from '../base/read_ahead';
import { integerInRange, invalid, oneOf, options, throwIfAborted } from '../base/validate';
import type { Graph, Tensor } from '../graph/graph';
import { encodeHalf, halfToF32, LARGEST_F16_LOSS, roundToF16 } from '../io/half';
import { CONFIG_FILE } from '../io/model_files';
import { tensorBytes, writeSafetensors } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import type { BitMatrix } from '../native/bit_matrix';
import type { Matrix } from '../native/matrix';
import { Builder, type BuilderOptions, type Parameters } from '../nn/builder';
import { isKernels } from '../structures/kernels';
import type { Formats, LayerFormat } from '../structures/structure';
import type { Tokenizer } from '../text/tokenizer';
import { tiled, untiled } from './bit_tiles';
import { ConfigReader } from './config_reader';
import { ConstantTables } from './constant_tables';
import type { ConversionReport } from './conversion_report';
import type { Constants, DecoderConfig, Family, ParameterSpecification } from './family';
import { type FileContent, type OutputOptions, writeModelFolder } from './model_folder';
import { layerBytes, type ModelPart, type ModelSlice, maxPrefix, modelParts, moduleOf } from './parts';
import { writeQuantization } from './quantization';
import { readDescription } from './registry';
import { ModelSource } from './source';
import {
  MODEL_USES,
  type ModelUse,
  type ProgressOptions,
  partHead,
  partTensor,
  type StoredMatrix,
  WEIGHTS_METADATA,
  watched,
} from './stored_matrix';
import { widened } from './widen';

/** Number of tensors that are read concurrently: one waits for the file while another is converted. */
const READ_AHEAD = 4;

/** The contents of a model. */
export interface ModelParts {
  readonly json: Readonly<Record<string, unknown>>;
  /** File of the configuration, for messages. */
  readonly place: string;
  readonly parameters: ReadonlyMap<string, StoredMatrix>;
  /** Formats of the weights that are not dense, by module. */
  readonly formats: Formats;
  /** Use that determines the layout of ±1 matrices. */
  readonly use: ModelUse;
  readonly conversion: ConversionReport | undefined;
  readonly tokenizer: Tokenizer | undefined;
  /** Contents of the companion files, by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
}

/** Options of {@link Model.load}. */
export interface LoadOptions extends ProgressOptions {
  /**
   * Number of ±1 kernels to load of every module, from 1 to the maximum in the model. Modules with fewer are loaded
   * completely. Default: all.
   */
  readonly kernels?: number | undefined;
  /**
   * Use of the model. 'inference' stores ±1 in tiles, 'training' in rows, as files do. The other use works too, but
   * training must convert the layout first, and inference on rows is slower. Default 'inference'.
   */
  readonly for?: ModelUse | undefined;
}

/** Options of {@link Model.save}. */
export interface SaveOptions extends ProgressOptions, OutputOptions {}

const SAVE_KEYS = ['overwrite', 'signal', 'onProgress'] as const;

/** Hidden states of a model built into a graph. */
export interface BuiltModel {
  /** Embeddings, then the output of every block, the last one after the final norm: layers + 1 tensors. */
  readonly hiddenStates: readonly Tensor[];
  /** The last of `hiddenStates`, input of the head. */
  readonly finished: Tensor;
}

/** A decoder-only language model, dense or Boolean, with its matrices in native memory. */
export class ModelCore {
  /** config.json without `quantization_config`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Architecture: reads the configuration, lists tensors and builds blocks. */
  readonly family: Family;
  /** Sizes and constants of the architecture, read from `json`. */
  readonly config: DecoderConfig;
  /** Report of the conversion; undefined for a dense model. */
  readonly conversion: ConversionReport | undefined;
  readonly #formats: Map<string, LayerFormat>;
  #use: ModelUse;
  readonly #stored: Map<string, StoredMatrix>;
  readonly #parameters: Map<string, Matrix>;
  /** Contents of the model's small files, such as those of its tokenizer, by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
  readonly #tokenizer: Tokenizer | undefined;
  /** File of the configuration, for messages. */
  readonly place: string;
  readonly #constants: ConstantTables;
  #disposed = false;
  /** Number of calls in progress that read the weights and exclude changes. */
  #readers = 0;
  /** The change in progress, for messages; undefined if there is none. */
  #change: string | undefined;
  #revision = 0;

  /** Takes ownership of the matrices. Use {@link ModelCore.load} or {@link ModelCore.derive}. */
  constructor({ json, place, parameters, formats, use, conversion, tokenizer, companions }: ModelParts) {
    const { quantization_config: _, ...dense } = json;
    this.json = dense;
    const { family, config } = readDescription(new ConfigReader(dense, place));
    this.family = family;
    this.config = config;
    this.#constants = new ConstantTables(this.family, this.config);
    this.#formats = new Map(formats);
    this.#use = use;
    this.conversion = conversion;
    this.place = place;
    this.#stored = new Map(parameters);
    this.#parameters = new Map([...parameters].map(([name, { matrix }]) => [name, matrix]));
    this.companions = companions;
    this.#tokenizer = tokenizer;
  }

  /** Loads a model that {@link ModelSource.open} accepts; `Model.load` (lib/model.ts) describes it. */
  static async load(path: string, given: LoadOptions = {}): Promise<ModelCore> {
    const checked = options('options', given, ['kernels', 'for', 'signal', 'onProgress']);
    const { kernels: limit, signal, onProgress } = checked;
    const use = oneOf('for', checked.for ?? 'inference', MODEL_USES);
    throwIfAborted(signal);
    await using source = await ModelSource.open(path, { signal, onProgress });
    source.warn();
    const { json, place, tokenizer, companions } = source;
    const { formats, slices } = source.loaded(expectLimit(limit, source.formats));
    const conversion = slices.every(({ part, from }) => part.name === from.name && part.rows === from.rows)
      ? source.conversion
      : undefined;
    const parameters = new Map<string, StoredMatrix>();
    try {
      const read = async (slice: ModelSlice) => ({ name: slice.part.name, stored: await source.read(slice, use) });
      const tensors = ahead(slices, READ_AHEAD, read, ({ stored }) => stored.matrix.dispose());
      onProgress?.({ done: 0, what: 'weights' });
      for await (const { name, stored } of tensors) {
        parameters.set(name, stored);
        throwIfAborted(signal);
        onProgress?.({ done: parameters.size / slices.length, what: name });
      }
    } catch (error) {
      for (const { matrix } of parameters.values()) matrix.dispose();
      throw error;
    }
    onProgress?.({ done: 1, what: 'loaded' });
    return new ModelCore({ json, place, parameters, formats, use, conversion, tokenizer, companions });
  }

  /** Tokenizer of the model. Throws MBOK_NO_TOKENIZER if it was loaded without one. */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer === undefined) {
      throw new MbokError('MBOK_NO_TOKENIZER', `${this.place}: this model was loaded without a tokenizer.json`);
    }
    return this.#tokenizer;
  }

  /** Whether the model has a tokenizer, which text functions need. */
  get hasTokenizer(): boolean {
    return this.#tokenizer !== undefined;
  }

  /** Matrices by their names in the checkpoint. Throws MBOK_DISPOSED. */
  get parameters(): Parameters {
    this.#alive();
    return this.#parameters;
  }

  /** Matrices with the element types in which they are saved. Throws MBOK_DISPOSED. */
  get stored(): ReadonlyMap<string, StoredMatrix> {
    this.#alive();
    return this.#stored;
  }

  /** Formats of the weights that are not dense, by module. */
  get formats(): Formats {
    return this.#formats;
  }

  /** Number of ±1 kernels by module; empty for a dense model. */
  get kernels(): ReadonlyMap<string, number> {
    const counts = [...this.#formats].flatMap(([module, format]) =>
      isKernels(format) ? [[module, format.count] as const] : [],
    );
    return new Map(counts);
  }

  /** Structure of the embedding table, such as 'int8'; undefined if it is dense. */
  get embeddings(): string | undefined {
    const [{ name }] = this.family.parameters(this.config) as [ParameterSpecification];
    return this.#formats.get(moduleOf(name))?.kind;
  }

  /** Bits per weight of the linear layers as they are saved, with all scales and biases. Throws MBOK_DISPOSED. */
  get bitsPerWeight(): number {
    const { stored, linears, parts } = this;
    const savedBytes = (part: ModelPart) =>
      tensorBytes(partHead(part, (stored.get(part.name) as StoredMatrix).storage));
    const bytes = [...layerBytes(parts, savedBytes).values()].reduce((sum, size) => sum + size, 0);
    return (bytes * 8) / linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  }

  /** All matrices of the model, in the order of its files. */
  get parts(): readonly ModelPart[] {
    return modelParts(this.family.parameters(this.config), this.#formats);
  }

  /** Use that determines the layout of ±1 matrices: that of loading or of the latest {@link arrangeFor}. */
  get use(): ModelUse {
    return this.#use;
  }

  /**
   * Converts matrices of 16 bits or GGUF blocks to f32 in memory, so that they can be trained. They are saved in their
   * previous type, blocks in F16. Throws MBOK_INVALID_ARGUMENT for 8-bit matrices, MBOK_BUSY, MBOK_DISPOSED,
   * MBOK_OUT_OF_MEMORY.
   */
  async widen(names: Iterable<string>, signal?: AbortSignal): Promise<void> {
    const narrow = [...names].filter((name) => (this.stored.get(name)?.matrix.type ?? 'f32') !== 'f32');
    using _ = this.#holdToReplace(narrow, 'widened');
    for (const name of narrow) {
      const { matrix, storage } = this.stored.get(name) as StoredMatrix;
      if (storage === 'I8') {
        throw new MbokError('MBOK_INVALID_ARGUMENT', `'${name}' is stored in 8 bits and cannot be trained`);
      }
      const wide = await widened(matrix, signal);
      if (storage === 'Q8') this.#formats.delete(moduleOf(name));
      this.#replace(name, { matrix: wide, storage: storage === 'Q8' ? 'F16' : storage });
    }
  }

  /**
   * Converts all ±1 matrices to the layout for `use`, one at a time; does nothing if they have it. Earlier plans are
   * bound to disposed matrices afterwards, so they throw MBOK_DISPOSED. Throws MBOK_BUSY while other calls read the
   * model, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY, MBOK_ABORTED.
   */
  async arrangeFor(use: ModelUse, signal?: AbortSignal): Promise<void> {
    const turned = this.parts.filter(({ name, role }) => {
      return role === 'bits' && (this.stored.get(name)?.matrix.type === 'bitTiles') !== (use === 'inference');
    });
    using _ = this.#holdToReplace(turned, 'arranged');
    for (const { name, planes = 1, rows } of turned) {
      const { matrix, storage } = this.stored.get(name) as StoredMatrix;
      const arranged =
        use === 'inference'
          ? await tiled(matrix as BitMatrix, planes, signal)
          : await untiled(matrix, { kernels: planes, rows: rows / planes }, signal);
      this.#replace(name, { matrix: arranged, storage });
    }
    this.#use = use;
  }

  /**
   * Excludes other calls while matrices are replaced. Does nothing if there are none, or if the caller already excludes
   * others.
   */
  #holdToReplace({ length }: readonly unknown[], what: string): Disposable | undefined {
    return length > 0 && this.#change === undefined ? this.holdToChange(what) : undefined;
  }

  /** Takes ownership of the matrix and disposes its predecessor. */
  #replace(name: string, stored: StoredMatrix): void {
    if (this.#disposed) stored.matrix.dispose();
    this.#alive();
    this.#stored.get(name)?.matrix.dispose();
    this.#stored.set(name, stored);
    this.#parameters.set(name, stored.matrix);
    this.#revision++;
  }

  /**
   * Prevents changes of the weights until disposed. Several calls may do so at once. Throws MBOK_BUSY while a call
   * changes the weights, MBOK_DISPOSED.
   *
   * @param since - revision that the caller's plan or cache is for; throws MBOK_BUSY if it is out of date
   */
  holdToRead(since = this.#revision): Disposable {
    this.#settled();
    if (since !== this.#revision) {
      throw new MbokError('MBOK_BUSY', 'this model has been changed, as by finetuning, while it wrote a text');
    }
    this.#readers++;
    return { [Symbol.dispose]: () => this.#readers-- };
  }

  /**
   * Excludes all other calls that read or change the weights until disposed. Throws MBOK_BUSY if there is one,
   * MBOK_DISPOSED.
   *
   * @param what - what the caller does to the model, for messages: `finetuned`
   */
  holdToChange(what: string): Disposable {
    this.#settled();
    if (this.#readers > 0) {
      throw new MbokError('MBOK_BUSY', `this model cannot be ${what} while another call reads it`);
    }
    this.#change = what;
    this.#revision++;
    return {
      [Symbol.dispose]: () => {
        this.#change = undefined;
      },
    };
  }

  /** Counter that increases when weights change or move. Plans and caches of an earlier revision are out of date. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * Returns the tables that all layers share, for up to `positions` positions. Throws MBOK_DISPOSED, MBOK_UNSUPPORTED,
   * MBOK_OUT_OF_MEMORY.
   */
  constants(positions: number): Constants {
    this.#alive();
    return this.#constants.upTo(positions);
  }

  /** All linear weights of the architecture, converted or not. */
  get linears(): readonly ParameterSpecification[] {
    return this.family.parameters(this.config).filter(({ role }) => role === 'linear');
  }

  /**
   * Adds embeddings, blocks and final norm to a graph. `ids` is i32 [tokens, 1]. `positions` is the length in tokens of
   * the longest sequence of a run.
   */
  build(builder: Builder, ids: Tensor, positions: number): BuiltModel {
    const { family, config } = this;
    const constants = this.constants(positions);
    const hiddenStates = [family.embed(builder, ids, config)];
    for (let layer = 0; layer < config.layers; layer++) {
      const previous = hiddenStates[layer] as Tensor;
      hiddenStates.push(family.block(builder, layer, previous, config, constants));
    }
    const finished = family.finish(builder, hiddenStates[config.layers] as Tensor, config);
    hiddenStates[config.layers] = finished;
    return { hiddenStates, finished };
  }

  /** Creates a builder for this model's matrices. */
  builder(graph: Graph, options: BuilderOptions = {}): Builder {
    return new Builder(graph, this.parameters, { ...options, formats: this.#formats });
  }

  /**
   * Creates a model of the same architecture and tokenizer with matrices from `replaced`, whose weights have `formats`.
   * All other matrices are copies of this model's. Throws MBOK_SHAPE if a matrix is missing, MBOK_DISPOSED.
   */
  derive(
    replaced: ReadonlyMap<string, StoredMatrix>,
    formats: Formats,
    conversion: ConversionReport | undefined = this.conversion,
  ): ModelCore {
    const parameters = new Map(
      modelParts(this.family.parameters(this.config), formats).map(({ name }) => {
        const current = this.stored.get(name);
        const entry = replaced.get(name) ?? (current && { matrix: current.matrix.clone(), storage: current.storage });
        if (entry === undefined) throw new MbokError('MBOK_SHAPE', `the derived model lacks '${name}'`);
        return [name, entry];
      }),
    );
    const { json, place, use, companions } = this;
    return new ModelCore({ json, place, parameters, formats, use, conversion, tokenizer: this.#tokenizer, companions });
  }

  /**
   * Rounds every f32 matrix to the type in which it is saved, so that a saved model reloads to the same numbers. Throws
   * MBOK_NON_FINITE, naming the tensor, if a number does not fit the type or a module's scales underflow in it.
   */
  roundToStorage(): void {
    for (const { name, role } of this.parts) {
      const { matrix, storage } = this.stored.get(name) as StoredMatrix;
      if (matrix.type !== 'f32' || (storage !== 'F16' && storage !== 'BF16')) continue;
      const values = matrix.toFloat32();
      if (role === 'scale' && storage === 'F16' && roundToF16(values).loss > LARGEST_F16_LOSS)
        throw new MbokError('MBOK_NON_FINITE', `the scales '${name}' are too large or too small for F16`);
      matrix.write(halfToF32(encodeHalf(name, values, storage), storage));
    }
  }

  /** config.json as {@link ModelCore.save} writes it. */
  get savedJson(): Record<string, unknown> {
    const quantization = writeQuantization(this.#formats, this.conversion);
    return { ...this.json, ...(quantization && { quantization_config: quantization }) };
  }

  /** Saves the model as a folder; `Model.save` (lib/model.ts) describes it. */
  async save(folder: string, given: SaveOptions = {}): Promise<void> {
    const { overwrite, signal, onProgress } = options('options', given, SAVE_KEYS);
    using _ = this.holdToRead();
    const { stored, parts } = this;
    const tensors = parts.map((part) => {
      const { matrix, storage } = stored.get(part.name) as StoredMatrix;
      return partTensor(part, storage, matrix);
    });
    const files = new Map<string, FileContent>([
      [CONFIG_FILE, `${JSON.stringify(this.savedJson, null, 2)}\n`],
      ...this.companions,
      [WEIGHTS_FILE, (path) => writeSafetensors(path, watched(tensors, { signal, onProgress }), WEIGHTS_METADATA)],
    ]);
    await writeModelFolder(folder, { signal, overwrite }, files);
    onProgress?.({ done: 1, what: 'saved' });
  }

  /** Frees the matrices. Later calls throw MBOK_DISPOSED. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const { matrix } of this.#stored.values()) matrix.dispose();
    this.#constants[Symbol.dispose]();
  }

  /** Disposes the model, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  /** Whether the model has been disposed. */
  get disposed(): boolean {
    return this.#disposed;
  }

  #alive(): void {
    if (this.#disposed) throw new MbokError('MBOK_DISPOSED', 'this model has been disposed');
  }

  /** Throws MBOK_DISPOSED, and MBOK_BUSY while a call changes the weights. */
  #settled(): void {
    this.#alive();
    if (this.#change !== undefined) throw new MbokError('MBOK_BUSY', `this model is being ${this.#change}`);
  }
}

/** Checks the option `kernels`. Throws MBOK_INVALID_ARGUMENT if no weight has as many kernels. */
function expectLimit(kernels: number | undefined, formats: Formats): number | undefined {
  if (kernels === undefined) return undefined;
  const maxKernels = maxPrefix(formats);
  if (maxKernels === undefined) invalid('kernels', 'left out for a dense model', kernels);
  return integerInRange('kernels', kernels, 1, maxKernels);
}

/** Lists the linear modules of a model in the order of its checkpoint. */
export function linearModules(
  model: ModelCore,
): readonly { readonly module: string; readonly rows: number; readonly cols: number }[] {
  return model.linears.map(({ name, rows, cols }) => ({ module: moduleOf(name), rows, cols }));
}
