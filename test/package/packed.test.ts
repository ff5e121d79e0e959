import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { built, root } from '../helpers/builds';

/** Project of a user who has installed the packed tarball, without registry and cache. */
let project: string;
let packed: { filename: string; files: { path: string }[] };
let prebuild: string;
let installation: { stdout: string; stderr: string; status: number | null };

/** Runs npm with an empty cache, so that the result does not depend on the user's cache. */
const npm = (...args: string[]) =>
  spawnSync('npm', args, {
    cwd: project,
    encoding: 'utf8',
    env: { ...process.env, npm_config_loglevel: 'notice', npm_config_cache: join(project, 'cache') },
  });

/** Lists the packages that `npm install mbok --omit=optional` installs: dependencies, and theirs. */
function productionDependencies(): string[] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean; devOptional?: boolean }>;
  };
  return Object.entries(packages)
    .filter(([folder, { dev, optional, devOptional }]) => folder !== '' && !dev && !optional && !devOptional)
    .map(([folder]) => folder.replace(/^node_modules\//, ''));
}

/** Packs a folder into the project without running anything, and returns npm's report. */
function pack(folder: string): typeof packed {
  const args = ['pack', folder, '--ignore-scripts', '--json', '--pack-destination', project];
  const output = execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const [report] = JSON.parse(output) as [typeof packed];
  return { ...report, filename: basename(report.filename.replaceAll('/', '-').replace('@', '')) };
}

beforeAll(() => {
  built('dist');
  prebuild = built('prebuild');
  project = mkdtempSync(join(tmpdir(), 'mbok-package-'));
  packed = pack(root);
  const tarballs = productionDependencies().map(
    (name) => [name, `file:${pack(join(root, 'node_modules', name)).filename}`] as const,
  );
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({
      name: 'somebody',
      private: true,
      dependencies: { mbok: `file:${packed.filename}`, ...Object.fromEntries(tarballs) },
    }),
  );
  // scripts may run, but the tarball must have none
  const quiet = ['--no-audit', '--no-fund'];
  installation = npm('install', '--offline', '--omit=optional', '--foreground-scripts', ...quiet);
}, 900_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

function readPackage(folder: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, unknown>;
}

/** Runs a program in the project, outside the repository's node_modules. */
function run(name: string, source: string, env: Record<string, string> = {}) {
  writeFileSync(join(project, name), source);
  const { PREBUILDS_ONLY: _, ...inherited } = process.env;
  const result = spawnSync(process.execPath, [name], { cwd: project, encoding: 'utf8', env: { ...inherited, ...env } });
  if (result.status !== 0) throw new Error(result.stderr);
  return result.stdout;
}

describe('the packed tarball', () => {
  test('contains everything needed at run time and nothing that builds at installation', () => {
    const paths = packed.files.map(({ path }) => path);
    for (const path of [
      'package.json',
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'dist/index.js',
      'dist/index.mjs',
      'dist/index.d.ts',
      'dist/index.d.mts',
      'dist/cli/main.js',
      relative(root, prebuild),
      'assets/tiny-stories/model.safetensors',
    ]) {
      expect(paths).toContain(path);
    }
    const others = paths.filter((path) => /^(native|lib|test|scripts|bench|build|binding\.gyp|\.ci)/.test(path));
    expect(others).toEqual([]);
  });

  test('installs offline without running a script', () => {
    expect(installation).toMatchObject({ status: 0 });
    // npm announces every script by a line "> name@version script"
    expect(installation.stdout).not.toMatch(/^> /m);
    expect(readPackage(join(project, 'node_modules/mbok'))).toMatchObject({ gypfile: false });
    expect(existsSync(join(project, 'node_modules/mbok/build'))).toBe(false);
  });

  const use = `
    const model = await Model.load(path.join(path.dirname(require.resolve('mbok/package.json')), 'assets/tiny-stories'));
    const { data, shape } = await model.logits(model.tokenizer.encode('Once upon a time'));
    model.dispose();
    const hash = crypto.createHash('sha256').update(data).digest('hex');
    console.log(JSON.stringify({ shape, hash, code: await Model.load('nowhere').catch((e) => [e.code, e instanceof MbokError]) }));
  `;
  const program = {
    'use.cjs': `const crypto = require('node:crypto'), path = require('node:path');
      const { Model, MbokError } = require('mbok');
      (async () => { ${use} })();`,
    'use.mjs': `import crypto from 'node:crypto'; import path from 'node:path'; import { createRequire } from 'node:module';
      import { Model, MbokError } from 'mbok';
      const require = createRequire(import.meta.url); ${use}`,
  };

  test('computes the same from CommonJS and from ESM', () => {
    const outputs = Object.entries(program).map(([name, source]) => run(name, source));
    expect(outputs[1]).toBe(outputs[0]);
    expect(JSON.parse(outputs[0] as string)).toMatchObject({ shape: [5, 2048], code: ['MBOK_IO', true] });
  });

  test('has one instance of every class, and exports every name to ESM', () => {
    const source = `import * as esm from 'mbok'; import { createRequire } from 'node:module';
      const cjs = createRequire(import.meta.url)('mbok');
      const names = Object.keys(cjs).sort();
      console.log(names.length > 10, Object.keys(esm).sort().join() === names.join(), names.every((n) => esm[n] === cjs[n]));`;
    expect(run('same.mjs', source)).toBe('true true true\n');
  });

  test.each(['use.mts', 'use.cts'])('declares its types for %s', (name) => {
    const source = `import { Model, MbokError, type MbokErrorCode } from 'mbok';
      export async function shape(): Promise<readonly number[]> {
        const model = await Model.load('somewhere');
        const code: MbokErrorCode = new MbokError('MBOK_IO', '').code;
        return code === 'MBOK_IO' ? (await model.logits([1, 2])).shape : [];
      }
      // @ts-expect-error a path is a string
      Model.load(5);`;
    writeFileSync(join(project, name), source);
    const options = [
      '--noEmit',
      '--strict',
      '--module',
      'node16',
      '--target',
      'es2022',
      '--lib',
      'es2022,esnext.disposable',
    ];
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const result = spawnSync(process.execPath, [compiler, ...options, ...types, name], {
      cwd: project,
      encoding: 'utf8',
    });
    expect(result.stdout).toBe('');
    expect(result.status).toBe(0);
  });

  test('offers the command mbok', () => {
    const result = spawnSync(join(project, 'node_modules/.bin/mbok'), ['--help'], { cwd: project, encoding: 'utf8' });
    expect(result).toMatchObject({ status: 0, stdout: expect.stringContaining('binarize') });
  });

  test('draws no charts without the optional packages, and names them', () => {
    const source = `const { lineChart } = require('./node_modules/mbok/dist/plot/line_chart.js');
      const chart = lineChart({ title: '', xLabel: '', yLabel: '', series: [{ name: 'a', points: [{ x: 0, y: 1 }] }] });
      chart.catch((error) => console.log(error.code, error.message));`;
    expect(run('chart.cjs', source)).toMatch(/^MBOK_PACKAGE_MISSING .*npm install vega vega-lite/);
  });

  test('explains what to do if no binary fits', () => {
    const model = join(project, 'node_modules/mbok/assets/tiny-stories');
    const source = `import { Model } from 'mbok';
      for (const [name, value] of [['platform', 'plan9'], ['arch', 'mips']]) Object.defineProperty(process, name, { value });
      console.log(await Model.load(${JSON.stringify(model)}).catch((error) => error.code + '\\n' + error.message));`;
    const output = run('missing.mjs', source);
    expect(output).toMatch(/^MBOK_NATIVE_MISSING\n.*no binary is made for plan9-mips/);
    expect(output).toContain(`shipped: ${relative(join(root, 'prebuilds'), prebuild)}`);
    expect(output).toContain('found:   plan9-mips, Node v');
    expect(output).toContain('npm ci --os=plan9 --cpu=mips');
    expect(output).toContain('npm run prebuild');
    expect(output).toContain('npm install');
  });

  test('says so when its binary cannot be loaded', () => {
    const binary = join(project, 'node_modules/mbok', relative(root, prebuild));
    const content = readFileSync(binary);
    writeFileSync(binary, 'not a library');
    try {
      const source = `const path = require('node:path');
        const model = path.join(require.resolve('mbok/package.json'), '../assets/tiny-stories');
        require('mbok').Model.load(model).catch((error) => console.log(error.code, error.message));`;
      expect(run('broken.cjs', source)).toMatch(/^MBOK_NATIVE_MISSING .*mbok\..*node/);
    } finally {
      writeFileSync(binary, content);
    }
  });
});

describe('both builds', () => {
  test('give the same bits', () => {
    const native = built('native');
    const main = join(root, 'dist/index.js');
    const source = `
      const { Model } = require(${JSON.stringify(main)});
      (async () => {
        const model = await Model.load(${JSON.stringify(join(root, 'assets/tiny-stories'))});
        const { data } = await model.logits(model.tokenizer.encode('Once upon a time there was a little girl named Lily. She'.repeat(4)));
        const files = Object.keys(require.cache).filter((name) => name.endsWith('.node'));
        console.log(files.join(), require('node:crypto').createHash('sha256').update(data).digest('hex'));
      })();`;
    const [development, release] = [run('bits.cjs', source), run('bits.cjs', source, { PREBUILDS_ONLY: '1' })].map(
      (line) => line.trim().split(' '),
    );
    expect(development?.[0]).toBe(native);
    expect(release?.[0]).toBe(prebuild);
    expect(release?.[1]).toBe(development?.[1]);
  });
});
