/** Tensors of a checkpoint that the model does not read. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { WeightReader } from '../io/weight_reader';
import type { ParameterSpecification } from './family';
import type { FileName } from './family_names';

/** Name of the head's weight. In tied models the embedding is the head. */
export const HEAD = 'lm_head.weight';

/**
 * A module of a checkpoint that does not belong to the model, such as a vision tower or multi-token prediction layers.
 */
export interface UnreadModule {
  /** Name of the module. */
  readonly name: string;
  /** Number of its tensors. */
  readonly tensors: number;
  /** Bytes of its tensors. */
  readonly bytes: number;
}

/**
 * Buffers that transformers derives from the configuration or training leaves behind, present in some files: rotary
 * frequencies, attention masks, position ids.
 */
const BUFFERS =
  /(^|\.)(inv_freq|original_inv_freq|cos_cached|sin_cached|masked_bias|attn\.bias|position_ids|embed_scale|_extra_state)$/;

/**
 * Lists the modules that nothing reads. Throws MBOK_UNSUPPORTED for an unread tensor within a module that the family
 * builds, such as a bias of a layer without one. Ignoring it would change the model's numbers.
 *
 * @param parameters - the tensors that the family builds
 * @param stored - the tensors that are read; the head of a tied model is compared with the embedding
 */
export function unreadModules(
  { path, tensors }: WeightReader,
  parameters: readonly ParameterSpecification[],
  stored: readonly string[],
  nameOf: FileName,
): readonly UnreadModule[] {
  const read = new Set([...stored, HEAD].map(nameOf));
  const built = new Set([...parameters.map(({ name }) => name), HEAD].map((name) => ownerOf(nameOf(name))));
  const containers = new Set([...built].flatMap((module) => beginnings(module).slice(0, -1)));
  const depth = Math.max(...[...built].map((module) => module.split('.').length));
  const unread = new Map<string, UnreadModule>();
  for (const { name, byteLength } of tensors.values()) {
    if (read.has(name) || BUFFERS.test(name)) continue;
    const around = beginnings(name, depth);
    if (around.some((module) => built.has(module))) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `${path}: tensor '${name}' is of a module that this architecture has, but nothing reads it`,
      );
    }
    const module = around.find((outer) => !containers.has(outer)) ?? name;
    const { tensors: count, bytes } = unread.get(module) ?? { tensors: 0, bytes: 0 };
    unread.set(module, { name: module, tensors: count + 1, bytes: bytes + byteLength });
  }
  return [...unread.values()];
}

/** Maximum number of modules in a message; a hostile file may have a hundred thousand. */
const MOST_NAMED = 8;

/** Describes the modules in one sentence. */
export function describeUnread(modules: readonly UnreadModule[]): string {
  const named = modules
    .slice(0, MOST_NAMED)
    .map(({ name, tensors }) => `${show(name)} (${tensors} ${tensors === 1 ? 'tensor' : 'tensors'})`);
  const others = modules.length - named.length;
  return `not read, since they are no part of the language model: ${named.join(', ')}${others > 0 ? ` and ${others} more` : ''}`;
}

/** Returns the block that contains a tensor, otherwise its module. */
function ownerOf(name: string): string {
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name.slice(0, Math.max(0, name.lastIndexOf('.')));
}

/**
 * Lists the first component of a name, the first two, and so on, up to `depth`. Names in hostile files may have
 * millions.
 */
function beginnings(name: string, depth = 2 ** 31): string[] {
  const parts = name.split('.', depth);
  return parts.map((_, i) => parts.slice(0, i + 1).join('.'));
}
