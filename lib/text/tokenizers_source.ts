import { readFileSync } from 'node:fs';

/**
 * Returns the source text of @huggingface/tokenizers, which a realm evaluates.
 *
 * In the compiled package `scripts/build-ts.mjs` replaces this file by one that holds the text, because bundlers take
 * modules along but no files that a program reads.
 */
export function tokenizersSource(): string {
  return readFileSync(require.resolve('@huggingface/tokenizers'), 'utf8');
}
