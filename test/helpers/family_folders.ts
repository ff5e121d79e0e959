/** Paths of the families' golden checkpoints: some are in the repository, all in ../shared. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { sharedPath } from './shared';

/** Every family and variant that is compared with transformers. */
export const FAMILIES = [
  'llama',
  'llama-bias',
  'llama-tied-rope3',
  'smollm3',
  'mistral',
  'mistral-sliding',
  'qwen2',
  'qwen2-tied',
  'qwen3',
  'qwen3-tied',
  'gemma2',
  'gemma3',
  'phi3',
  'opt',
  'opt-350m-like',
  'gpt2',
] as const;

/** Settings of published checkpoints that FAMILIES does not cover; see golden/make_variants.py. */
export const VARIANTS = [
  'llama-linear',
  'mistral-head',
  'qwen2-window',
  'qwen3-window-bias',
  'smollm3-window',
  'gemma2-caps',
  'gemma3-linear',
  'phi3-partial-longrope',
  'opt-no-bias',
  'gpt2-scaled',
] as const;

export function variantFolder(variant: (typeof VARIANTS)[number]): string {
  return join(__dirname, '../golden/variants', variant);
}

/**
 * Returns the folder in the repository. Variants that test nothing further are only in ../shared, which keeps clones
 * small.
 */
export function repositoryFolder(family: string): string | undefined {
  const folder = join(__dirname, '../golden', family);
  return existsSync(folder) ? folder : undefined;
}

export function sharedFolder(family: string): string {
  return sharedPath(join('golden', family));
}
