/** The command `npm run test:fuzz`. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Draw, MOST_SEEDS } from './draw';
import { GENERATORS, type GeneratorName } from './generators';
import { fuzz, type Summary } from './runner';

const USAGE = `npm run test:fuzz -- [OPTION...]

Tries made-up files of models: each must give a result or one MbokError, in bounded time and memory. Findings are written
to build/fuzz/findings.json; the exit code is 1 if there are any.

  --cases N      cases in all (300000)
  --seed N       of the cases (1)
  --jobs N       processes (as many as processors)
  --seconds N    after which a case hangs (25)
  --only NAME    templates, tokenizers or configurations; may be repeated (all)
  --case N       try one case alone and write its files to build/fuzz/case
`;
const OUTPUT = join(__dirname, '../../build/fuzz');
const NAMES: readonly GeneratorName[] = ['templates', 'tokenizers', 'configurations'];
/** Characters of a file's content that the list of findings shows. */
const MOST_SHOWN = 2000;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '300000' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    seconds: { type: 'string', default: '25' },
    only: { type: 'string', multiple: true, default: [...NAMES] },
    case: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function integer(name: 'cases' | 'seed' | 'jobs' | 'seconds' | 'case', least: number, most: number): number {
  const number = Number(values[name]);
  if (Number.isInteger(number) && number >= least && number <= most) return number;
  throw new Error(`--${name} must be an integer from ${least} to ${most}, got ${values[name]}`);
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const generators = values.only.map((name) => {
    if (Object.hasOwn(GENERATORS, name)) return name as GeneratorName;
    throw new Error(`--only must be one of ${NAMES.join(', ')}, got ${name}`);
  });
  const seed = integer('seed', 0, MOST_SEEDS - 1);
  const seconds = integer('seconds', 1, 3600);
  mkdirSync(OUTPUT, { recursive: true });
  if (values.case !== undefined) return await tryAlone(generators, seed, seconds);
  const each = Math.ceil(integer('cases', 1, 1e9) / generators.length);
  const start = performance.now();
  const options = { generators, from: 0, to: each, seed, jobs: integer('jobs', 1, 256), seconds };
  const summary = await fuzz({ ...options, onProgress: write });
  write(summary);
  print(summary);
  const took = (performance.now() - start) / 1000;
  const cases = each * generators.length;
  console.log(`${cases} cases in ${took.toFixed(0)} s, ${((1000 * took) / cases).toFixed(1)} ms each`);
  return summary.groups.size > 0 ? 1 : 0;
}

async function tryAlone(generators: readonly GeneratorName[], seed: number, seconds: number): Promise<number> {
  const number = integer('case', 0, 2 ** 32 - 1);
  let found = 0;
  for (const generator of generators) {
    const { label, files } = GENERATORS[generator].make(new Draw(seed, number));
    console.log(`${generator}, case ${number} of seed ${seed}: ${label}`);
    const folder = join(OUTPUT, 'case', generator);
    mkdirSync(folder, { recursive: true });
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(folder, name), content);
      console.log(`${join(folder, name)}, ${content.length} bytes: ${shown(content)}`);
    }
    const options = { generators: [generator], from: number, to: number + 1, seed, jobs: 1, seconds };
    const summary = await fuzz(options);
    print(summary);
    found += summary.groups.size;
  }
  return found > 0 ? 1 : 0;
}

function shown(content: string | Uint8Array): string {
  return Buffer.from(content.slice(0, MOST_SHOWN)).toString();
}

function write({ outcomes, notes, groups }: Summary): void {
  const findings = [...groups.values()].map(({ count, smallest }) => {
    const { files } = GENERATORS[smallest.generator].make(new Draw(smallest.seed, smallest.number));
    const beginnings = Object.entries(files).map(([name, content]) => [name, shown(content)]);
    return { count, ...smallest, files: Object.fromEntries(beginnings) };
  });
  writeFileSync(join(OUTPUT, 'findings.json'), `${JSON.stringify({ outcomes, notes, findings }, null, 2)}\n`);
}

function print({ outcomes, notes, groups }: Summary): void {
  for (const [generator, counts] of Object.entries(outcomes)) {
    const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
    console.log(`${generator}: ${sorted.map(([outcome, count]) => `${count} ${outcome}`).join(', ')}`);
  }
  for (const [note, count] of Object.entries(notes)) console.log(`note: ${count} ${note}`);
  const sorted = [...groups.values()].sort((a, b) => b.count - a.count);
  for (const { count, smallest } of sorted) {
    const { generator, kind, call, label, what, number, bytes } = smallest;
    console.log(
      `${String(count).padStart(6)} ${generator} ${kind.padEnd(8)} ${call}: ${what} [${label}, case ${number}, ${bytes} bytes]`,
    );
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(2);
  },
);
