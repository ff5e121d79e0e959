/** Model files in the benchmark's folder, created if they are missing. */

import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bytesOf, tensorsOf, writeGguf } from './gguf.mjs';

const require = createRequire(import.meta.url);
const { binarizeFolder } = require('../../../dist/index.js');

/**
 * @returns {Promise<{path: string, bytes: number, readBytes: number}>} bytes of all weights, and of those that a token
 * reads
 */
export async function ggufFile(folder, shape, type) {
  const path = join(folder, `${nameOf(shape)}-${type}.gguf`);
  await mkdir(folder, { recursive: true });
  if (!existsSync(path)) await writeGguf(path, shape, type);
  const sizes = tensorsOf(shape, type).map(bytesOf);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  return { path, bytes, readBytes: bytes - sizes[0] };
}

/**
 * Converts the F16 file, so that the dense model exists only once on disk. The conversion method does not affect speed.
 */
export async function booleanFolder(folder, shape, kernels) {
  const path = join(folder, `${nameOf(shape)}-K${kernels}`);
  if (!existsSync(path)) {
    const dense = await ggufFile(folder, shape, 'F16');
    await binarizeFolder(dense.path, path, { kernels, method: 'svid', embeddings: 'int8' });
  }
  return path;
}

function nameOf({ hidden, ffn, layers, heads, kvHeads, vocab, context }) {
  return `llama-${[hidden, ffn, layers, heads, kvHeads, vocab, context].join('-')}`;
}
