/** Which files of a repository are the model that a reference names. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { COMPANIONS, CONFIG_FILE, MARKER_FILE } from '../io/model_files';
import { INDEX_FILE, WEIGHTS_FILE } from '../io/safetensors_shards';
import { formatReference, type ModelReference } from './reference';

/** A model among the files of a repository. */
export type Selection =
  | {
      readonly kind: 'folder';
      /** Folder within the repository; '' for its root. */
      readonly path: string;
      /** Files of the model. For a checkpoint in several files, its weights are those that the index names. */
      readonly files: readonly string[];
      /** Index of a checkpoint in several files. */
      readonly index: string | undefined;
    }
  | {
      readonly kind: 'gguf';
      /** The file, or the first of a split file. */
      readonly path: string;
      readonly files: readonly string[];
    };

/** Returns what names in the folder of a model begin with: its path and a slash; '' at the root and for a GGUF file. */
export function prefixOf({ kind, path }: Selection): string {
  return kind === 'folder' && path !== '' ? `${path}/` : '';
}

/** Quantizations that a repository of GGUF files stands for if the reference names none; the first that it has. */
const DEFAULT_QUANTS = ['Q4_K_M', 'Q8_0'];
/** GGUF files that are no language models: projectors of images, importance matrices, draft heads. */
const OTHER_GGUF = /(?:^|[/._-])(?:mmproj|imatrix|mtp)(?=[/._-])/i;
/** Parts of a model in several files. */
const SPLIT = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;
/** Choices that a message lists. */
const MOST_LISTED = 30;

/**
 * Chooses the files of a model. Without a quantization, a folder of safetensors comes before GGUF files.
 *
 * @param names - the files of the repository, or those in the cache
 * @throws MbokError MBOK_HUB_MISSING if there is no such file; MBOK_INVALID_ARGUMENT if several models fit;
 * MBOK_UNSUPPORTED if the repository has no model that mbok reads
 */
export function select(reference: ModelReference, names: Iterable<string>): Selection {
  const all = [...names];
  const { path, quant } = reference;
  if (path !== undefined && all.includes(path)) return ofFile(reference, path, all);
  const root = path === undefined ? '' : `${path}/`;
  const inside = all.filter((name) => name.startsWith(root));
  if (inside.length === 0) throw missing(reference, `${reference.repo} has no ${show(path)}`, all);
  const folder = quant === undefined ? folderIn(root, new Set(inside)) : undefined;
  return folder ?? chooseGguf(reference, inside);
}

function ofFile(reference: ModelReference, path: string, all: readonly string[]): Selection {
  if (!/\.gguf$/i.test(path)) {
    const folder = path.slice(0, path.lastIndexOf('/') + 1);
    // the address of a folder's config.json or weights names the model
    const found =
      [CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE].includes(path.slice(folder.length)) && folderIn(folder, new Set(all));
    if (found) return found;
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${formatReference(reference)}: mbok reads GGUF files and folders of safetensors`,
    );
  }
  const files = ggufModels(all).find((parts) => parts.includes(path));
  return gguf(reference, files ?? [path]);
}

function folderIn(root: string, names: ReadonlySet<string>): Selection | undefined {
  const has = (name: string) => names.has(root + name);
  if (!has(CONFIG_FILE)) return undefined;
  const weights = has(WEIGHTS_FILE) ? WEIGHTS_FILE : INDEX_FILE;
  if (!has(weights)) return undefined;
  const files = [CONFIG_FILE, ...COMPANIONS, MARKER_FILE].filter(has);
  return {
    kind: 'folder',
    path: root.slice(0, -1),
    files: [...files, weights].map((name) => root + name),
    index: weights === INDEX_FILE ? root + INDEX_FILE : undefined,
  };
}

function chooseGguf(reference: ModelReference, names: readonly string[]): Selection {
  const models = ggufModels(names).filter(([first = '']) => !OTHER_GGUF.test(first));
  const { quant, repo } = reference;
  if (models.length === 0) {
    const other = names.find((name) => /\.(bin|pt|pth|onnx|h5|msgpack|gguf\.part.*)$/i.test(name));
    const what = other === undefined ? 'no weights' : `weights of another format (${other})`;
    if (quant !== undefined && names.some((name) => /\.safetensors$/i.test(name))) {
      throw missing(reference, `${repo} has no GGUF files, so it has no quantization ${quant}`, names);
    }
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${formatReference(reference)} has ${what}; mbok reads ${WEIGHTS_FILE} with ${CONFIG_FILE}, and GGUF files`,
    );
  }
  const firsts = models.map(([first = '']) => first);
  const fitting = (wanted: string) => models.filter(([first = '']) => hasQuant(first, wanted));
  if (quant !== undefined) {
    const found = fitting(quant);
    if (found.length === 0) throw missing(reference, `${repo} has no GGUF file of quantization ${quant}`, firsts);
    return gguf(reference, theOnly(reference, found));
  }
  if (models.length === 1) return gguf(reference, models[0] as readonly string[]);
  const byDefault = DEFAULT_QUANTS.map(fitting).find((found) => found.length > 0);
  return gguf(reference, theOnly(reference, byDefault ?? models));
}

/** Returns the single model. Throws MBOK_INVALID_ARGUMENT that lists the choices if there are several. */
function theOnly(reference: ModelReference, models: readonly (readonly string[])[]): readonly string[] {
  if (models.length === 1) return models[0] as readonly string[];
  const choices = list(models.map(([first = '']) => formatReference({ ...reference, quant: undefined, path: first })));
  throw new MbokError(
    'MBOK_INVALID_ARGUMENT',
    `${formatReference(reference)} could be several models; name one: ${choices}`,
  );
}

/** Tells whether a file name contains the name of a quantization, and not that of another with the same beginning. */
function hasQuant(name: string, quant: string): boolean {
  const escaped = quant.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?:^|[-._/])${escaped}(?=[-./])`, 'i').test(name);
}

/** Groups GGUF files by model, with the parts of split files in order. */
function ggufModels(names: readonly string[]): readonly (readonly string[])[] {
  const models = new Map<string, string[]>();
  for (const name of names.filter((name) => /\.gguf$/i.test(name)).sort()) {
    const [, stem, , count] = SPLIT.exec(name) ?? [];
    const key = stem === undefined ? name : `${stem}\0${count}`;
    models.set(key, [...(models.get(key) ?? []), name]);
  }
  return [...models.values()];
}

/** Checks that no part of a split file is missing. Throws MBOK_HUB_MISSING. */
function gguf(reference: ModelReference, files: readonly string[]): Selection {
  const [path = ''] = files;
  const [, stem, , count] = SPLIT.exec(path) ?? [];
  for (let part = 1; part <= Number(count ?? 0); part++) {
    const name = `${stem}-${String(part).padStart(5, '0')}-of-${count}.gguf`;
    if (files[part - 1]?.toLowerCase() !== name.toLowerCase()) {
      throw missing(reference, `${reference.repo} lacks the part ${show(name)}`, files);
    }
  }
  return { kind: 'gguf', path, files };
}

function missing(reference: ModelReference, what: string, names: readonly string[]): MbokError {
  return new MbokError('MBOK_HUB_MISSING', `${formatReference(reference)}: ${what}; there is ${list(names)}`);
}

function list(names: readonly string[]): string {
  const more = names.length - MOST_LISTED;
  return names.length === 0
    ? 'nothing'
    : [...names.slice(0, MOST_LISTED), ...(more > 0 ? [`${more} more`] : [])].join(', ');
}
