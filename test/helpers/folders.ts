/** Temporary folders, and modified copies of a small model. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const GOLDEN = join(__dirname, '../golden');
export const TINY_STORIES = join(__dirname, '../../assets/tiny-stories');

/** Creates a folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mbok-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Copies the checkpoint of a golden family to `folder`. */
export function copyGolden(family: string, folder: string): string {
  for (const file of ['config.json', 'model.safetensors']) cpSync(join(GOLDEN, family, file), join(folder, file));
  return folder;
}

/** Copies the embedded model to `folder`, with changes to tokenizer_config.json and generation_config.json. */
export function copyTinyStories(
  folder: string,
  changes: { readonly tokenizer?: Record<string, unknown>; readonly generation?: Record<string, unknown> } = {},
): string {
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json']) {
    cpSync(join(TINY_STORIES, file), join(folder, file));
  }
  const config = JSON.parse(readFileSync(join(TINY_STORIES, 'tokenizer_config.json'), 'utf8'));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ ...config, ...changes.tokenizer }));
  if (changes.generation) writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(changes.generation));
  return folder;
}

/** Changes the configuration of the model in `folder`. */
export function changeConfig(folder: string, changes: Record<string, unknown>): void {
  const path = join(folder, 'config.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changes }));
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** Changes the safetensors file of the model in `folder`: its header, its data, or the whole. */
export function changeWeights(
  folder: string,
  change: (parts: { header: Header; data: Buffer }) => { header: Header; data: Buffer } | Buffer,
): void {
  const path = join(folder, 'model.safetensors');
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Header;
  const changed = change({ header, data: file.subarray(8 + length) });
  if (Buffer.isBuffer(changed)) {
    writeFileSync(path, changed);
    return;
  }
  const json = Buffer.from(JSON.stringify(changed.header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path, Buffer.concat([prefix, json, changed.data]));
}
