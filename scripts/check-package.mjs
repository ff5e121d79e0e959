// Checks the size of the package, how it resolves and what its types promise, as bundlers and TypeScript see the packed
// files. All pack it themselves; without `ignore-scripts` npm would build the add-on again for that.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const env = { ...process.env, npm_config_ignore_scripts: 'true' };
for (const [command, ...args] of [
  ['publint', '--strict'],
  ['attw', '--pack', '--format', 'ascii', '--entrypoints', '.'],
  // TypeScript's oldest resolution, `node10`, knows no `exports`, so it does not find mbok/TARGET
  ['attw', '--pack', '--format', 'ascii', '--profile', 'node16'],
]) {
  const { status } = spawnSync(join(root, 'node_modules/.bin', command), args, { cwd: root, env, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** With the binaries of all targets. */
const MOST_BYTES = 20e6;
const [packed] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, env, encoding: 'utf8' }));
console.log(
  `${packed.filename}: ${(packed.size / 1e6).toFixed(2)} MB, unpacked ${(packed.unpackedSize / 1e6).toFixed(2)} MB`,
);
if (packed.size > MOST_BYTES) throw new Error(`the package has more than ${MOST_BYTES / 1e6} MB`);
