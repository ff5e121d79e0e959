import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** What a shell runs as `mbok`: needs the compiled package (`npm run build:ts`). */
export const MAIN = join(__dirname, '../dist/cli/main.js');

/** Runs a command in `folder` to its end. It keeps tokens of texts there, not in the user's cache. */
export function runMbok(folder: string, args: readonly string[]) {
  const env = { ...process.env, MBOK_CACHE: join(folder, 'cache') };
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    cwd: folder,
    env,
  });
  return { status, stdout, stderr };
}
