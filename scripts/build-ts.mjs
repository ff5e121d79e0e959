// Compiles lib/ to CommonJS in dist/ and writes the ESM entry beside it. The entry re-exports the CommonJS module's
// names one by one. A program that imports mbok and a library that requires it thus share one instance of every class. Also
// writes the entries of single targets.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { deferRequires } from './lazy-requires.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

// compile to a temporary folder and swap it in: a failed build leaves the working one
const output = join(root, `dist.${process.pid}.tmp`);
process.on('exit', () => rmSync(output, { recursive: true, force: true }));
const compiler = join(root, 'node_modules/typescript/bin/tsc');
const tsc = spawnSync(process.execPath, [compiler, '-p', root, '--outDir', output], { stdio: 'inherit' });
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

// lib/text/bounded.ts interrupts work and restarts it. A module that is interrupted while it is read would stay half made, so
// what that work uses is read before it begins.
const modules = readdirSync(output, { recursive: true })
  .filter((name) => name.endsWith('.js'))
  .map((name) => join(output, name));
const early = withRequired(
  modules.filter((file) => /require\("[./]*(text\/)?bounded"\)/.test(readFileSync(file, 'utf8'))),
);
for (const file of modules) if (!early.has(file)) deferRequires(file);

const declarations = join(output, 'index.d.ts');
if (!existsSync(declarations)) throw new Error(`lib/index.ts is missing: it is the public entry`);
const names = exportedValues(declarations);
writeEntry('index');
writePlatforms();
writeFileSync(join(output, 'text/tokenizers_source.js'), tokenizersSource());
// npm makes commands executable when it installs a package, but not here, where npx also runs them
chmodSync(join(output, 'cli/main.js'), 0o755);
rmSync(dist, { recursive: true, force: true });
renameSync(output, dist);

/** Lists modules and all that they require, directly or not. */
function withRequired(files) {
  const found = new Set(files);
  // it grows while it is read
  for (const file of found)
    for (const [, path] of readFileSync(file, 'utf8').matchAll(/require\("(\.[^"]*)"\)/g))
      found.add(`${join(dirname(file), path)}.js`);
  return found;
}

/** Writes the ESM entry beside the CommonJS module `name`, which exports the public names. */
function writeEntry(name) {
  const file = `./${basename(name)}.js`;
  const lines = [
    `import mbok from '${file}';`,
    '',
    'export const {',
    ...names.map((each) => `  ${each},`),
    '} = mbok;',
    '',
  ];
  writeFileSync(join(output, `${name}.mjs`), lines.join('\n'));
  writeFileSync(join(output, `${name}.d.mts`), `export * from '${file}';\n`);
}

/** Writes the entries `mbok/TARGET`, each of which requires the binary of one target. */
function writePlatforms() {
  const { PREBUILDS } = createRequire(import.meta.url)(join(output, 'native/load_addon.js'));
  mkdirSync(join(output, 'targets'));
  for (const [target, file] of Object.entries(PREBUILDS)) {
    const provide = `require('../native/load_addon').provideBinary(() => require('../../prebuilds/${file}'));`;
    const path = `targets/${target}`;
    writeFileSync(join(output, `${path}.js`), `'use strict';\n${provide}\nmodule.exports = require('../api');\n`);
    writeFileSync(join(output, `${path}.d.ts`), "export * from '../api.js';\n");
    writeEntry(path);
  }
}

/** Returns the module that replaces lib/text/tokenizers_source.ts: it holds the text that the other reads. */
function tokenizersSource() {
  const name = '@huggingface/tokenizers';
  const require = createRequire(import.meta.url);
  const path = require.resolve(name);
  const { version, license } = JSON.parse(readFileSync(join(path, '../../package.json'), 'utf8'));
  return [
    `// ${name} ${version}, ${license}`,
    `exports.tokenizersSource = () => ${JSON.stringify(readFileSync(path, 'utf8'))};`,
    '',
  ].join('\n');
}

/** Returns the names that `file` exports as values: classes, functions and constants, but no interfaces or types. */
function exportedValues(file) {
  const program = ts.createProgram([file], {
    module: ts.ModuleKind.Node16,
    moduleResolution: ts.ModuleResolutionKind.Node16,
    target: ts.ScriptTarget.ES2022,
    types: ['node'],
  });
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(program.getSourceFile(file));
  return checker
    .getExportsOfModule(module)
    .filter((symbol) => !symbol.declarations?.some((node) => ts.isTypeOnlyImportOrExportDeclaration(node)))
    .filter((symbol) => {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      return (target.flags & ts.SymbolFlags.Value) !== 0;
    })
    .map((symbol) => symbol.getName())
    .sort();
}
