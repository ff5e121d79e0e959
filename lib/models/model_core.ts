/** A language model: its configuration, its matrices and its tokenizer. What it can do stands on top (lib/model.ts). */

import { MbokError } from '../base/errors';
import { ahead } from '../base/read_ahead';
import { integerInRange, invalid, oneOf, options, throwIfAborted } from '../base/validate';
import type { Graph, Tensor } from '../graph/graph';
import { encodeHalf, halfToF32, LARGEST_F16_LOSS, roundToF16 } from '../io/half';
import { writeSafetensors } from '../io/safetensors';
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
import { CONFIG_FILE, type FileContent, type OutputOptions, writeModelFolder } from './model_folder';
import { type ModelPart, type ModelSlice, modelParts, moduleOf, mostOf } from './parts';
import { writeQuantization } from './quantization';
import { readDescription } from './registry';
import { ModelSource } from './source';
import {
  MODEL_USES,
  type ModelUse,
  type ProgressOptions,
  partTensor,
  type StoredMatrix,
  WEIGHTS_METADATA,
  watched,
} from './stored_matrix';
import { widened } from './widen';

/** Tensors that are read at once: while one waits for the file another is arranged. */
const READ_AHEAD = 4;

export interface ModelParts {
  readonly json: Readonly<Record<string, unknown>>;
  /** Where the configuration came from, for messages. */
  readonly place: string;
  readonly parameters: ReadonlyMap<string, StoredMatrix>;
  /** Of the weights that are not dense, by module. */
  readonly formats: Formats;
  /** What the order of bits is for. */
  readonly use: ModelUse;
  readonly conversion: ConversionReport | undefined;
  readonly tokenizer: Tokenizer | undefined;
  /** Contents of companion files by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
}

/** Options of {@link Model.load}. */
export interface LoadOptions extends ProgressOptions {
  /**
   * Load only the first so many ±1 kernels of every module: 1 to the most that a module has; those with fewer keep theirs.
   * Default all.
   */
  readonly kernels?: number | undefined;
  /**
   * What the model is for: 'inference', which reads ±1 in tiles, or 'training', which reads them as files do, row by row. A
   * model does the other as well, but training has to turn the bits first, and inference by rows is slower. Default
   * 'inference'.
   */
  readonly for?: ModelUse | undefined;
}

/** Options of {@link Model.save}. */
export interface SaveOptions extends ProgressOptions, OutputOptions {}

const SAVE_KEYS = ['overwrite', 'signal', 'onProgress'] as const;

/** Hidden states and logits of a model built into a graph. */
export interface BuiltModel {
  /** The embeddings, then every block's output; the last one after the final norm: layers + 1 tensors. */
  readonly hiddenStates: readonly Tensor[];
  /** The last of `hiddenStates`. */
  readonly finished: Tensor;
}

/** A decoder-only language model, dense or Boolean, with its matrices in native memory. */
export class ModelCore {
  /** config.json as it was read, without `quantization_config`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** The architecture: its configuration, tensors and blocks. */
  readonly family: Family;
  /** Sizes and constants of the architecture, read from `json`. */
  readonly config: DecoderConfig;
  /** How the model was converted; undefined for a dense model. */
  readonly conversion: ConversionReport | undefined;
  readonly #formats: Map<string, LayerFormat>;
  #use: ModelUse;
  readonly #stored: Map<string, StoredMatrix>;
  readonly #parameters: Map<string, Matrix>;
  /** Contents of the small files that belong to the model, e.g. its tokenizer's, by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
  readonly #tokenizer: Tokenizer | undefined;
  /** Where the configuration came from, for messages. */
  readonly place: string;
  readonly #constants: ConstantTables;
  #disposed = false;
  /** Calls that read the weights and must find them as they are until they end. */
  #readers = 0;
  /** What a call that changes the weights does; undefined where none does. */
  #change: string | undefined;
  #revision = 0;

  /** Takes over the matrices. Use {@link ModelCore.load} or {@link ModelCore.derive}. */
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

  /** Loads what {@link ModelSource.open} opens, as `Model.load` (lib/model.ts) tells. */
  static async load(path: string, given: LoadOptions = {}): Promise<ModelCore> {
    const checked = options('options', given, ['kernels', 'for', 'signal', 'onProgress']);
    const { kernels: limit, signal, onProgress } = checked;
    const use = oneOf('for', checked.for ?? 'inference', MODEL_USES);
    throwIfAborted(signal);
    await using source = await ModelSource.open(path);
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

  /** Throws MBOK_NO_TOKENIZER where the folder had none. */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer === undefined) {
      throw new MbokError('MBOK_NO_TOKENIZER', `${this.place}: this model was loaded without a tokenizer.json`);
    }
    return this.#tokenizer;
  }

  /** Whether text functions can be used. */
  get hasTokenizer(): boolean {
    return this.#tokenizer !== undefined;
  }

  /** The matrices by checkpoint name. Throws MBOK_DISPOSED. */
  get parameters(): Parameters {
    this.#alive();
    return this.#parameters;
  }

  /** The matrices with the element types that they are saved in. Throws MBOK_DISPOSED. */
  get stored(): ReadonlyMap<string, StoredMatrix> {
    this.#alive();
    return this.#stored;
  }

  /** What the weights are made up of that are not dense, by module. */
  get formats(): Formats {
    return this.#formats;
  }

  /** ±1 kernels of every module that consists of them; empty for a dense model. */
  get kernels(): ReadonlyMap<string, number> {
    const counts = [...this.#formats].flatMap(([module, format]) =>
      isKernels(format) ? [[module, format.count] as const] : [],
    );
    return new Map(counts);
  }

  /** The structure of the embedding table where it is not dense, such as 'int8'. */
  get embeddings(): string | undefined {
    const [{ name }] = this.family.parameters(this.config) as [ParameterSpecification];
    return this.#formats.get(moduleOf(name))?.kind;
  }

  /** Every matrix of the model, in the order of its files. */
  get parts(): readonly ModelPart[] {
    return modelParts(this.family.parameters(this.config), this.#formats);
  }

  /** What the order of the bits is for: what the model was loaded for or last used for. */
  get use(): ModelUse {
    return this.#use;
  }

  /**
   * Makes matrices of 16 bits or of GGUF's block formats f32 in memory, as training needs those that it changes; they are
   * saved as before, blocks in F16. Throws MBOK_INVALID_ARGUMENT for a matrix of 8 bits, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY.
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
   * Brings all ±1 into the order that a use reads, one matrix at a time; does nothing where they have it. Plans that were
   * made before hold matrices that are gone then: they throw MBOK_DISPOSED. Throws MBOK_BUSY while other calls read the
   * model, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY, MBOK_ABORTED.
   */
  async arrangeFor(use: ModelUse, signal?: AbortSignal): Promise<void> {
    const turned = this.parts.filter(({ name, role }) => {
      return role === 'bits' && (this.stored.get(name)?.matrix.type === 'bitTiles') !== (use === 'inference');
    });
    using _ = this.#holdToReplace(turned, 'arranged');
    for (const { name, planes = 1, rows } of turned) {
      const { matrix, storage } = this.stored.get(name) as StoredMatrix;
      const made =
        use === 'inference'
          ? await tiled(matrix as BitMatrix, planes, signal)
          : await untiled(matrix, { kernels: planes, rows: rows / planes }, signal);
      this.#replace(name, { matrix: made, storage });
    }
    this.#use = use;
  }

  /** Excludes other calls while matrices are replaced, if there are any; the caller may be a call that does so already. */
  #holdToReplace({ length }: readonly unknown[], what: string): Disposable | undefined {
    return length > 0 && this.#change === undefined ? this.holdToChange(what) : undefined;
  }

  /** Takes over the matrix, and frees the one before it. */
  #replace(name: string, stored: StoredMatrix): void {
    if (this.#disposed) stored.matrix.dispose();
    this.#alive();
    this.#stored.get(name)?.matrix.dispose();
    this.#stored.set(name, stored);
    this.#parameters.set(name, stored.matrix);
    this.#revision++;
  }

  /**
   * Keeps the weights as they are until disposed; several calls may. Throws MBOK_BUSY while a call changes them,
   * MBOK_DISPOSED.
   *
   * @param since - the revision that the caller's plan or cache was made for: MBOK_BUSY where it is stale
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
   * Excludes every other call that reads or changes the weights until disposed. Throws MBOK_BUSY while there is one,
   * MBOK_DISPOSED.
   *
   * @param what - what is done to the model, for messages: `finetuned`
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

  /** Grows whenever the weights change or lie elsewhere: plans and caches of an earlier revision are stale. */
  get revision(): number {
    return this.#revision;
  }

  /** Tables that all layers share, for runs that reach `positions` positions. Throws MBOK_DISPOSED, MBOK_UNSUPPORTED. */
  constants(positions: number): Constants {
    this.#alive();
    return this.#constants.upTo(positions);
  }

  /** Every linear weight of the architecture, converted or not. */
  get linears(): readonly ParameterSpecification[] {
    return this.family.parameters(this.config).filter(({ role }) => role === 'linear');
  }

  /**
   * Adds embeddings, blocks and final norm to a graph. `ids` is i32 [tokens, 1]; `positions`: tokens of the longest sequence
   * that a run reaches.
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

  /** A builder over this model's matrices. */
  builder(graph: Graph, options: BuilderOptions = {}): Builder {
    return new Builder(graph, this.parameters, { ...options, formats: this.#formats });
  }

  /**
   * A model of the same architecture and tokenizer with other matrices: those of `replaced` (whose weights have `formats`),
   * copies of this model's for the rest.
   */
  derive(
    replaced: ReadonlyMap<string, StoredMatrix>,
    formats: Formats,
    conversion: ConversionReport | undefined = this.conversion,
  ): ModelCore {
    const parameters = new Map(
      modelParts(this.family.parameters(this.config), formats).map(({ name }) => {
        const own = this.stored.get(name);
        const entry = replaced.get(name) ?? (own && { matrix: own.matrix.clone(), storage: own.storage });
        if (entry === undefined) throw new MbokError('MBOK_SHAPE', `the derived model lacks '${name}'`);
        return [name, entry];
      }),
    );
    const { json, place, use, companions } = this;
    return new ModelCore({ json, place, parameters, formats, use, conversion, tokenizer: this.#tokenizer, companions });
  }

  /**
   * Rounds every f32 matrix to the element type it is saved in, so that a saved model reloads to the same numbers. Throws
   * MBOK_NON_FINITE, naming the tensor, where that type does not hold a number or a module's scales vanish in it.
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

  /** Saves the model as `Model.save` (lib/model.ts) tells. */
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

  /** Frees the matrices. Every later call throws MBOK_DISPOSED. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const { matrix } of this.#stored.values()) matrix.dispose();
    this.#constants[Symbol.dispose]();
  }

  /** As `dispose`, for `await using`. */
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

  /** Throws while a call changes the weights. */
  #settled(): void {
    this.#alive();
    if (this.#change !== undefined) throw new MbokError('MBOK_BUSY', `this model is being ${this.#change}`);
  }
}

/** The `kernels` that a model is loaded with. Throws MBOK_INVALID_ARGUMENT where no weight has so many. */
function expectLimit(kernels: number | undefined, formats: Formats): number | undefined {
  if (kernels === undefined) return undefined;
  const most = mostOf(formats);
  if (most === undefined) invalid('kernels', 'left out for a dense model', kernels);
  return integerInRange('kernels', kernels, 1, most);
}

/** Linear modules of a model in the order of its checkpoint. */
export function linearModules(
  model: ModelCore,
): readonly { readonly module: string; readonly rows: number; readonly cols: number }[] {
  return model.linears.map(({ name, rows, cols }) => ({ module: moduleOf(name), rows, cols }));
}
