/** Folders of models: complete or absent, and never at the expense of foreign files. */

import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { writeFile } from '../../lib/io/atomic';
import {
  expectOutput,
  type FileContent,
  type OutputOptions,
  recoverModelFolder,
  removeModelFolder,
  writeModelFolder,
} from '../../lib/models/model_folder';
import { runTypeScript } from '../helpers/run_typescript';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mbok-model-folder-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);
const read = (name: string) => readFileSync(at(name), 'utf8');
const put = (name: string, content: string) => {
  mkdirSync(join(at(name), '..'), { recursive: true });
  writeFileSync(at(name), content);
};

type Files = Record<string, FileContent>;
const model = (config: string, more: Files = {}): Files => ({ 'config.json': config, ...more });
const write = (name: string, files: Files, options: OutputOptions & { signal?: AbortSignal } = {}) =>
  writeModelFolder(at(name), options, new Map(Object.entries(files)));

/** Process id of a process that has ended. */
const dead = spawnSync(process.execPath, ['-e', '']).pid;

describe('writing a folder', () => {
  test('replaces an older model completely, also through links', async () => {
    await write('deep/er/model', model('1', { 'tokenizer.json': '{}' }));
    symlinkSync(at('deep/er/model'), at('link'));
    await write('link', model('2', { 'model.safetensors': 'w' }));
    expect(readdirSync(at('deep/er'))).toEqual(['model']);
    expect(readdirSync(at('deep/er/model')).sort()).toEqual(['config.json', 'mbok.json', 'model.safetensors']);
    expect(read('link/config.json')).toBe('2');
  });

  test('through a link to a missing folder creates the folder', async () => {
    symlinkSync('later', at('link'));
    await write('link', model('1'));
    expect(lstatSync(at('link')).isSymbolicLink()).toBe(true);
    expect(read('later/config.json')).toBe('1');
  });

  test('a failure or an abort leaves the old folder and nothing else', async () => {
    await write('model', model('1'));
    const fails = async (path: string) => {
      await writeFile(path, 'half');
      throw new Error('half way');
    };
    await expect(write('model', model('2', { 'model.safetensors': fails }))).rejects.toThrow('half way');
    const controller = new AbortController();
    const aborts = async () => controller.abort();
    const aborted = write('model', model('2', { 'model.safetensors': aborts }), { signal: controller.signal });
    await expect(aborted).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    expect(readdirSync(folder)).toEqual(['model']);
    expect(read('model/config.json')).toBe('1');
  });

  test('a full disk gives an error that names the file as the caller knows it, and leaves the old folder', async () => {
    mkdirSync(at('disk'));
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', at('disk')]).status !== 0) {
      console.warn('skipped: mounting a tmpfs is not permitted here');
      return;
    }
    try {
      await write('disk/model', model('old'));
      const large = (path: string) => writeFile(path, new Uint8Array(1 << 20));
      await expect(write('disk/model', model('new', { 'model.safetensors': large }))).rejects.toMatchObject({
        code: 'MBOK_IO',
        message: `cannot write '${at('disk/model/model.safetensors')}': no space left on the device (ENOSPC)`,
      });
      expect(readdirSync(at('disk'))).toEqual(['model']);
      expect(read('disk/model/config.json')).toBe('old');
    } finally {
      execFileSync('umount', [at('disk')]);
    }
  });

  test('that cannot be created is an error with the reason', async () => {
    put('file', '');
    const places = [
      [at('file'), 'a file of this name'],
      [at('file/a'), 'ENOTDIR'],
      ...(process.platform === 'linux' ? [['/proc/mbok/model', 'ENOENT']] : []),
    ] as const;
    for (const [place, reason] of places) {
      const refused = { code: 'MBOK_IO', message: expect.stringMatching(`${dirname(place)}.*${reason}`) };
      await expect(writeModelFolder(place, {}, new Map())).rejects.toMatchObject(refused);
      await expect(expectOutput(place, { inputs: [] })).rejects.toMatchObject(refused);
    }
    await expect(writeModelFolder('', {}, new Map())).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });
});

describe("somebody else's files", () => {
  const booleanConfig = '{"quantization_config":{"quant_method":"mbok","format_version":1}}';

  test.each<[string, Files, string]>([
    ['of an application', { 'config.json': '{}', 'src/main.js': 'code' }, 'config.json'],
    ['of a dense model', { 'config.json': '{"model_type":"llama"}', 'model.safetensors': 'w' }, 'config.json'],
    ['without a configuration', { 'cat.jpg': '' }, 'cat.jpg'],
    [
      'beside a model of ours',
      { 'mbok.json': '{"files":["config.json"]}', 'config.json': '{}', 'notes.md': '' },
      'notes.md',
    ],
    [
      'in a folder below a model of ours',
      { 'mbok.json': '{"files":["config.json"]}', 'config.json': '{}', 'src/a': '' },
      'src',
    ],
    ['beside a Boolean model without a marker', { 'config.json': booleanConfig, 'my.txt': '' }, 'my.txt'],
    [
      'a folder with the name of a file of ours',
      { 'mbok.json': '{"files":["src.json"]}', 'src.json/a': '' },
      'src.json',
    ],
    ['a marker that is not JSON', { 'mbok.json': '{', 'config.json': '{}' }, 'config.json'],
    [
      'a marker that claims what no model has',
      { 'mbok.json': '{"files":["../../x.json","thesis.docx"]}', 'thesis.docx': '' },
      'thesis.docx',
    ],
  ])('%s are not replaced; the error names the first', async (_, files, first) => {
    for (const [name, content] of Object.entries(files)) put(`out/${name}`, content as string);
    const refused = { code: 'MBOK_IO', message: expect.stringContaining(`'${first}'`) };
    await expect(write('out', model('new'))).rejects.toMatchObject(refused);
    await expect(expectOutput(at('out'), { inputs: [] })).rejects.toMatchObject(refused);
    for (const [name, content] of Object.entries(files)) expect(read(`out/${name}`)).toBe(content);
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test('an empty folder, and a Boolean model of a version without markers, are replaced', async () => {
    mkdirSync(at('empty'));
    await write('empty', model('1'));
    expect(readdirSync(at('empty')).sort()).toEqual(['config.json', 'mbok.json']);
    put('old/config.json', booleanConfig);
    for (const name of ['model.safetensors', 'tokenizer.json', 'generation_config.json']) put(`old/${name}`, '');
    await write('old', model('2'));
    expect(readdirSync(at('old')).sort()).toEqual(['config.json', 'mbok.json']);
  });

  test('stay when the folder is overwritten, except files with names of a model', async () => {
    const strangers = { 'src/main.js': 'code', 'notes.md': 'notes', 'model-00001-of-00002.safetensors': 'shard' };
    const models = { 'config.json': 'theirs', 'model.safetensors': 'theirs', 'chat_template.jinja': 'theirs' };
    for (const [name, content] of Object.entries({ ...strangers, ...models })) put(`out/${name}`, content);
    await expectOutput(at('out'), { inputs: [], overwrite: true });
    await write('out', model('ours', { 'tokenizer.json': 'ours' }), { overwrite: true });
    for (const [name, content] of Object.entries(strangers)) expect(read(`out/${name}`)).toBe(content);
    const names = ['config.json', 'mbok.json', 'tokenizer.json', 'model-00001-of-00002.safetensors', 'notes.md', 'src'];
    expect(readdirSync(at('out')).sort()).toEqual(names.sort());
    expect(read('out/config.json')).toBe('ours');
    expect(readdirSync(folder)).toEqual(['out']);
    // it is still a foreign folder
    await expect(write('out', model('again'))).rejects.toMatchObject({ code: 'MBOK_IO' });
  });

  test('a folder in the place of a file of the model stops overwriting before anything has changed', async () => {
    put('out/config.json', 'theirs');
    put('out/model.safetensors/precious', '');
    const attempt = write('out', model('ours'), { overwrite: true });
    await expect(attempt).rejects.toMatchObject({ code: 'MBOK_IO', message: expect.stringContaining('is a folder') });
    expect(read('out/config.json')).toBe('theirs');
  });

  test('that appear during the conversion are found before the model is moved into place', async () => {
    await write('out', model('1'));
    const meanwhile = async (path: string) => {
      await writeFile(path, '');
      put('out/diary.txt', 'today');
    };
    await expect(write('out', model('2', { 'model.safetensors': meanwhile }))).rejects.toMatchObject({
      code: 'MBOK_IO',
    });
    expect(read('out/diary.txt')).toBe('today');
    expect(read('out/config.json')).toBe('1');
  });

  test('stay when a model is removed', async () => {
    await write('out', model('1'));
    put('out/diary.txt', 'today');
    await removeModelFolder(at('out'));
    expect(readdirSync(at('out'))).toEqual(['diary.txt']);
    await write('other', model('1'));
    await removeModelFolder(at('other'));
    await removeModelFolder(at('other'));
    expect(existsSync(at('other'))).toBe(false);
  });
});

describe('an output must be separate from the inputs', () => {
  beforeEach(async () => {
    put('m/dense/config.json', '{}');
    put('m/text/train.txt', 'words');
    symlinkSync(at('m'), at('link'));
    symlinkSync(at('m/dense'), at('elsewhere'));
  });

  test.each<[string, string, string[]]>([
    ['the input itself', 'm/dense', ['m/dense']],
    ['the input by another spelling', 'm/dense/../dense/', ['m/dense']],
    ['the input through a link', 'elsewhere', ['m/dense']],
    ['a link to the input', 'm/dense', ['elsewhere']],
    ['a folder that holds an input', 'm', ['m/dense']],
    ['a folder that holds a text', 'm', ['nothing', 'm/text/train.txt']],
    ['a link to a folder that holds an input', 'link', ['m/dense']],
    ['a folder that holds the link by which an input is named', '.', ['elsewhere']],
  ])('%s is refused, even to be overwritten', async (_, output, inputs) => {
    const attempt = expectOutput(at(output), { inputs: inputs.map(at), overwrite: true });
    await expect(attempt).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test('inside or beside an input is allowed', async () => {
    await expectOutput(at('m/dense/small'), { inputs: [at('m/dense'), at('m')] });
    await expectOutput(at('m/dense2'), { inputs: [at('m/dense')] });
    expect(readdirSync(at('m')).sort()).toEqual(['dense', 'text']);
  });
});

describe('leftovers of a dead process', () => {
  test('between the two renames are restored, also through a link', async () => {
    await write('model', model('saved'));
    renameSync(at('model'), at(`model.old-${dead}-00000000`));
    symlinkSync(at('model'), at('link'));
    await recoverModelFolder(at('link'));
    expect(read('link/config.json')).toBe('saved');
    await recoverModelFolder(at('link'));
    await recoverModelFolder(at('nowhere/model'));
    expect(readdirSync(folder).sort()).toEqual(['link', 'model']);
  });

  test('after the two renames are removed, except foreign files', async () => {
    await write('model', model('old'));
    renameSync(at('model'), at(`model.old-${dead}-00000000`));
    put(`model.old-${dead}-00000000/diary.txt`, 'today');
    await write('model', model('new'), { overwrite: true });
    expect(readdirSync(folder)).toEqual(['model']);
    expect(read('model/diary.txt')).toBe('today');
    expect(read('model/config.json')).toBe('new');
  });

  test('of an unfinished folder are removed, and similar names stay', async () => {
    put(`model.tmp-${dead}-00000000/mbok.json`, '{"files":["config.json","model.safetensors"]}');
    put(`model.tmp-${dead}-00000000/config.json`, '');
    put(`model.tmp-${dead}-00000000/model.safetensors.tmp-${dead}-12345678`, '');
    put(`model.tmp-${dead}-11111111/precious.txt`, '');
    put(`model.tmp-${process.pid}-00000000/of a process that lives`, '');
    put('model.tmp-notes', "the user's own");
    await write('model', model('2'));
    expect(readdirSync(folder).sort()).toEqual(
      ['model', `model.tmp-${dead}-11111111`, `model.tmp-${process.pid}-00000000`, 'model.tmp-notes'].sort(),
    );
  });

  const files = ['config.json', 'tokenizer.json', 'model.safetensors'];
  test.each([0, 1, 2, 3, 4])('of an overwrite after %i of its renames are completed', async (moved) => {
    put('model/notes.md', 'precious');
    put('model/config.json', 'theirs');
    put('model/generation_config.json', 'theirs');
    const complete = `model.new-${dead}-00000000`;
    for (const name of files) put(`${complete}/${name}`, `ours ${name}`);
    put(`${complete}/mbok.json`, JSON.stringify({ files: [...files, 'mbok.json'] }));
    // as the dead process would have left it: config.json is removed first and restored last, before the marker
    rmSync(at('model/config.json'));
    rmSync(at('model/generation_config.json'), { force: moved > 0 });
    for (const name of ['tokenizer.json', 'model.safetensors', 'config.json', 'mbok.json'].slice(0, moved)) {
      renameSync(at(`${complete}/${name}`), at(`model/${name}`));
    }
    // a folder with a configuration is complete: readers do nothing, but the next writer cleans up
    if (moved < 3) await recoverModelFolder(at('model'));
    else await write('model', model('ours config.json'), { overwrite: true });
    expect(read('model/notes.md')).toBe('precious');
    expect(read('model/config.json')).toBe('ours config.json');
    if (moved < 3) expect(readdirSync(at('model')).sort()).toEqual([...files, 'mbok.json', 'notes.md'].sort());
    expect(readdirSync(folder)).toEqual(['model']);
  });
});

test('processes that write the same folder at once leave one complete model', () => {
  const program = `
    import { writeModelFolder } from './lib/models/model_folder';
    const write = async (i: number) => {
      const files = ['config.json', 'tokenizer.json', 'model.safetensors'].map((name) => [name, String(i)] as const);
      await writeModelFolder(${JSON.stringify(at('model'))}, { overwrite: i % 2 === 0 }, new Map(files));
    };
    void Promise.all(Array.from({ length: 12 }, (_, i) => write(i))).then(() => console.log('done'));`;
  expect(runTypeScript(program)).toMatchObject({ status: 0, stderr: '', stdout: 'done\n' });
  const contents = ['config.json', 'tokenizer.json', 'model.safetensors'].map((name) => read(`model/${name}`));
  expect(new Set(contents).size).toBe(1);
  expect(readdirSync(folder)).toEqual(['model']);
});
