/** Builds for tests: a build runs if the sources are newer, and for one test file at a time. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PREBUILDS, thisTarget } from '../../lib/native/load_addon';

export const root = join(__dirname, '../..');

const outputs = {
  /** The add-on, built by cmake-js. */
  native: join(root, 'native/build/Release/mbok.node'),
  /** The add-on, built by node-gyp and prebuildify. */
  prebuild: join(root, 'prebuilds', PREBUILDS[thisTarget()] ?? ''),
  /** The compiled TypeScript. */
  dist: join(root, 'dist/index.mjs'),
};

const steps: Record<keyof typeof outputs, { script: string; sources: string[] }> = {
  native: { script: 'build-native.mjs', sources: ['native', 'CMakeLists.txt'] },
  prebuild: { script: 'prebuild.mjs', sources: ['native', 'binding.gyp'] },
  dist: { script: 'build-ts.mjs', sources: ['lib', 'tsconfig.json'] },
};

/** Ensures that a build exists and is not older than its sources; returns its path. */
export function built(kind: keyof typeof outputs): string {
  const { script, sources } = steps[kind];
  exclusively(kind, () => {
    if (isCurrent(outputs[kind], sources)) return;
    const result = spawnSync(process.execPath, [join(root, 'scripts', script)], { cwd: root, encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`${script} failed:\n${result.stdout}${result.stderr}`);
  });
  return outputs[kind];
}

/** Builds the plain C++ test program from the objects of the add-on, and returns its path. */
export function nativeTestProgram(): string {
  built('native');
  const folder = join(root, 'native/build');
  exclusively('native', () => {
    const run = (...args: string[]) =>
      execFileSync('cmake', args, { encoding: 'utf8', stdio: 'pipe', maxBuffer: 1 << 28 });
    run('-S', root, '-B', folder, '-DMBOK_TESTS=ON');
    run('--build', folder, '--target', 'mbok_test', '--parallel', '2');
  });
  return join(folder, 'mbok_test');
}

function isCurrent(output: string, sources: readonly string[]): boolean {
  if (!existsSync(output)) return false;
  const made = statSync(output).mtimeMs;
  return sources.every((source) => newest(join(root, source)) <= made);
}

function newest(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  const names = readdirSync(path).filter((name) => name !== 'build');
  return Math.max(0, ...names.map((name) => newest(join(path, name))));
}

/** Runs `body` under a lock. Test files run in separate processes, and only one of them can create the lock folder. */
function exclusively(name: string, body: () => void): void {
  const lock = join(tmpdir(), `mbok-build-${name}-${Buffer.from(root).toString('hex').slice(-40)}`);
  const deadline = Date.now() + 15 * 60_000;
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      // a killed test run leaves its lock: no build takes 15 minutes
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (Date.now() > deadline) break;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250);
    }
  }
  try {
    body();
  } finally {
    rmdirSync(lock);
  }
}
