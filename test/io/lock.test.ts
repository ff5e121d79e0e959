/** Locks between processes: one holder at a time, and no lock outlives its holder. */

import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { claimFolder, type WorkKind } from '../../lib/io/claim';
import { takeLock } from '../../lib/io/lock';
import { machineName, startOf } from '../../lib/io/running';
import { temporaryFolder } from '../helpers/folders';
import { typeScriptArguments } from '../helpers/run_typescript';

const folder = temporaryFolder();
let folders = 0;
const fresh = () => {
  const path = join(folder, String(folders++));
  mkdirSync(path);
  return path;
};

test('a lock excludes others, including this process, until its release', async () => {
  const at = fresh();
  {
    await using _ = await takeLock(join(at, 'lock'), 'is at work');
    const refused = { code: 'MBOK_BUSY', message: expect.stringContaining(`process ${process.pid} is at work`) };
    await expect(takeLock(join(at, 'lock'), 'is at work')).rejects.toMatchObject(refused);
    await using __ = await takeLock(join(at, 'other'), 'is at work');
  }
  expect(readdirSync(at)).toEqual([]);
  await using _ = await takeLock(join(at, 'lock'), '');
});

test('a waiting caller gets the lock at its release', async () => {
  const at = fresh();
  const first = await takeLock(join(at, 'lock'), '');
  const second = takeLock(join(at, 'lock'), '', { wait: 60_000 });
  await first[Symbol.asyncDispose]();
  await (await second)[Symbol.asyncDispose]();
  expect(readdirSync(at)).toEqual([]);
});

/** Writes a lock file as its holder would. */
function writeLock(path: string, holder: object): void {
  writeFileSync(path, '');
  writeFileSync(path, JSON.stringify({ file: String(statSync(path).ino), ...holder }));
}

test.each<[string, object]>([
  ['a process that has ended', { pid: 2 ** 30 }],
  ['an earlier process of the same number', { pid: process.pid, started: 'an earlier boot 17' }],
  ['a copy of a folder with a living lock', { pid: process.pid, file: '1' }],
  ['nobody', { machine: undefined }],
  ['a process on another machine that has given no sign for three minutes', { pid: 1, machine: 'far-away' }],
])('the lock of %s is taken over', async (_, holder) => {
  const at = fresh();
  writeLock(join(at, 'lock-7-00000000'), { machine: await machineName(), ...holder });
  const silent = Date.now() / 1000 - 180;
  utimesSync(join(at, 'lock-7-00000000'), silent, silent);
  writeFileSync(join(at, `lock-8-00000000.tmp-${2 ** 30}-00000000`), '');
  await using _lock = await takeLock(join(at, 'lock'), '');
  expect(readdirSync(at)).toEqual([expect.stringMatching(new RegExp(`^lock-${process.pid}-`))]);
});

test('the lock of a living process, also on another machine with signs of life, holds', async () => {
  const started = await startOf(process.pid);
  for (const holder of [
    { pid: process.pid, machine: await machineName(), started },
    { pid: 1, machine: 'far-away' },
  ]) {
    const at = fresh();
    writeLock(join(at, 'lock-7-00000000'), holder);
    await expect(takeLock(join(at, 'lock'), '')).rejects.toMatchObject({ code: 'MBOK_BUSY' });
    expect(readdirSync(at)).toEqual(['lock-7-00000000']);
  }
});

test('no two of several contending and killed processes hold the lock at once', async () => {
  const at = fresh();
  const journal = join(at, 'journal');
  writeFileSync(journal, '');
  const program = `
    import { appendFileSync } from 'node:fs';
    import { setTimeout } from 'node:timers/promises';
    import { takeLock } from './lib/io/lock';
    (async () => {
      for (let round = 0; round < 40; round++) {
        await using _ = await takeLock(${JSON.stringify(join(at, 'lock'))}, '', { wait: 60_000 });
        appendFileSync(${JSON.stringify(journal)}, 'in ' + process.pid + '\\n');
        await setTimeout(Math.random() * 3);
        appendFileSync(${JSON.stringify(journal)}, 'out ' + process.pid + '\\n');
      }
    })();`;
  const run = (killed: boolean) =>
    new Promise<number>((resolve) => {
      const child = spawn(process.execPath, typeScriptArguments(program), {
        cwd: join(__dirname, '../..'),
        stdio: 'ignore',
      });
      if (killed) setTimeout(() => child.kill('SIGKILL'), 700 + Math.random() * 900);
      child.on('close', (code) => resolve(code ?? -1));
    });
  const codes = await Promise.all([false, true, true, false, true].map(run));
  expect([codes[0], codes[3]]).toEqual([0, 0]);
  const lines = readFileSync(journal, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  expect(lines.length).toBeGreaterThanOrEqual(160);
  let holder: string | undefined;
  for (const [what, pid] of lines) {
    // a process killed while it held the lock leaves no 'out'
    if (what === 'in') holder = pid;
    else expect(pid).toBe(holder);
  }
  // one process may have been killed after all others had ended
  await (await takeLock(join(at, 'lock'), ''))[Symbol.asyncDispose]();
  expect(readdirSync(at)).toEqual(['journal']);
});

describe('a claimed folder', () => {
  const kind: WorkKind = {
    what: 'a test',
    marker: 'test.json',
    isMarker: ({ test: isTest }) => isTest === true,
    owns: (name) => name === 'test.json' || /^(part-\d|below)$/.test(name),
  };
  const begin = (at: string) => writeFileSync(join(at, 'test.json'), '{"test":true}');

  test('is removed when empty, and is held by one call', async () => {
    const at = join(fresh(), 'work');
    {
      await using claim = await claimFolder(at, kind);
      expect(claim.marker).toBeUndefined();
      await expect(claimFolder(at, kind)).rejects.toMatchObject({ code: 'MBOK_BUSY' });
      // the first file of a process that died is nobody's
      writeFileSync(join(at, `test.json.tmp-${2 ** 30}-00000000`), '');
    }
    await using again = await claimFolder(at, kind);
    expect(again.marker).toBeUndefined();
  });

  test('retains its work, and clearing removes only that', async () => {
    const at = fresh();
    begin(at);
    mkdirSync(join(at, 'below'));
    mkdirSync(join(at, 'part-x'));
    for (const name of [
      'part-1',
      'below/part-2',
      `part-3.tmp-${2 ** 30}-00000000`,
      'diary.txt',
      'part-x/a',
      'below/b',
    ]) {
      writeFileSync(join(at, name), '');
    }
    {
      await using claim = await claimFolder(at, kind);
      expect(claim.marker).toEqual({ test: true });
      await claim.clear();
    }
    expect(readdirSync(at).sort()).toEqual(['below', 'diary.txt', 'part-x']);
    expect(readdirSync(join(at, 'below'))).toEqual(['b']);
  });

  test.each([
    ['other files', 'diary.txt', 'today', "it holds 'diary.txt'"],
    ['a marker of another program', 'test.json', '{"test":"passed"}', 'is not mbok'],
  ])('%s in it make it somebody else’s', async (_, name, content, message) => {
    const at = fresh();
    writeFileSync(join(at, name), content);
    const refused = { code: 'MBOK_IO', message: expect.stringContaining(message) };
    await expect(claimFolder(at, kind)).rejects.toMatchObject(refused);
    expect(readdirSync(at)).toEqual([name]);
    rmSync(at, { recursive: true });
    writeFileSync(at, 'a file');
    await expect(claimFolder(at, kind)).rejects.toMatchObject({ code: 'MBOK_IO' });
    expect(readFileSync(at, 'utf8')).toBe('a file');
  });

  test('is free if copied while it is held', async () => {
    const at = fresh();
    begin(at);
    await using _ = await claimFolder(at, kind);
    const copy = `${at}-copy`;
    cpSync(at, copy, { recursive: true });
    await using copied = await claimFolder(copy, kind);
    expect(copied.marker).toEqual({ test: true });
  });
});
