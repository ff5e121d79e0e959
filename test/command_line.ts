import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** What a shell runs as `mbok`: needs the compiled package (`npm run build:ts`). */
export const MAIN = join(__dirname, '../dist/cli/main.js');

/** Runs a command in `folder` to its end. */
export function runMbok(folder: string, args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', cwd: folder });
  return { status, stdout, stderr };
}
