/** Tokenizers of test/golden as GGUF metadata. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readGgufTokenizer } from '../../lib/models/gguf/tokenizer';
import { GOLDEN } from './folders';

/** Reads a file of test/golden/tokenizers. */
export const readTokenizerGolden = <T>(name: string) =>
  JSON.parse(readFileSync(join(GOLDEN, 'tokenizers', name), 'utf8')) as T;

interface Vocabulary {
  readonly tokens: string[];
  readonly token_type: number[];
  readonly texts: string[];
}
export const byteLevel = readTokenizerGolden<Vocabulary & { merges: string[]; ids: Record<string, number[][]> }>(
  'byte_level.json',
);
export const pieces = readTokenizerGolden<
  Vocabulary & { scores: number[]; ids: number[][]; ids_without_prefix: number[][]; decoded: string[] }
>('sentence_piece.json');

export function metadata(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
}

export function byteLevelMetadata(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const { tokens, token_type, merges } = byteLevel;
  return metadata({ model: 'gpt2', pre: 'gpt-2', tokens, token_type, merges, bos_token_id: 0, ...changes });
}

export function pieceMetadata(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const { tokens, token_type, scores } = pieces;
  const ids = { bos_token_id: 1, eos_token_id: 2, unknown_token_id: 0 };
  return metadata({ model: 'llama', tokens, token_type, scores, ...ids, ...changes });
}

/** Returns the Hugging Face files of the tokenizer. */
export function tokenizerFiles(metadata: Readonly<Record<string, unknown>>) {
  const { file, config, generation } = readGgufTokenizer(metadata);
  return { tokenizer: file(), config, generation };
}
