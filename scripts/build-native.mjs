// Builds the development add-on by cmake-js into native/build, where the loader looks first. The N-API headers come
// from the package node-api-headers, because package.json sets binary.napi_versions. So nothing is downloaded, and a
// `nodedir` of an .npmrc does not matter.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

// configure each time, so that new lines of sources.txt are seen; up-to-date objects are not rebuilt
for (const command of ['configure', 'build']) {
  const result = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/cmake-js/bin/cmake-js'),
      command,
      '--directory',
      root,
      '--out',
      join(root, 'native/build'),
      '--parallel',
      String(availableParallelism()),
      '--CDMBOK_TESTS=OFF',
    ],
    { stdio: 'inherit', cwd: root },
  );
  if (result.status !== 0) process.exit(result.status ?? 1);
}
