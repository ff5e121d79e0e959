/** The `quantization_config` of config.json: formats of the weights, and the conversion report. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { dense } from '../structures/dense';
import { INT8 } from '../structures/int8';
import { kernelsFormat } from '../structures/kernels';
import { Q8 } from '../structures/q8';
import { findStructure, structureOf } from '../structures/registry';
import type { Formats, LayerFormat } from '../structures/structure';
import type { ConfigReader } from './config_reader';
import { type ConversionReport, writeConversion } from './conversion_report';
import type { ParameterSpecification } from './family';
import { isTable, isWeight, moduleOf } from './parts';

/** Version of the layout of saved models. Later versions are refused. */
const FORMAT_VERSION = 2;

/**
 * Reads the formats of an architecture's modules; empty for a dense model. Throws MBOK_UNSUPPORTED for methods,
 * versions and structures of other programs. Throws MBOK_FORMAT if the architecture lacks a module, or its weight
 * cannot have the format; such an entry would otherwise be ignored.
 */
export function readFormats(json: ConfigReader, specifications: readonly ParameterSpecification[]): Formats {
  const settings = json.object('quantization_config');
  if (settings === undefined) return new Map();
  const method = settings.string('quant_method', '');
  if (method !== 'mbok') {
    throw new MbokError('MBOK_UNSUPPORTED', `${settings.place}: quantization method ${show(method)} is not supported`);
  }
  const version = settings.value('format_version');
  if (version !== 1 && version !== FORMAT_VERSION) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${settings.place}: format version ${show(version)} is not supported; this mbok reads 1 and ${FORMAT_VERSION}`,
    );
  }
  const formats = version === 1 ? readLists(settings, specifications) : readModules(settings);
  // an unknown setting may change numbers, so it is refused too
  settings.value('conversion');
  settings.expectUnderstood(() => false);
  expectFormats(settings.place, formats, specifications);
  return formats;
}

function readModules(settings: ConfigReader): Formats {
  const modules = present(settings, 'modules');
  const formats = Object.keys(modules.json).map((module) => [module, readFormat(modules, module)] as const);
  return new Map(formats.filter(([, { kind }]) => kind !== dense.kind));
}

function readFormat(modules: ConfigReader, module: string): LayerFormat {
  const settings = present(modules, module);
  const kind = settings.string('format');
  const structure = findStructure(kind);
  if (structure === undefined) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${modules.place}: ${show(module)} has the format ${show(kind)}, which is not supported`,
    );
  }
  const format = structure.parse(settings);
  settings.expectUnderstood(() => false);
  return format;
}

/** Returns an object that must be present. Throws MBOK_FORMAT. */
function present(json: ConfigReader, key: string): ConfigReader {
  const value = json.object(key);
  if (value !== undefined) return value;
  throw new MbokError('MBOK_FORMAT', `${json.place}: '${key}' must be an object, got ${show(json.value(key))}`);
}

/** Reads format version 1, which has one list per structure. */
function readLists(settings: ConfigReader, specifications: readonly ParameterSpecification[]): Formats {
  const counts = settings.object('kernels');
  const nested = settings.boolean('nested', false);
  const tables = settings.value('embeddings');
  if (tables !== undefined && tables !== 'int8') {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${settings.place}: embeddings stored as ${show(tables)} are not supported; this mbok reads 'int8'`,
    );
  }
  const inTables = tables === undefined ? [] : specifications.filter(isTable).map(({ name }) => moduleOf(name));
  const entries = [
    ...Object.keys(counts?.json ?? {}).map(
      (module) => [module, kernelsFormat((counts as ConfigReader).count(module), nested)] as const,
    ),
    ...inTables.map((module) => [module, INT8] as const),
    ...(settings.strings('int8') ?? []).map((module) => [module, INT8] as const),
    ...(settings.strings('q8') ?? []).map((module) => [module, Q8] as const),
  ];
  const formats = new Map<string, LayerFormat>();
  for (const [module, format] of entries) {
    if (formats.has(module)) {
      throw new MbokError('MBOK_FORMAT', `${settings.place}: ${show(module)} is stored in two ways at once`);
    }
    formats.set(module, format);
  }
  return formats;
}

/** Throws MBOK_FORMAT if the architecture lacks a module, or its weight cannot have the format. */
function expectFormats(place: string, formats: Formats, specifications: readonly ParameterSpecification[]): void {
  const weights = new Map(specifications.filter(isWeight).map((weight) => [moduleOf(weight.name), weight]));
  for (const [module, format] of formats) {
    const weight = weights.get(module);
    if (weight === undefined) {
      throw new MbokError(
        'MBOK_FORMAT',
        `${place}: ${show(module)} is not a module with a weight of this architecture`,
      );
    }
    const { kind, fits, table, layer } = structureOf(format);
    const serves = (isTable(weight) ? table : layer) !== undefined;
    if (serves && (fits?.(weight, format) ?? true)) continue;
    throw new MbokError('MBOK_FORMAT', `${place}: ${show(module)} (${weight.role}) cannot have the format '${kind}'`);
  }
}

/** Converts a format to its JSON in config.json. */
export function formatJson(format: LayerFormat): Readonly<Record<string, unknown>> {
  return { format: format.kind, ...structureOf(format).write(format) };
}

/** Writes the entry that {@link readFormats} and `readConversion` read; undefined for a dense model. */
export function writeQuantization(
  formats: Formats,
  conversion: ConversionReport | undefined,
): Readonly<Record<string, unknown>> | undefined {
  if (formats.size === 0) return undefined;
  const modules = [...formats].map(([module, format]) => [module, formatJson(format)]);
  return {
    quant_method: 'mbok',
    format_version: FORMAT_VERSION,
    modules: Object.fromEntries(modules),
    ...(conversion && { conversion: writeConversion(conversion) }),
  };
}
