/** The model's files in the folder of options, made where they are missing. */

import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bytesOf, tensorsOf, writeGguf } from './gguf.mjs';

const require = createRequire(import.meta.url);
const { binarizeFolder } = require('../../../dist/index.js');

/** @returns {Promise<{path: string, bytes: number, readBytes: number}>} bytes of all weights; of those a token reads */
export async function ggufFile(folder, shape, type) {
  const path = join(folder, `${nameOf(shape)}-${type}.gguf`);
  await mkdir(folder, { recursive: true });
  if (!existsSync(path)) await writeGguf(path, shape, type);
  const sizes = tensorsOf(shape, type).map(bytesOf);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  return { path, bytes, readBytes: bytes - sizes[0] };
}

/** A conversion of the F16 file: the same model, and no second copy of it on disk. How it is converted leaves no trace in speed. */
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
