import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** Path that a shell runs as `mbok`. Needs the compiled package (`npm run build:ts`). */
export const MAIN = join(__dirname, '../../dist/cli/main.js');

/** Returns the environment of a command in `folder`, which caches tokens there and not in the user's cache. */
export function commandEnvironment(folder: string): NodeJS.ProcessEnv {
  return { ...process.env, MBOK_CACHE: join(folder, 'cache') };
}

/** Runs a command in `folder` to its end. */
export function runMbok(folder: string, args: readonly string[]) {
  const env = commandEnvironment(folder);
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    cwd: folder,
    env,
  });
  return { status, stdout, stderr };
}
