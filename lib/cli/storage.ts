/** What a model's files hold, read from their headers alone. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { recoverFolder } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { readJson } from '../io/json';
import { SafetensorsFile } from '../io/safetensors';
import { moduleOf } from '../models/checkpoint';
import { ConfigReader } from '../models/config_reader';
import { readConversion } from '../models/conversion';
import { readQuantization } from '../models/quantization';
import { findFamily } from '../models/registry';

export interface LayerStorage {
  readonly module: string;
  readonly rows: number;
  readonly cols: number;
  /** 0: dense. */
  readonly kernels: number;
  /** All of the layer's tensors: kernels and scales, or the weight; and the bias. */
  readonly bytes: number;
  /** bytes · 8 / (rows · cols). */
  readonly bitsPerWeight: number;
}

export interface ModelStorage {
  readonly family: string;
  /** Elements of the tensors of the dense architecture. */
  readonly parameters: number;
  /** Weights of the linear layers. */
  readonly linearWeights: number;
  /** Strict: every byte of the stored linear layers · 8 / their weights. */
  readonly bitsPerWeight: number;
  /** Of model.safetensors, embeddings included. */
  readonly bytes: number;
  readonly linearBytes: number;
  readonly layers: readonly LayerStorage[];
  readonly conversion: ReturnType<typeof readConversion>;
}

/** Reads config.json and the header of model.safetensors. Throws MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED. */
export async function readStorage(folder: string): Promise<ModelStorage> {
  await recoverFolder(folder);
  const place = join(folder, 'config.json');
  const reader = new ConfigReader(await readJson(place), place);
  const kernels = readQuantization(reader);
  const family = findFamily(reader);
  const specifications = family.parameters(family.config(reader));
  const weights = join(folder, 'model.safetensors');
  await using file = await SafetensorsFile.open(weights);
  const linears = specifications.filter(({ role }) => role === 'linear');
  const layers = linears.map(({ name, rows, cols }): LayerStorage => {
    const module = moduleOf(name);
    const own = [...file.tensors].filter(([tensor]) => tensor.startsWith(`${module}.`));
    const bytes = sum(own, ([, { byteLength }]) => byteLength);
    return { module, rows, cols, kernels: kernels.get(module) ?? 0, bytes, bitsPerWeight: (bytes * 8) / (rows * cols) };
  });
  const linearWeights = sum(layers, ({ rows, cols }) => rows * cols);
  const linearBytes = sum(layers, ({ bytes }) => bytes);
  return {
    family: family.name,
    parameters: sum(specifications, ({ rows, cols }) => rows * cols),
    linearWeights,
    bitsPerWeight: (linearBytes * 8) / linearWeights,
    bytes: await fileBytes(weights),
    linearBytes,
    layers,
    conversion: readConversion(reader.object('quantization_config')),
  };
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

async function fileBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}
