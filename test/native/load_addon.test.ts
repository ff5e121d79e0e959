/** The lists of prebuilt binaries agree, and the loader tells C libraries apart. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PREBUILDS, thisTarget } from '../../lib/native/load_addon';
import { built, root } from '../helpers/builds';

const read = (path: string) => readFileSync(join(root, path), 'utf8');

describe.each(Object.entries(PREBUILDS))('%s', (target, file) => {
  test('is built, required by a fixed path and exported', () => {
    expect(read('scripts/prebuild-all.mjs')).toMatch(new RegExp(`'${target}': \\['.*', '${file}'\\]`));
    expect(read('lib/native/bundled_binaries.ts')).toContain(
      `case '${target}':\n        return require('../../prebuilds/${file}');`,
    );
    const { exports } = JSON.parse(read('package.json')) as { exports: Record<string, object> };
    expect(exports[`./${target}`]).toEqual({
      import: `./dist/targets/${target}.mjs`,
      require: `./dist/targets/${target}.js`,
    });
  });
});

test('this process is one of the targets, by the C library that ldd names', () => {
  expect(Object.keys(PREBUILDS)).toContain(thisTarget());
  if (process.platform !== 'linux') return;
  const libraries = execFileSync('ldd', [process.execPath], { encoding: 'utf8' });
  expect(thisTarget().endsWith('-musl')).toBe(libraries.includes('ld-musl'));
});

test('the entry of a target is the whole API, and loads its binary alone', () => {
  built('dist');
  const binary = built('prebuild');
  const source = `
    const mbok = require(${JSON.stringify(join(root, 'dist/targets', `${thisTarget()}.js`))});
    const names = Object.keys(require(${JSON.stringify(join(root, 'dist/index.js'))}));
    new mbok.Matrix({ rows: 1, cols: 1 }).dispose();
    console.log(names.every((name) => name in mbok), Object.keys(require.cache).filter((file) => file.endsWith('.node')).join());`;
  const env = { ...process.env, PREBUILDS_ONLY: '1' };
  const output = execFileSync(process.execPath, ['-e', source], { encoding: 'utf8', env });
  expect(output).toBe(`true ${binary}\n`);
}, 900_000);
