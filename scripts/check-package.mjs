// Checks how the package resolves and what its types promise, as bundlers and TypeScript see the packed files. Both tools
// pack it themselves; without `ignore-scripts` npm would build the add-on again for that.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const env = { ...process.env, npm_config_ignore_scripts: 'true' };
for (const [command, ...args] of [
  ['publint', '--strict'],
  ['attw', '--pack', '--format', 'ascii'],
]) {
  const { status } = spawnSync(join(root, 'node_modules/.bin', command), args, { cwd: root, env, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
