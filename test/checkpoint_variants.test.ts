/**
 * The many forms in which one model is published: each loads to the same numbers, which families.test.ts holds against
 * transformers; and what takes a file's place is called by its name.
 */

import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readStorage } from '../lib/cli/storage';
import { Model } from '../lib/model';
import { ModelSource } from '../lib/models/source';
import { changeWeights, copyGolden, GOLDEN, temporaryFolder } from './folders';

const temporary = temporaryFolder();
const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 37) % 160);
let folders = 0;

function newFolder(): string {
  const path = join(temporary, String(folders++));
  mkdirSync(path);
  return path;
}

/** A copy of a golden family, changed. */
function variant(change: (folder: string) => void, family = 'llama'): string {
  const folder = copyGolden(family, newFolder());
  change(folder);
  return folder;
}

async function logits(path: string): Promise<Float32Array> {
  await using model = await Model.load(path);
  return (await model.logits(ids)).data;
}

const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: 'MbokError', code, message: expect.stringMatching(message) });

/** Adds a tensor of zeros. */
function addTensor(folder: string, name: string, shape: number[], dtype = 'F32', bytes = 0): void {
  changeWeights(folder, ({ header, data }) => {
    const length = bytes || shape.reduce((product, size) => product * size, 4);
    const entry = { dtype, shape, data_offsets: [data.length, data.length + length] as [number, number] };
    return { header: { ...header, [name]: entry }, data: Buffer.concat([data, Buffer.alloc(length)]) };
  });
}

describe('a GGUF file is known by its first bytes', () => {
  test.each(['model.gguf', 'model.GGUF', 'sha256-0123abcd', 'blob'])('%s', async (name) => {
    const path = join(newFolder(), name);
    cpSync(join(GOLDEN, 'gguf/llama.gguf'), path);
    expect(await logits(path)).toEqual(await logits(join(GOLDEN, 'gguf/llama.gguf')));
    expect((await readStorage(path)).family).toBe('llama');
  });

  test('another file is not taken for one', async () => {
    const path = join(GOLDEN, 'llama/model.safetensors');
    await expect(ModelSource.open(path)).rejects.toThrow(
      failure('MBOK_FORMAT', /model\.safetensors' .* does not begin with GGUF; a model of another format is a folder/),
    );
  });

  test('one that is not there is called by its path', async () => {
    const path = join(newFolder(), 'missing.GGUF');
    await expect(ModelSource.open(path)).rejects.toThrow(failure('MBOK_IO', /missing\.GGUF': no such file/));
  });
});

describe('what nothing reads does not matter', () => {
  test.each<[string, (folder: string) => void]>([
    ['a tensor of F8_E8M0', (at) => addTensor(at, 'x', [4], 'F8_E8M0', 4)],
    ['a tensor of F4', (at) => addTensor(at, 'x', [8], 'F4', 4)],
    ['a tensor of F6_E2M3', (at) => addTensor(at, 'x', [8], 'F6_E2M3', 6)],
    ['a tensor of C64', (at) => addTensor(at, 'x', [1], 'C64', 8)],
    ['a tensor of F8_E5M2FNUZ', (at) => addTensor(at, 'x', [3], 'F8_E5M2FNUZ', 3)],
    [
      'metadata that is null',
      (at) => changeWeights(at, ({ header, data }) => ({ header: { ...header, __metadata__: null as never }, data })),
    ],
    [
      'NaN and infinite numbers in the configuration',
      (at) =>
        writeFileSync(
          join(at, 'config.json'),
          readFileSync(join(at, 'config.json'), 'utf8')
            .replace('"attention_dropout": 0.0', '"attention_dropout": NaN')
            .replace('"initializer_range": 0.02', '"initializer_range": -Infinity, "text": "NaN, \\"Infinity"'),
        ),
    ],
    [
      'an entry of the index for a tensor that its file lacks',
      (at) => {
        const header = headerOf(at);
        renameSync(join(at, 'model.safetensors'), join(at, 'a.safetensors'));
        const places = Object.fromEntries(
          [...Object.keys(header), 'gone.weight'].map((name) => [name, 'a.safetensors']),
        );
        writeFileSync(join(at, 'model.safetensors.index.json'), JSON.stringify({ weight_map: places }));
      },
    ],
  ])('%s', async (_, change) => {
    expect(await logits(variant(change))).toEqual(await logits(join(GOLDEN, 'llama')));
  });

  test('a tensor that is read must be of a type that is', async () => {
    const at = variant((folder) =>
      changeWeights(folder, ({ header, data }) => {
        const norm = { ...header['model.norm.weight'], dtype: 'F8_E8M0', shape: [256] } as (typeof header)[string];
        return { header: { ...header, 'model.norm.weight': norm }, data };
      }),
    );
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_SHAPE', /'model\.norm\.weight'.*F8_E8M0/));
  });

  test.each(['NaN', 'Infinity', '-Infinity'])('%s in a field that is read is refused by name', async (number) => {
    const at = variant((folder) => {
      const path = join(folder, 'config.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace(/"rms_norm_eps": [^,]+/, `"rms_norm_eps": ${number}`));
    });
    const message = new RegExp(`'rms_norm_eps' must be a positive number, got ${number}`);
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', message));
  });

  test('numbers that JSON does not have are left out of what is saved', async () => {
    const at = variant((folder) => {
      const path = join(folder, 'config.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('"attention_dropout": 0.0', '"attention_dropout": NaN'));
    });
    await using model = await Model.load(at);
    const copy = join(temporary, 'saved');
    await model.save(copy);
    const saved = JSON.parse(readFileSync(join(copy, 'config.json'), 'utf8'));
    expect(saved).not.toHaveProperty('attention_dropout');
    expect(saved.hidden_size).toBe(64);
  });
});

describe('what takes the place of a file is called by its name', () => {
  const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4000000000\n';
  const HTML = '\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>';
  const files = [
    'model.safetensors',
    'config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'generation_config.json',
    'chat_template.jinja',
  ];
  test.each(files)('%s', async (file) => {
    for (const [content, message] of [
      [LFS, /is a Git LFS pointer.*git lfs pull/],
      [HTML, /is an HTML page/],
    ] as const) {
      const at = variant((folder) => writeFileSync(join(folder, file), content));
      await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', message));
      await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', new RegExp(file)));
    }
  });

  test('an index and one of its files', async () => {
    const at = variant((folder) => {
      rmSync(join(folder, 'model.safetensors'));
      writeFileSync(join(folder, 'model.safetensors.index.json'), LFS);
    });
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', /index\.json' is a Git LFS pointer/));
    writeFileSync(join(at, 'model.safetensors.index.json'), '{"weight_map":{"a":"a.safetensors"}}');
    writeFileSync(join(at, 'a.safetensors'), HTML);
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', /a\.safetensors' is an HTML page/));
  });

  test.each(['model.gguf', 'blob'])('%s', async (name) => {
    const path = join(newFolder(), name);
    writeFileSync(path, LFS);
    await expect(Model.load(path)).rejects.toThrow(failure('MBOK_FORMAT', /is a Git LFS pointer/));
    writeFileSync(path, '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>');
    await expect(Model.load(path)).rejects.toThrow(failure('MBOK_FORMAT', /is an XML document/));
  });
});

function headerOf(folder: string): Record<string, unknown> {
  const file = readFileSync(join(folder, 'model.safetensors'));
  const { __metadata__: _, ...header } = JSON.parse(file.toString('utf8', 8, 8 + Number(file.readBigUInt64LE(0))));
  return header;
}
