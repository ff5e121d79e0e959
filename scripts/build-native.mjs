// Development build: cmake-js into native/build, where the loader looks first. The N-API headers are those of the
// node-api-headers package (package.json's binary.napi_versions asks for that), so nothing is downloaded and no
// `nodedir` of an .npmrc matters.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

// configured anew each time, so that lines added to sources.txt are seen; objects that are up to date stay
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
