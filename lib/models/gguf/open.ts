/** GGUF files opened as models: configuration, tokenizer and weights in the terms of Hugging Face. */

import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import { LazyFiles } from '../../io/lazy_files';
import { TOKENIZER_FILE } from '../../io/model_files';
import type { OpenFile } from '../../io/positioned';
import type { Checkpoint } from '../checkpoint_files';
import { MOST_HEAD_DIMENSION } from '../decoder_settings';
import { ARCHITECTURES, type Architecture, type Change } from './architectures';
import { dequantized } from './dequantize';
import { GgufFile } from './file';
import type { GgufTensor } from './header';
import { ArchitectureReader } from './metadata';
import { GgufReader, type MappedTensor } from './reader';
import { ROPE_TENSORS, type RopeFactors, withRopeFactors } from './rope_factors';
import { type GgufTokenizer, readGgufTokenizer } from './tokenizer';

/**
 * Opens a GGUF file of a supported architecture, or a model split into several by the first of them.
 *
 * @throws MbokError MBOK_IO, MBOK_FORMAT, MBOK_SHAPE if a tensor contradicts the metadata, MBOK_UNSUPPORTED for an
 * architecture, element type or tokenizer, MBOK_INVALID_ARGUMENT for another file of a split model than the first
 */
export async function openGguf(path: string, open?: OpenFile): Promise<Checkpoint> {
  const file = await GgufFile.open(path, open);
  try {
    const { name, architecture } = findArchitecture(file);
    const reader = new ArchitectureReader(file, name);
    const described = architecture.config(reader);
    reader.expectUnderstood();
    const config = withRopeFactors(described, await readRopeFactors(file), path);
    const tokenizer = readTokenizer(file);
    const weights = new GgufReader(file, mapTensors(file, architecture, config));
    // config.json repeats the ids of generation_config.json
    const json = { ...config, ...tokenizer?.generation };
    const notes = isGuessed(file) ? [GUESSED_WORDS] : [];
    return { json, place: path, companions: companionsOf(tokenizer), tokenizer, weights, notes };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function findArchitecture({ path, metadata }: GgufFile): { name: string; architecture: Architecture } {
  const name = metadata.get('general.architecture');
  if (typeof name !== 'string') {
    const got = name === undefined ? 'nothing' : show(name);
    throw new MbokError('MBOK_FORMAT', `'${path}': metadata 'general.architecture' must be a string, got ${got}`);
  }
  const architecture = Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
  if (architecture !== undefined) return { name, architecture };
  const supported = Object.keys(ARCHITECTURES).join(', ');
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `'${path}': architecture ${show(name)} is not supported; supported in GGUF files: ${supported}`,
  );
}

/**
 * Maps every tensor to Hugging Face's name. Throws MBOK_UNSUPPORTED for an unknown name: ignoring it would change the
 * model.
 */
function mapTensors(file: GgufFile, architecture: Architecture, config: Checkpoint['json']): MappedTensor[] {
  return [...file.tensors.values()].flatMap((tensor) => {
    if (Object.values(ROPE_TENSORS).includes(tensor.name)) return [];
    const [, layer, module = '', kind] = /^(?:blk\.(\d+)\.)?([a-z_]+)\.(weight|bias)$/.exec(tensor.name) ?? [];
    const names = layer === undefined ? architecture.modules : architecture.block;
    if (!Object.hasOwn(names, module)) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `'${file.path}': tensor '${tensor.name}' has no place in this architecture`,
      );
    }
    const prefix = layer === undefined ? '' : `${architecture.blocks}${layer}.`;
    const change = architecture.change?.(`${module}.${kind}`, config);
    if (change !== undefined) expectChangeable(file.path, tensor, change);
    return [{ name: `${prefix}${names[module]}.${kind}`, tensor, change }];
  });
}

function expectChangeable(path: string, { name, shape, dtype }: GgufTensor, change: Change): void {
  const rows = shape[0] as number;
  const fits =
    change.kind === 'interleaved'
      ? shape.length <= 2 && rows % (2 * change.heads) === 0
      : shape.length === (change.kind === 'transposed' ? 2 : 1);
  if (fits && (shape.length === 2 || dtype === 'F32')) return;
  throw new MbokError('MBOK_SHAPE', `'${path}': tensor '${name}' cannot be ${dtype} [${shape.join(', ')}]`);
}

async function readRopeFactors(file: GgufFile): Promise<RopeFactors> {
  const factors: { -readonly [key in keyof RopeFactors]: Float32Array } = {};
  for (const [key, name] of Object.entries(ROPE_TENSORS)) {
    const tensor = file.tensors.get(name);
    if (tensor === undefined) continue;
    const { shape, dtype, byteLength } = tensor;
    if (shape.length !== 1 || (shape[0] as number) > MOST_HEAD_DIMENSION / 2) {
      throw new MbokError(
        'MBOK_SHAPE',
        `'${file.path}': tensor '${name}' must be a vector with a number for every pair of a head, got [${shape.join(', ')}]`,
      );
    }
    const bytes = new Uint8Array(byteLength);
    await file.fill(tensor, 0, bytes);
    const row = { rows: 1, cols: shape[0] as number, type: 'f32' } as const;
    const values = await dequantized(row, { dtype, pieces: [bytes], pieceRows: 1 });
    factors[key as keyof RopeFactors] = values.toFloat32();
    values.dispose();
  }
  return factors;
}

/** Reads the tokenizer; undefined if the file has no vocabulary. */
function readTokenizer({ metadata, path }: GgufFile): GgufTokenizer | undefined {
  const model = metadata.get('tokenizer.ggml.model');
  if (model === undefined || model === 'none' || model === 'no_vocab') return undefined;
  try {
    return readGgufTokenizer(Object.fromEntries(metadata));
  } catch (error) {
    if (!(error instanceof MbokError)) throw error;
    throw new MbokError(error.code, `'${path}': ${error.message}`, { cause: error });
  }
}

const GUESSED_WORDS =
  'the file does not say how its tokenizer cuts words (tokenizer.ggml.pre): they are cut as llama.cpp does by default, perhaps not as the model learned them';

function isGuessed({ metadata }: GgufFile): boolean {
  return metadata.get('tokenizer.ggml.model') === 'gpt2' && !metadata.has('tokenizer.ggml.pre');
}

/** Creates the small files of a Hugging Face folder. tokenizer.json is created on demand. */
function companionsOf(tokenizer: GgufTokenizer | undefined): LazyFiles {
  if (tokenizer === undefined) return new LazyFiles(new Map());
  return new LazyFiles(
    new Map<string, Buffer | (() => Buffer)>([
      [TOKENIZER_FILE, () => encode(tokenizer.file())],
      ['tokenizer_config.json', encode(tokenizer.config)],
      ['generation_config.json', encode(tokenizer.generation)],
    ]),
  );
}

function encode(json: object): Buffer {
  return Buffer.from(`${JSON.stringify(json, null, 2)}\n`);
}
