/** Opened models on disk: everything known before a weight is read. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { warn } from '../base/warn';
import { localModel } from '../hub/pull';
import { ioFailure } from '../io/failure';
import { ifPresent, readFiles } from '../io/files';
import { type JsonObject, readJson } from '../io/json';
import { COMPANIONS, CONFIG_FILE, TOKENIZER_FILE } from '../io/model_files';
import { openSafetensors } from '../io/safetensors_shards';
import type { WeightReader } from '../io/weight_reader';
import type { Matrix } from '../native/matrix';
import { Q8 } from '../structures/q8';
import type { Formats } from '../structures/structure';
import { Tokenizer } from '../text/tokenizer';
import type { Checkpoint } from './checkpoint_files';
import { ConfigReader } from './config_reader';
import { type ConversionReport, readConversion } from './conversion_report';
import type { DecoderConfig, Family, ParameterSpecification } from './family';
import { byFamilyNames, type FileName, fileNames } from './family_names';
import { openGguf } from './gguf/open';
import { recoverModelFolder } from './model_folder';
import {
  isWeight,
  type LoadedParts,
  loadedParts,
  type ModelPart,
  type ModelSlice,
  modelParts,
  moduleOf,
} from './parts';
import { readFormats } from './quantization';
import { readDescription } from './registry';
import { expectPart, type ModelUse, type ProgressOptions, readPart, type StoredMatrix } from './stored_matrix';
import { describeUnread, HEAD, type UnreadModule, unreadModules } from './unread';
import { withWidened } from './widen';

/**
 * An open model: configuration, tokenizer and list of tensors, which are read one by one. Close it.
 *
 * @example
 * await using source = await ModelSource.open('models/llama');
 * for (const slice of source.loaded().slices) {
 *   const { matrix } = await source.read(slice);
 *   matrix.dispose();
 * }
 */
export class ModelSource {
  /** config.json without `quantization_config`. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly place: string;
  readonly family: Family;
  readonly config: DecoderConfig;
  /** All tensors of the dense architecture, in the order of the layers. */
  readonly specifications: readonly ParameterSpecification[];
  /** Formats of the weights that are not dense, by module. */
  readonly formats: Formats;
  /** Report of the conversion; undefined for a dense model. */
  readonly conversion: ConversionReport | undefined;
  readonly companions: ReadonlyMap<string, Buffer>;
  /** Undefined if the model has no tokenizer. */
  readonly tokenizer: Tokenizer | undefined;
  readonly weights: WeightReader;
  /** All matrices that the files must contain. */
  readonly parts: readonly ModelPart[];
  /** Modules of the checkpoint that do not belong to the model. */
  readonly unread: readonly UnreadModule[];
  /** Notes for the user: unread modules, a tokenizer that is partly guessed. */
  readonly notes: readonly string[];

  private constructor(checkpoint: Checkpoint) {
    const { json, place, companions, weights, notes } = checkpoint;
    const reader = new ConfigReader(json, place, weights.tensors.size);
    const { quantization_config: _, ...rest } = json;
    const dense = writable(rest);
    this.json = dense;
    this.place = place;
    this.conversion = readConversion(reader.object('quantization_config'));
    const { family, config } = readDescription(reader);
    this.family = family;
    this.config = config;
    this.companions = companions;
    const specifications = family.parameters(config);
    this.specifications = specifications;
    const nameOf = fileNames(weights, family, specifications);
    this.formats = blocksOf(weights, readFormats(reader, specifications), specifications, nameOf);
    this.parts = modelParts(specifications, this.formats);
    const names = this.parts.map(({ name }) => name);
    this.weights = byFamilyNames(weights, [...names, HEAD], nameOf);
    for (const part of this.parts) expectPart(this.weights, part);
    this.unread = unreadModules(weights, specifications, names, nameOf);
    this.notes = this.unread.length > 0 ? [...notes, describeUnread(this.unread)] : notes;
    this.tokenizer = openTokenizer(checkpoint, dense);
    this.tokenizer?.expectWithin(this.config.vocabularySize, join(place, '..', TOKENIZER_FILE));
  }

  /**
   * Opens a Hugging Face folder (config.json, model.safetensors or shards with an index, tokenizer.json), dense or
   * Boolean. A path to a file is opened as GGUF. A name at the hub is downloaded first, as {@link pullModel} does. Throws
   * MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_FORMAT, MBOK_SHAPE, MBOK_UNSUPPORTED, and MBOK_BUSY if another process keeps
   * replacing the folder; what `pullModel` throws.
   */
  static async open(name: string, download?: ProgressOptions): Promise<ModelSource> {
    const path = await localModel(name, download);
    return await ModelSource.of((await isFile(path)) ? await openGguf(path) : await openFolder(path));
  }

  /** Checks an open checkpoint, which it then owns. Throws as `open`. */
  static async of(checkpoint: Checkpoint): Promise<ModelSource> {
    try {
      return new ModelSource(checkpoint);
    } catch (error) {
      await checkpoint.weights.close();
      throw error;
    }
  }

  /** Lists the matrices to load: all, or the prefixes of at most `maxSize` for weights that have prefixes. */
  loaded(maxSize?: number): LoadedParts {
    return loadedParts(this.specifications, this.formats, maxSize);
  }

  /**
   * Reads a matrix; the caller owns it. Throws as {@link readPart} does. Throws MBOK_FORMAT if the model is tied but
   * its file has a different head.
   */
  async read(slice: ModelSlice, use?: ModelUse): Promise<StoredMatrix> {
    const stored = await readPart(this.weights, slice, use);
    const { part } = slice;
    if (
      part.owner.role === 'embedding' &&
      part.role !== 'scale' &&
      this.config.tied &&
      this.weights.tensors.has(HEAD)
    ) {
      await this.#expectTied(part, stored.matrix);
    }
    return stored;
  }

  async #expectTied(embedding: ModelPart, matrix: Matrix): Promise<void> {
    try {
      const inBlocks = this.weights.tensors.get(HEAD)?.isQ8;
      const type = embedding.role === 'real' ? (inBlocks ? 'Q8' : undefined) : embedding.type;
      const head = { ...embedding, name: HEAD, type };
      const { matrix: other } = await readPart(this.weights, { part: head, from: head });
      const isTied = await sameNumbers(other, matrix).finally(() => other.dispose());
      if (isTied) return;
      throw new MbokError(
        'MBOK_FORMAT',
        `${this.weights.path}: tensor '${HEAD}' differs from the embedding, although the configuration ties the two (tie_word_embeddings)`,
      );
    } catch (error) {
      matrix.dispose();
      throw error;
    }
  }

  /** Emits the notes as one warning, if there are any. */
  warn(): void {
    if (this.notes.length > 0) warn(`${this.weights.path}: ${this.notes.join('; ')}`);
  }

  /** Closes the files. */
  async close(): Promise<void> {
    await this.weights.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Adds the format q8 for weights whose GGUF blocks it stores exactly. */
function blocksOf(
  { tensors }: WeightReader,
  formats: Formats,
  specifications: readonly ParameterSpecification[],
  nameOf: FileName,
): Formats {
  const inBlocks = specifications.filter((weight) => isWeight(weight) && tensors.get(nameOf(weight.name))?.isQ8);
  return new Map([...formats, ...inBlocks.map(({ name }) => [moduleOf(name), Q8] as const)]);
}

/** Removes what JSON cannot express: numbers that are NaN or infinite, which nothing has read. */
function writable(json: Checkpoint['json']): Checkpoint['json'] {
  const text = JSON.stringify(json, (_, value: unknown) =>
    typeof value === 'number' && !Number.isFinite(value) ? undefined : value,
  );
  return JSON.parse(text) as Checkpoint['json'];
}

async function sameNumbers(a: Matrix, b: Matrix): Promise<boolean> {
  if (a.type !== b.type) {
    return await withWidened(a, undefined, (wide) => withWidened(b, undefined, (other) => sameNumbers(wide, other)));
  }
  const others = b.pieces();
  for (const piece of a.pieces()) if (Buffer.compare(piece, others.next().value as Uint8Array) !== 0) return false;
  return true;
}

/**
 * Tells whether the path is a file. Caches name files by hashes, so the extension counts only if nothing exists there.
 */
async function isFile(path: string): Promise<boolean> {
  try {
    const status = await ifPresent(stat(path));
    return status === undefined ? /\.gguf$/i.test(path) : !status.isDirectory();
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/** Opens the tokenizer; `config` is config.json. Undefined if the model has none. */
function openTokenizer({ companions, tokenizer, place }: Checkpoint, config: JsonObject): Tokenizer | undefined {
  const folder = join(place, '..');
  if (tokenizer !== undefined) {
    const files = () => [TOKENIZER_FILE, 'tokenizer_config.json'].map((name) => companions.get(name) as Buffer);
    return Tokenizer.fromParts({
      description: tokenizer,
      config: tokenizer.config,
      others: [tokenizer.generation, config],
      files,
      place: join(folder, TOKENIZER_FILE),
    });
  }
  if (!companions.has(TOKENIZER_FILE)) return undefined;
  return Tokenizer.fromFiles(new Map(companions).set(CONFIG_FILE, Buffer.from(JSON.stringify(config))), folder);
}

/** Maximum attempts to open a folder that other processes replace. */
const MOST_TRIES = 10;

/**
 * Opens the files of a folder so that all belong to one model. If another process replaces the folder meanwhile, or
 * died while replacing it, they are opened again.
 */
async function openFolder(folder: string): Promise<Checkpoint> {
  const configFile = join(folder, CONFIG_FILE);
  for (let tries = 1; ; tries++) {
    const before = await identity(configFile);
    try {
      const checkpoint = await readFolder(folder, configFile);
      if (before === (await identity(configFile))) return checkpoint;
      await checkpoint.weights.close();
      if (tries === MOST_TRIES) throw new MbokError('MBOK_BUSY', `'${folder}' is being replaced time and again`);
    } catch (error) {
      const isSame = before === (await identity(configFile));
      if ((isSame && (before !== undefined || tries > 1)) || tries === MOST_TRIES) throw error;
    }
    await recoverModelFolder(folder);
  }
}

async function readFolder(folder: string, configFile: string): Promise<Checkpoint> {
  const json = await readJson(configFile);
  const companions = await readFiles(folder, COMPANIONS);
  return { json, place: configFile, companions, weights: await openSafetensors(folder), notes: [] };
}

/** Identifies a file, to detect its replacement; undefined if it does not exist. */
async function identity(path: string): Promise<string | undefined> {
  const status = await ifPresent(stat(path, { bigint: true }));
  return status && `${status.dev} ${status.ino} ${status.mtimeNs}`;
}
