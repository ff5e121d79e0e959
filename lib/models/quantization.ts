/** The `quantization_config` of a Boolean model's config.json. */

import { MbokError } from '../errors';
import { show } from '../validate';
import type { ConfigReader } from './config_reader';
import { type ConversionReport, writeConversion } from './conversion';

/** Raised when the layout of saved Boolean models changes; other versions are refused. */
export const FORMAT_VERSION = 1;
/** Most kernels that a module may have. */
export const MAX_KERNELS = 8;

/** Kernels of every converted linear module, by module name. */
export type KernelCounts = ReadonlyMap<string, number>;

/** How embeddings and head are stored where that is not as real numbers: 8 bits with one scale a row. */
export type EmbeddingStorage = 'int8';

/** Reads how `quantization_config` says that embeddings are stored. Throws MBOK_UNSUPPORTED for other ways. */
export function readEmbeddingStorage(json: ConfigReader): EmbeddingStorage | undefined {
  const settings = json.object('quantization_config');
  const storage = settings?.json.embeddings;
  if (storage === undefined || storage === 'int8') return storage;
  throw new MbokError(
    'MBOK_UNSUPPORTED',
    `${settings?.place}: embeddings stored as ${show(storage)} are not supported; this mbok reads 'int8'`,
  );
}

/** Reads `quantization_config`; empty for a dense model. Throws MBOK_UNSUPPORTED for other methods or versions. */
export function readQuantization(json: ConfigReader): KernelCounts {
  const settings = json.object('quantization_config');
  if (settings === undefined) return new Map();
  const method = settings.string('quant_method', '');
  if (method !== 'mbok') {
    throw new MbokError('MBOK_UNSUPPORTED', `${settings.place}: quantisation method ${show(method)} is not supported`);
  }
  const version = settings.json.format_version;
  if (version !== FORMAT_VERSION) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${settings.place}: format version ${show(version)} is not supported; this mbok reads ${FORMAT_VERSION}`,
    );
  }
  const kernels = settings.object('kernels');
  const names = Object.keys(kernels?.json ?? {});
  return new Map(
    names.map((name) => {
      const count = (kernels as ConfigReader).count(name);
      if (count > MAX_KERNELS) {
        throw new MbokError('MBOK_FORMAT', `${settings.place}: '${name}' has ${count} kernels, at most ${MAX_KERNELS}`);
      }
      return [name, count];
    }),
  );
}

/** Reads which linear modules are in 8 bits. Throws MBOK_FORMAT, also for one that has kernels as well. */
export function readInt8Modules(json: ConfigReader, kernels: KernelCounts): readonly string[] {
  const settings = json.object('quantization_config');
  const modules = settings?.strings('int8') ?? [];
  const both = modules.find((module) => kernels.has(module));
  if (both === undefined) return modules;
  throw new MbokError('MBOK_FORMAT', `${settings?.place}: '${both}' is both in 8 bits and made of kernels`);
}

/**
 * Reads which modules, linear or not, have weights that are stored as rows of a 'q8' matrix. Throws MBOK_FORMAT, also for one
 * that has kernels or 8 bits as well.
 */
export function readQ8Modules(json: ConfigReader, others: Iterable<string>): readonly string[] {
  const settings = json.object('quantization_config');
  const modules = settings?.strings('q8') ?? [];
  const taken = new Set(others);
  const both = modules.find((module) => taken.has(module));
  if (both === undefined) return modules;
  throw new MbokError('MBOK_FORMAT', `${settings?.place}: '${both}' is stored as 'q8' and in another way as well`);
}

/**
 * Throws MBOK_FORMAT where `quantization_config` names a module that is not one of the architecture's of this kind ('linear
 * module'): what it says of it would be ignored.
 */
export function expectModules(
  json: ConfigReader,
  named: Iterable<string>,
  known: ReadonlySet<string>,
  kind: string,
): void {
  for (const module of named) {
    if (known.has(module)) continue;
    const place = json.object('quantization_config')?.place;
    throw new MbokError('MBOK_FORMAT', `${place}: ${show(module)} is not a ${kind} of this architecture`);
  }
}

/** Whether the first kernels of every module, however many, have scales of their own. Throws MBOK_FORMAT. */
export function readNested(json: ConfigReader): boolean {
  return json.object('quantization_config')?.boolean('nested', false) ?? false;
}

/** What there is to say of a Boolean model besides its kernels. */
export interface QuantizationNotes {
  readonly nested?: boolean;
  readonly embeddings?: EmbeddingStorage | undefined;
  /** Linear modules in 8 bits. */
  readonly int8?: readonly string[];
  /** Modules whose weights are stored as rows of a 'q8' matrix. */
  readonly q8?: readonly string[];
  readonly conversion?: ConversionReport | undefined;
}

/** The entry that {@link readQuantization} and the other functions here read. */
export function writeQuantization(
  kernels: KernelCounts,
  { nested, embeddings, int8 = [], q8 = [], conversion }: QuantizationNotes,
): Record<string, unknown> {
  return {
    quant_method: 'mbok',
    format_version: FORMAT_VERSION,
    kernels: Object.fromEntries(kernels),
    ...(nested && { nested }),
    ...(embeddings && { embeddings }),
    ...(int8.length > 0 && { int8 }),
    ...(q8.length > 0 && { q8 }),
    ...(conversion && { conversion: writeConversion(conversion) }),
  };
}
