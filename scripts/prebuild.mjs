// Builds the release add-on: prebuildify runs node-gyp and puts the binary into prebuilds/<platform>-<arch>/mbok.node,
// on Linux mbok.glibc.node or mbok.musl.node.
// The headers are those of the running Node, or of the package node-api-headers if Node was installed without them.
// They are never those of a `nodedir` in an .npmrc, and never downloaded.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'mbok-prebuild-'));

try {
  const result = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/prebuildify/bin.js'),
      '--napi',
      '--name',
      'mbok',
      ...(process.platform === 'linux' ? ['--tag-libc'] : []),
      '--cache',
      join(scratch, 'cache'),
    ],
    {
      stdio: 'inherit',
      cwd: root,
      env: {
        ...process.env,
        PREBUILD_NODE_GYP: join(root, 'node_modules/.bin', process.platform === 'win32' ? 'node-gyp.cmd' : 'node-gyp'),
        npm_config_nodedir: headerFolder(),
        JOBS: String(availableParallelism()),
      },
    },
  );
  process.exitCode = result.status ?? 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
  // remove node-gyp's folder: the loader would find build/Release before the prebuilt binary
  rmSync(join(root, 'build'), { recursive: true, force: true });
}

/** Returns a folder with include/node/{node_api.h, common.gypi} for node-gyp. */
function headerFolder() {
  const prefix = resolve(dirname(process.execPath), '..');
  const include = join(prefix, 'include/node');
  if (existsSync(join(include, 'node_api.h')) && existsSync(join(include, 'common.gypi'))) return prefix;

  const own = join(scratch, 'include/node');
  mkdirSync(own, { recursive: true });
  cpSync(createRequire(import.meta.url)('node-api-headers').include_dir, own, { recursive: true });
  // binding.gyp sets all other flags; a shared library also needs position-independent code
  const settings = { target_defaults: { configurations: { Release: {}, Debug: {} }, cflags: ['-fPIC'] } };
  writeFileSync(join(own, 'common.gypi'), JSON.stringify(settings));
  writeFileSync(join(own, 'config.gypi'), JSON.stringify(process.config));
  return scratch;
}
