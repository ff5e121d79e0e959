// Cross-builds the release add-on for all targets on one machine: npm run prebuild:all [TARGET...]. It needs `zig` on the
// PATH or the Python package ziglang (python3 -m pip install ziglang); ZIG names another command. zig brings the C library
// and C++ library of every target and caches compiled files. Sources and flags are those of CMakeLists.txt.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);

/** By target: zig's name of it, with the oldest libc or system, and the file as prebuildify would name it. */
const TARGETS = {
  'linux-x64': ['x86_64-linux-gnu.2.28', 'linux-x64/mbok.glibc.node'],
  'linux-arm64': ['aarch64-linux-gnu.2.28', 'linux-arm64/mbok.glibc.node'],
  'linux-x64-musl': ['x86_64-linux-musl', 'linux-x64/mbok.musl.node'],
  'linux-arm64-musl': ['aarch64-linux-musl', 'linux-arm64/mbok.musl.node'],
  'darwin-x64': ['x86_64-macos.11.0', 'darwin-x64/mbok.node'],
  'darwin-arm64': ['aarch64-macos.11.0', 'darwin-arm64/mbok.node'],
  'win32-x64': ['x86_64-windows-gnu', 'win32-x64/mbok.node'],
  'win32-arm64': ['aarch64-windows-gnu', 'win32-arm64/mbok.node'],
};

const COMPILE = [
  ...['-std=c++17', '-O2', '-DNDEBUG', '-DNAPI_VERSION=8', '-Wall', '-Wextra', '-Werror', '-ffp-contract=off'],
  ...['-fvisibility=hidden', '-fPIC', '-mcpu=baseline', '-g0', '-fno-sanitize=undefined'],
];
const INCLUDE = [
  join(root, 'native'),
  require('node-addon-api').include_dir,
  require('node-api-headers').include_dir,
].flatMap((folder) => ['-I', folder]);
/** A worker thread's end must not unmap code that the compute threads run; elsewhere native/addon/stay_loaded.cc sees to it. */
const LINK = {
  linux: ['-Wl,-z,nodelete', '-Wl,-s'],
  darwin: ['-undefined', 'dynamic_lookup', '-install_name', '@rpath/mbok.node', '-Wl,-s'],
  win32: ['-Wl,-s'],
};

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(TARGETS);
for (const name of wanted)
  if (!(name in TARGETS)) fail(`no target '${name}'; there are ${Object.keys(TARGETS).join(', ')}`);
const zig = findZig();
// zig's own caches would grow in the home folder
const cache = join(root, 'native/build/zig/cache');
const env = { ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache, ...process.env };

for (const name of wanted) {
  const [target, file] = TARGETS[name];
  const platform = name.split('-')[0];
  const objects = join(root, 'native/build/zig', name);
  mkdirSync(objects, { recursive: true });
  const sources = ['native/sources.txt', 'native/addon/sources.txt'].flatMap((list) =>
    readFileSync(join(root, list), 'utf8').split('\n').filter(Boolean),
  );
  if (platform === 'win32') sources.push(...nodeApiForWindows(name, objects));
  const compiled = sources.map((source) => [source, join(objects, `${source.replaceAll(/[/\\:]/g, '_')}.o`)]);
  const start = Date.now();
  await inParallel(compiled, ([source, object]) =>
    compile(['c++', '-target', target, ...COMPILE, ...exportsOf(platform), ...INCLUDE, '-c', source, '-o', object]),
  );
  const output = join(root, 'prebuilds', file);
  mkdirSync(dirname(output), { recursive: true });
  rmSync(output, { force: true });
  const list = join(objects, 'objects.txt');
  writeFileSync(list, compiled.map(([, object]) => object).join('\n'));
  await compile(['c++', '-target', target, '-shared', ...LINK[platform], `@${list}`, '-o', output]);
  const [size, seconds] = [(statSync(output).size / 1e6).toFixed(2), ((Date.now() - start) / 1000).toFixed(0)];
  console.log(`${name.padEnd(17)} ${file.padEnd(28)} ${size} MB, ${seconds} s`);
}

/** Node-API's functions are defined in the add-on itself on Windows, where node_api.h would import them from a library. */
function exportsOf(platform) {
  return platform === 'win32' ? ['-DNAPI_EXTERN='] : [];
}

/**
 * Writes what forwards Node-API calls on Windows to the running executable: a jump through a table for every function, and
 * the names by which native/addon/windows/node_api.cc fills the table. So no node.lib is linked, and the binary loads in
 * Node under any name, in Electron and in Bun.
 */
function nodeApiForWindows(name, folder) {
  const { def_paths: definitions } = require('node-api-headers');
  const names = Object.values(definitions).flatMap((path) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => /^(napi|node_api)_/.test(line)),
  );
  const unique = [...new Set(names)].sort();
  const jump = name.endsWith('arm64')
    ? (i) => `adrp x16, mbok_node_api\nadd x16, x16, :lo12:mbok_node_api\nldr x16, [x16, #${8 * i}]\nbr x16`
    : (i) => `jmpq *mbok_node_api+${8 * i}(%rip)`;
  const jumps = join(folder, 'node_api_jumps.S');
  writeFileSync(jumps, `.text\n${unique.map((symbol, i) => `.globl ${symbol}\n${symbol}:\n${jump(i)}\n`).join('')}`);
  const table = join(folder, 'node_api_names.cc');
  writeFileSync(
    table,
    `extern const char* const mbok_node_api_names[];\nconst char* const mbok_node_api_names[] = {${unique
      .map((symbol) => `"${symbol}"`)
      .join(
        ', ',
      )}, nullptr};\nextern "C" void* mbok_node_api[${unique.length}];\nvoid* mbok_node_api[${unique.length}];\n`,
  );
  return ['native/addon/windows_node_api.cc', table, jumps];
}

async function inParallel(items, work) {
  const queue = [...items];
  const workers = Array.from({ length: availableParallelism() }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(workers);
}

function compile(args) {
  return new Promise((done) => {
    const child = spawn(zig[0], [...zig.slice(1), ...args], { cwd: root, env, stdio: 'inherit' });
    child.on('error', (error) => fail(error.message));
    child.on('close', (status) =>
      status === 0 ? done() : fail(`${args.slice(0, 3).join(' ')} … ${args.at(-3)} failed`),
    );
  });
}

function findZig() {
  const candidates = [process.env.ZIG?.split(' '), ['zig'], ['python3', '-m', 'ziglang']].filter(Boolean);
  for (const command of candidates)
    if (spawnSync(command[0], [...command.slice(1), 'version']).status === 0) return command;
  return fail('no zig was found; install it, for example by python3 -m pip install ziglang, or name it in ZIG');
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
