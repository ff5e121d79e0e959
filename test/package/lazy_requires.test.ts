/** The compiled package reads a module when it is first used, so that `require('mbok')` is fast. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { built, root } from '../helpers/builds';

const run = (...args: string[]) => execFileSync(process.execPath, args, { encoding: 'utf8' });

describe('deferred requires', () => {
  const uses = [
    ['a function', 'console.log((0, box_1.twice)(4));', '8'],
    ['a class', 'console.log(new box_1.Box(3).x);', '3'],
    ['a class within an object', 'console.log(new box_1.rooms.Box(box_1.twice(3)).x);', '6'],
    ['a base class', 'class Crate extends box_1.Box {} console.log(new Crate(5).x);', '5'],
    ['a re-export', 'Object.defineProperty(exports, "f", { get: () => box_1.twice }); console.log(exports.f(1));', '2'],
    ['the module itself', 'console.log(Object.keys(box_1).join());', 'twice,Box,rooms'],
  ] as const;
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'mbok-lazy-'));
    const code =
      "console.log('reads'); exports.twice = (x) => 2 * x; exports.Box = class { constructor(x) { this.x = x; } };";
    writeFileSync(join(folder, 'box.js'), `${code} exports.rooms = { Box: exports.Box };`);
    const files = uses.map(([name, use]) => {
      const file = join(folder, `${name}.js`);
      writeFileSync(file, `"use strict";\nconst box_1 = require("./box");\nconsole.log('starts');\n${use}\n`);
      return file;
    });
    const script = pathToFileURL(join(root, 'scripts/lazy-requires.mjs')).href;
    const program = `import { deferRequires } from '${script}'; ${JSON.stringify(files)}.forEach(deferRequires);`;
    run('--input-type=module', '-e', program);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(uses)('%s is read at its first use', (name, _, printed) => {
    expect(run(join(folder, `${name}.js`))).toBe(`starts\nreads\n${printed}\n`);
  });
});

describe('the compiled package', () => {
  beforeAll(() => {
    built('dist');
    built('native');
  }, 900_000);

  /** Runs a program after `require('mbok')` and returns the files of mbok that were read, relative to dist. */
  const filesOf = (program: string): string[] => {
    const dist = join(root, 'dist');
    const source = `const mbok = require(${JSON.stringify(dist)});
      (async () => { ${program} })().then(() => {
        const files = Object.keys(require.cache).filter((file) => file.startsWith(${JSON.stringify(join(dist, '/'))}));
        console.log(JSON.stringify(files.map((file) => file.slice(${dist.length + 1}).replaceAll('\\\\', '/'))));
      });`;
    return JSON.parse(run('-e', source)) as string[];
  };

  test('reads few files when it is required', () => {
    expect(filesOf('').length).toBeLessThanOrEqual(5);
  });

  test('generates without what converts, finetunes and evaluates', () => {
    const files = filesOf(`
      const model = await mbok.Model.load(${JSON.stringify(join(root, 'assets/tiny-stories'))});
      for await (const _ of model.generate('Once', { maxTokens: 2 }));
      model.dispose();`);
    expect(files).toContain('generate/scheduler.js');
    expect(files.filter((file) => /^(compress|baselines|eval|train|report|cli|plot)\//.test(file))).toEqual([]);
  });

  test('defers nothing in what works within time limits, since an interrupted module would stay half made', () => {
    for (const file of ['text/bounded', 'text/tokenizer', 'text/words', 'models/gguf/sentence_piece', 'io/json']) {
      expect(readFileSync(join(root, 'dist', `${file}.js`), 'utf8')).not.toMatch(/_module \?\?= require/);
    }
  });
});
