/** Pipes, devices, sockets and folders in the place of files: refused at once, without opening them. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { openRegular } from '../../lib/io/regular_file';
import { copyGolden, copyTinyStories, temporaryFolder } from '../helpers/folders';
import { runTypeScript } from '../helpers/run_typescript';

const temporary = temporaryFolder();
const servers: Server[] = [];
afterAll(async () => {
  for (const server of servers) await new Promise((closed) => server.close(closed));
});

let made = 0;
const place = (name: string) => join(temporary, `${made++}-${name}`);

function pipe(path = place('pipe')): string {
  execFileSync('mkfifo', [path]);
  return path;
}

/** Creates a folder with a pipe in the place of one of its files. */
function folder(name: string, copy: (at: string) => string): string {
  const at = place('model');
  mkdirSync(at);
  copy(at);
  execFileSync('rm', ['-f', join(at, name)]);
  pipe(join(at, name));
  return at;
}

const golden = (at: string) => copyGolden('llama', at);

test('a file is opened, also through a link', async () => {
  const path = place('file');
  writeFileSync(path, 'text');
  symlinkSync(path, `${path}-link`);
  for (const name of [path, `${path}-link`]) {
    await using file = await openRegular(name);
    expect(await file.readFile('utf8')).toBe('text');
  }
});

test.each<[string, () => string | Promise<string>, RegExp]>([
  ['a pipe', () => pipe(), /it is a pipe; mbok reads files, not standard input/],
  [
    'a link to a pipe',
    () => {
      const path = place('link');
      symlinkSync(pipe(), path);
      return path;
    },
    /it is a pipe/,
  ],
  ['a device', () => '/dev/zero', /it is a device/],
  ['a terminal or nothing', () => '/dev/null', /it is a device/],
  [
    'a socket',
    async () => {
      const path = place('s');
      servers.push(createServer());
      await new Promise<void>((listening) => servers.at(-1)?.listen(path, listening));
      return path;
    },
    /it is a socket/,
  ],
  ['a folder', () => temporary, /it is a folder \(EISDIR\)/],
  ['nothing', () => place('absent'), /no such file or folder \(ENOENT\)/],
  ['a name with a zero byte', () => place('a\0b'), /no path has a zero byte/],
])('%s is refused', async (_, make, message) => {
  const path = await make();
  await expect(openRegular(path)).rejects.toMatchObject({
    name: 'MbokError',
    code: 'MBOK_IO',
    message: expect.stringMatching(message),
  });
});

/** Functions that receive a pipe, in various roles. All must have ended when the process does. */
const ENTRANCES: [string, () => string, string][] = [
  ['the configuration of a model', () => folder('config.json', golden), 'Model.load(path)'],
  ['the weights of a model', () => folder('model.safetensors', golden), 'Model.load(path)'],
  ['a tokenizer', () => folder('tokenizer.json', copyTinyStories), 'Tokenizer.fromFolder(path)'],
  ['a small file beside a model', () => folder('generation_config.json', copyTinyStories), 'Model.load(path)'],
  ['a GGUF file', () => pipe(place('model.gguf')), 'Model.load(path)'],
  ['a text', () => pipe(place('text.txt')), 'loadDataset({ files: path, cache: false }, tokenizer)'],
  ['lines of JSON', () => pipe(place('text.jsonl')), 'loadDataset({ files: path, cache: false }, tokenizer)'],
  [
    'a text of a folder',
    () => {
      const at = place('texts');
      mkdirSync(at);
      pipe(join(at, 'a.txt'));
      return at;
    },
    'loadDataset({ files: path, cache: false }, tokenizer)',
  ],
  [
    'questions',
    () => {
      const at = place('questions');
      mkdirSync(join(at, 'lambada_openai'), { recursive: true });
      pipe(join(at, 'lambada_openai/test.jsonl'));
      return at;
    },
    'loadTask(lambada, { data: path, shots: 0, seed: 0, limit: 1 })',
  ],
  ['predictions of a teacher', () => pipe(), 'TeacherCache.open(path, {} as CacheKey, 8)'],
  ['a log of a training', () => pipe(), 'TrainingLog.open(path, 1)'],
  ['a log of a report', () => pipe(), 'readTrainingLog(path)'],
  ['an input of a report', () => pipe(), 'digestOf(path, new AbortController().signal)'],
];

describe('a pipe blocks no function', () => {
  const paths = ENTRANCES.map(([, make]) => make());
  const { stdout, stderr, status } = runTypeScript(
    `import { loadDataset } from './lib/data/load_dataset';
    import { loadTask } from './lib/eval/load_task';
    import { lambada } from './lib/eval/tasks/lambada';
    import { Model } from './lib/model';
    import { digestOf } from './lib/report/inputs';
    import { readTrainingLog } from './lib/report/training_log';
    import { Tokenizer } from './lib/text/tokenizer';
    import { TrainingLog } from './lib/train/log';
    import { type CacheKey, TeacherCache } from './lib/train/teacher_cache';
    const paths: string[] = ${JSON.stringify(paths)};
    async function main() {
      const tokenizer = await Tokenizer.fromFolder('assets/tiny-stories');
      const entrances = [${ENTRANCES.map(([, , call]) => `(path: string): Promise<unknown> => ${call}`).join(',\n')}];
      const ended = entrances.map((enter, i) => enter(paths[i]!).then(() => 'opened', (error) => error.code + ': ' + error.message));
      // one that waits is told apart from the others
      const late = new Promise<string>((resolve) => setTimeout(() => resolve('waits'), 20_000).unref());
      console.log(JSON.stringify(await Promise.all(ended.map((one) => Promise.race([one, late])))));
      process.kill(process.pid, 'SIGKILL');
    }
    main();`,
  );
  const outcomes = JSON.parse(stdout || 'null') as string[] | null;

  test.each(ENTRANCES.map(([name], i) => [name, i] as const))('%s', (_, i) => {
    expect({ outcome: outcomes?.[i], stderr, status }).toMatchObject({
      outcome: expect.stringMatching(/^MBOK_IO: cannot read '.*': it is a pipe/),
    });
  });
});
