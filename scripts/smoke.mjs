// Installs the packed package into new projects by every package manager, and runs it there in every form in which programs
// use it. A cell passes if the program prints the same three tokens as the checkout. Run `npm run prebuild` first.
//
//   node scripts/smoke.mjs [ROW...]      Default: all rows, about 15 minutes on two cores. npm's registry is needed.
//
// The package comes from a registry on loopback, which sends requests for all other packages to npm's. Electron cannot be
// installed from npm alone, so the kind `asar` packs an app as Electron does and runs it by the package asar-node.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const TOOLS = {
  npm: '11.19.1',
  pnpm: '12.23.0',
  '@yarnpkg/cli-dist': '4.18.1',
  bun: '1.4.5',
  deno: '2.9.6',
  typescript: '5.9.3',
  '@types/node': '20.19.24',
  esbuild: '0.28.2',
  webpack: '5.113.0',
  'webpack-cli': '7.3.1',
  'node-loader': '2.1.0',
  '@electron/asar': '4.3.2',
  'asar-node': '3.1.1',
};
const NODES = { 20: '20.20.2', 22: '22.23.3', 24: '24.21.0' };
const TOKENS = 3;

const root = fileURLToPath(new URL('..', import.meta.url));
const room = mkdtempSync(join(tmpdir(), 'mbok-smoke-'));
process.on('exit', () => rmSync(room, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

const tool = (path) => join(room, 'tools/node_modules', path);
const nodeFolder = (version) => join(room, `node-${version}/node_modules/node/bin`);
const description = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Runs a program and returns what it prints. Throws with the end of its output if it fails. */
async function run([program, ...args], { cwd = room, node = 22 } = {}) {
  const path = [nodeFolder(node), process.env.PATH].join(delimiter);
  const { PREBUILDS_ONLY: _, NODE_OPTIONS: __, ...inherited } = process.env;
  const child = spawn(program, args, { cwd, env: { ...inherited, ...environment, PATH: path } });
  let [stdout, all] = ['', ''];
  child.stdout.on('data', (piece) => {
    stdout += piece;
    all += piece;
  });
  child.stderr.on('data', (piece) => {
    all += piece;
  });
  const status = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  if (status !== 0) {
    // lines of bundles are long
    const lines = all.split('\n').map((line) => line.slice(0, 300));
    throw new Error(`${[program, ...args].join(' ')} in ${cwd} exits with ${status}:\n${lines.slice(-30).join('\n')}`);
  }
  return stdout;
}

/** Variables that keep what all programs store in the room. */
const environment = {
  HOME: join(room, 'home'),
  TMPDIR: join(room, 'tmp'),
  NODE_COMPILE_CACHE: join(room, 'compiled'),
  npm_config_cache: join(room, 'npm'),
  XDG_CACHE_HOME: join(room, 'xdg/cache'),
  XDG_DATA_HOME: join(room, 'xdg/data'),
  BUN_INSTALL_CACHE_DIR: join(room, 'bun'),
  DENO_DIR: join(room, 'deno'),
  YARN_GLOBAL_FOLDER: join(room, 'yarn'),
};

/** Starts a registry that has mbok alone and sends requests for other packages to npm's. Returns its address. */
async function serveRegistry(tarball) {
  const content = readFileSync(tarball);
  const others = (await run(['npm', 'config', 'get', 'registry'])).trim().replace(/\/$/, '');
  const server = createServer((request, response) => {
    const { version } = description;
    const url = `http://${request.headers.host}`;
    if (request.url === '/mbok.tgz') return response.end(content);
    if (request.url !== '/mbok') return response.writeHead(307, { location: others + request.url }).end();
    const dist = {
      tarball: `${url}/mbok.tgz`,
      shasum: createHash('sha1').update(content).digest('hex'),
      integrity: `sha512-${createHash('sha512').update(content).digest('base64')}`,
    };
    // package managers may refuse what was published in the last days
    const time = '2020-01-01T00:00:00.000Z';
    const packument = {
      name: 'mbok',
      'dist-tags': { latest: version },
      versions: { [version]: { ...description, scripts: {}, _id: `mbok@${version}`, dist } },
      time: { created: time, modified: time, [version]: time },
    };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(packument));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}/`;
}

const yarn = tool('@yarnpkg/cli-dist/bin/yarn.js');
const yarnSettings = (linker, url) => ({
  '.yarnrc.yml': [
    `nodeLinker: ${linker}`,
    `npmRegistryServer: ${url}`,
    'unsafeHttpWhitelist: [127.0.0.1]',
    'enableTelemetry: false',
    'npmMinimalAgeGate: 0',
    '',
  ].join('\n'),
  'yarn.lock': '',
});

/** Package managers: files of the project, its installation, and how it runs a file. */
const MANAGERS = {
  npm: { install: ['node', tool('npm/bin/npm-cli.js'), 'install', '--no-audit', '--no-fund'] },
  pnpm: { install: ['node', tool('pnpm/bin/pnpm.mjs'), 'install', '--store-dir', join(room, 'pnpm')] },
  yarn: { install: ['node', yarn, 'install'], files: (url) => yarnSettings('node-modules', url) },
  'yarn-pnp': {
    install: ['node', yarn, 'install'],
    files: (url) => yarnSettings('pnp', url),
    // only Yarn's own copy of the compiler knows its way of resolving
    dependencies: { typescript: TOOLS.typescript, '@types/node': TOOLS['@types/node'] },
    node: ['node', yarn, 'node'],
    tsc: ['node', yarn, 'tsc'],
  },
  bun: { install: [tool('bun/bin/bun.exe'), 'install'], program: [tool('bun/bin/bun.exe'), 'run'], runsTypes: true },
  deno: { install: [tool('deno/deno'), 'install'], program: [tool('deno/deno'), 'run', '-A'], runsTypes: true },
};

/** Rows: each package manager on Node 22, and npm on all versions. */
const ROWS = [
  ...Object.keys(NODES).map((node) => ({ name: `npm-${node}`, manager: 'npm', node })),
  ...Object.keys(MANAGERS)
    .filter((manager) => manager !== 'npm')
    .map((manager) => ({ name: manager, manager, node: 22 })),
];

const body = (types) => `
async function main(folder${types ? ': string' : ''}) {
  const model = await Model.load(folder);
  const pieces${types ? ': string[]' : ''} = [];
  const generation = model.generate('Once upon a time', { maxTokens: ${TOKENS}, temperature: 0 });
  for await (const piece of generation) pieces.push(piece);
  const { tokens } = await generation.result;
  model.dispose();
  console.log(tokens, JSON.stringify(pieces.join('')));
}
main(process.argv[2]${types ? ' as string' : ''});
`;
const SOURCES = {
  'use.mjs': `import { Model } from 'mbok';\n${body(false)}`,
  'use.cjs': `const { Model } = require('mbok');\n${body(false)}`,
  'use.mts': `import { Model } from 'mbok';\n${body(true)}`,
  'where.cjs': `console.log(require('node:path').dirname(require.resolve('mbok/package.json')));\n`,
};

/** Kinds of programs. Each runs one in a project and returns what it prints. */
const KINDS = {
  ESM: (project) => project.run('use.mjs'),
  CommonJS: (project) => project.run('use.cjs'),
  async TypeScript(project) {
    const { tsc = ['node', tool('typescript/bin/tsc'), '--typeRoots', tool('@types')], runsTypes } = project.manager;
    const target = ['--module', 'nodenext', '--target', 'es2022', '--lib', 'es2022,esnext.disposable'];
    await project.tool([...tsc, '--strict', ...target, '--types', 'node', '--outDir', 'compiled', 'use.mts']);
    return await project.run(runsTypes ? 'use.mts' : 'compiled/use.mjs');
  },
  async esbuild(project) {
    const output = ['--outfile=esbuild/use.cjs', '--format=cjs', '--loader:.node=copy', '--log-level=error'];
    await project.tool([tool('esbuild/bin/esbuild'), 'use.mjs', '--bundle', '--platform=node', ...output]);
    return await project.runAlone('esbuild');
  },
  async webpack(project) {
    const settings = {
      ...{ mode: 'production', target: 'node', entry: './use.mjs', context: project.folder },
      output: { path: join(project.folder, 'webpack'), filename: 'use.cjs' },
      module: { rules: [{ test: '\\.node$', loader: tool('node-loader') }] },
      node: { __dirname: false },
    };
    const config = JSON.stringify(settings).replace('"\\\\.node$"', '/\\.node$/');
    writeFileSync(join(project.folder, 'webpack.config.cjs'), `module.exports = ${config};`);
    const [first, ...rest] = project.manager.node ?? ['node'];
    await project.tool([first, ...rest, tool('webpack-cli/bin/cli.js'), '--config', 'webpack.config.cjs']);
    return await project.runAlone('webpack');
  },
  async asar(project) {
    // archives of Electron want plain folders, as pnpm has them by `nodeLinker: hoisted`
    const packages = join(project.folder, 'node_modules');
    if (!existsSync(packages) || lstatSync(join(packages, 'mbok')).isSymbolicLink()) return undefined;
    const app = join(project.folder, 'app');
    const alone = mkdtempSync(join(room, 'alone-'));
    for (const name of ['package.json', 'use.cjs', 'node_modules']) {
      cpSync(join(project.folder, name), join(app, name), { recursive: true, verbatimSymlinks: true });
    }
    const archive = join(alone, 'app.asar');
    // the packer needs Node 22
    await run(['node', tool('@electron/asar/bin/asar.mjs'), 'pack', app, archive, '--unpack', '*.node']);
    const unpacked = `${archive}.unpacked`;
    if (!existsSync(unpacked)) throw new Error(`${unpacked} is missing: no add-on was unpacked`);
    rmSync(app, { recursive: true });
    const start = `
      require(${JSON.stringify(tool('asar-node'))}).register();
      require(${JSON.stringify(join(archive, 'use.cjs'))});
      process.report.excludeNetwork = true;
      process.on('exit', () => {
        const loaded = process.report.getReport().sharedObjects;
        if (!loaded.some((path) => path.startsWith(${JSON.stringify(unpacked)}))) throw new Error(loaded.join());
      });`;
    writeFileSync(join(alone, 'start.cjs'), start);
    return await project.tool(['node', join(alone, 'start.cjs'), project.model]);
  },
};

/** Makes a project and installs the package. */
async function makeProject({ name, manager: key, node }, url) {
  const folder = join(room, 'projects', name);
  const manager = MANAGERS[key];
  const dependencies = { mbok: description.version, ...manager.dependencies };
  const files = {
    'package.json': JSON.stringify({ name: 'smoke', version: '1.0.0', private: true, dependencies }),
    '.npmrc': `registry=${url}\n`,
    ...SOURCES,
    ...manager.files?.(url),
  };
  mkdirSync(folder, { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content);
  const start = async (command, cwd = folder) => await run(command, { cwd, node });
  await start(manager.install);
  const program = manager.program ?? manager.node ?? ['node'];
  const installed = (await start([...program, 'where.cjs'])).trim();
  const model = join(installed, 'assets/tiny-stories');
  return {
    ...{ folder, manager, model, tool: start },
    run: async (file) => await start([...program, file, model]),
    /** Runs a bundle in a folder without packages. */
    async runAlone(bundle) {
      const alone = mkdtempSync(join(room, 'alone-'));
      cpSync(join(folder, bundle), alone, { recursive: true });
      const copy = join(room, 'model');
      cpSync(model, copy, { recursive: true });
      const [bare = 'node', ...args] = manager.program ?? ['node'];
      return await start([bare, ...args, 'use.cjs', copy], alone);
    },
  };
}

async function prepare() {
  const binary = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run npm run prebuild`);
  const quiet = ['--no-audit', '--no-fund', '--loglevel', 'error'];
  const install = (folder, packages) => run(['npm', 'install', '--prefix', join(room, folder), ...quiet, ...packages]);
  for (const folder of [environment.HOME, environment.TMPDIR]) mkdirSync(folder);
  await install(
    'tools',
    Object.entries(TOOLS).map(([name, version]) => `${name}@${version}`),
  );
  for (const [major, version] of Object.entries(NODES)) await install(`node-${major}`, [`node@${version}`]);
  const packing = ['npm', 'pack', '--ignore-scripts', '--json', '--pack-destination', room];
  const [{ filename }] = JSON.parse(await run(packing, { cwd: root }));
  const url = await serveRegistry(join(room, filename));
  const model = join(root, 'assets/tiny-stories');
  writeFileSync(join(room, 'reference.cjs'), SOURCES['use.cjs'].replace("'mbok'", JSON.stringify(root)));
  const reference = await run(['node', join(room, 'reference.cjs'), model]);
  if (!reference.startsWith(`${TOKENS} `)) throw new Error(`the checkout prints ${reference}`);
  return { url, reference };
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !ROWS.some((row) => row.name === name));
if (unknown.length > 0) throw new Error(`no row ${unknown}; there are ${ROWS.map(({ name }) => name)}`);
const { url, reference } = await prepare();
const failures = [];
const table = [
  ['package manager', 'run by', ...Object.keys(KINDS)],
  ['---', '---', ...Object.keys(KINDS).map(() => '---')],
];
for (const row of ROWS.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
  const cells = [];
  const cell = async (kind, work) => {
    const outcome = await work().then(
      (printed) =>
        printed === undefined ? '–' : printed.trim() === reference.trim() ? 'passes' : new Error(`printed ${printed}`),
      (error) => error,
    );
    const failed = outcome instanceof Error;
    if (failed) failures.push(`${row.name}, ${kind}: ${outcome.message}`);
    console.error(`${row.name}, ${kind}: ${failed ? 'FAILS' : outcome}`);
    return failed ? 'FAILS' : outcome;
  };
  let project;
  const isInstalled = await cell('installation', async () => {
    project = await makeProject(row, url);
    return reference;
  });
  for (const [kind, work] of Object.entries(KINDS)) {
    cells.push(isInstalled === 'passes' ? await cell(kind, async () => await work(project)) : 'FAILS');
  }
  const itself =
    row.manager in TOOLS && MANAGERS[row.manager].program ? `${row.manager} ${TOOLS[row.manager]}` : undefined;
  table.push([row.manager, itself ?? `Node ${NODES[row.node]}`, ...cells]);
}
console.log(table.map((cells) => `| ${cells.join(' | ')} |`).join('\n'));
console.log(
  `\nTokens: ${reference.trim()}. ${Object.entries(TOOLS)
    .map((entry) => entry.join(' '))
    .join(', ')}.`,
);
if (failures.length > 0) {
  console.error(failures.join('\n\n'));
  process.exit(1);
}
process.exit(0);
