/** The documents' commands and programs work as written. Needs the compiled package. */

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { temporaryFolder } from '../helpers/folders';

const root = join(__dirname, '../..');
const folder = temporaryFolder();
const documents = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));

/** Returns a document's code blocks of a language. */
function blocks(document: string, language: string): string[] {
  const text = readFileSync(join(root, 'docs', document), 'utf8');
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, found]) => found === language)
    .map(([, , block]) => block as string);
}

/** Returns the files to which a document links. */
function links(document: string): string[] {
  const text = readFileSync(join(root, 'docs', document), 'utf8');
  return [...text.matchAll(/\]\(([^)#]+)\)/g)].map(([, target]) => target as string);
}

function run(program: string, ...args: string[]): void {
  const env = {
    ...process.env,
    PATH: `${join(folder, 'bin')}${delimiter}${process.env.PATH}`,
    MBOK_CACHE: join(folder, 'cache'),
  };
  const { status, stderr } = spawnSync(program, args, { cwd: folder, encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${args.at(-1)}: ${stderr}`);
}

beforeAll(() => {
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'bin/mbok'), `#!/bin/sh\nexec "${process.execPath}" "${root}/dist/cli/main.js" "$@"\n`);
  chmodSync(join(folder, 'bin/mbok'), 0o755);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/mbok'));
  symlinkSync(join(root, 'assets'), join(folder, 'assets'));
  mkdirSync(join(folder, 'texts'));
  const story = 'Once upon a time there was a cat. '.repeat(60);
  writeFileSync(join(folder, 'texts/a.txt'), story);
  writeFileSync(join(folder, 'more.jsonl'), `${JSON.stringify({ story })}\n`);
  run('mbok', 'binarize', 'assets/tiny-stories', 'small', '--method', 'svid');
});

test.each(documents)('the commands of %s', (document) => {
  for (const block of blocks(document, 'sh')) run('sh', '-ec', block);
});

test.each(documents.filter((name) => blocks(name, 'js').length > 0))('the programs of %s', (document) => {
  for (const [index, block] of blocks(document, 'js').entries()) {
    const path = join(folder, `${document}-${index}.mjs`);
    writeFileSync(path, block);
    run(process.execPath, path);
  }
});

test.each(documents.filter((name) => links(name).length > 0))('links of %s lead somewhere', (document) => {
  for (const target of links(document)) expect(readdirSync(join(root, 'docs'))).toContain(target);
});

test.each(blocks('data.md', 'jsonl'))('an example of lines of JSON is that: %#', (block) => {
  for (const line of block.trimEnd().split('\n'))
    expect(Object.keys(JSON.parse(line) as object)[0]).toMatch(/text|messages/);
});
