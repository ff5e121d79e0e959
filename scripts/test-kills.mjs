// Runs pairs of commands that write the same OUT, and kills them at random moments. After each pair foreign files must
// be unchanged, and OUT must be absent or a whole model that one command writes on its own. At the end the commands run
// undisturbed.
//
//   node scripts/test-kills.mjs [--kills 200] [--seed 1]
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { kills: { type: 'string' }, seed: { type: 'string' } } });
const wanted = Number(values.kills ?? 200);
let state = Number(values.seed ?? 1);

/** Returns numbers from 0 to 1 (mulberry32). */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const oneOf = (list) => list[Math.floor(random() * list.length)];

const tiny = join(root, 'assets/tiny-stories');
const work = mkdtempSync(join(tmpdir(), 'mbok-kills-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
const small = join(work, 'small');
const text = join(work, 'text.txt');
writeFileSync(text, readFileSync(join(tiny, 'corpus/valid.txt'), 'utf8').slice(0, 20_000));

/** Commands that write OUT, by name. */
const commands = {
  refit: (out) => ['binarize', tiny, out, '--kernels', '2', '--method', 'refit', '--rounds', '4'],
  three: (out) => ['binarize', tiny, out, '--kernels', '3', '--method', 'refit', '--rounds', '6'],
  calibrated: (out) => [
    ...['binarize', tiny, out, '--kernels', '1', '--calibration', text, '--rounds', '1'],
    ...['--calibration-windows', '4', '--calibration-window', '64'],
  ],
  rtn: (out) => ['baseline', tiny, out, '--method', 'rtn', '--bits', '3'],
  export: (out) => ['export', small, out],
  finetune: (out) => [
    ...['finetune', small, out, '--text', text, '--steps', '6', '--save-every', '1'],
    ...['--batch', '2', '--window', '32', '--micro-batch', '1'],
  ],
};
/** Returns flags that do not change a command's result. */
const flags = (name) => [
  '--overwrite',
  ...(name === 'finetune' && random() < 0.7 ? ['--resume'] : []),
  ...(['refit', 'three', 'calibrated', 'rtn'].includes(name) && random() < 0.4 ? ['--restart'] : []),
];

/** Runs a command and kills it after `killAfter` milliseconds. */
function run(args, killAfter) {
  return new Promise((resolve) => {
    const env = { ...process.env, MBOK_THREADS: '1', MBOK_CACHE: join(work, 'cache') };
    const started = Date.now();
    const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...args], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (data) => {
      stderr = (stderr + data).slice(-2000);
    });
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stderr: stderr.trim(), milliseconds: Date.now() - started });
    });
  });
}

const sha = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
/** Hashes a model's files; undefined if there is no model. */
function modelOf(folder) {
  if (!existsSync(join(folder, 'config.json'))) return undefined;
  const names = readdirSync(folder).filter((name) => /\.(json|safetensors|jinja)$/.test(name));
  return names
    .sort()
    .map((name) => `${name} ${sha(join(folder, name))}`)
    .join('\n');
}

function fail(message) {
  console.error(`FAILED: ${message}`);
  process.exit(1);
}

/** Foreign files, planted in every folder to which the commands write. */
const foreign = new Map();
function plant(path) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `precious ${path} ${random()}`);
  foreign.set(path, sha(path));
}
function expectForeign(when) {
  for (const [path, hash] of foreign) {
    if (!existsSync(path)) fail(`${path} is gone ${when}`);
    if (sha(path) !== hash) fail(`${path} has changed ${when}`);
  }
}

const workFolders = [
  ['partial', 'conversion.json'],
  ['checkpoint', 'progress.json'],
];
/** Removes planted files from a work folder, since a folder with only foreign files is refused from then on. */
function takeAway(folder) {
  for (const path of [...foreign.keys()].filter((path) => dirname(path) === folder)) {
    rmSync(path);
    foreign.delete(path);
  }
  if (existsSync(folder) && readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
}

const made = await run(['binarize', tiny, small, '--kernels', '1', '--method', 'svid']);
if (made.code !== 0) fail(made.stderr);
const references = new Map();
const durations = new Map();
for (const [name, args] of Object.entries(commands)) {
  const out = join(work, `reference-${name}`);
  const { code, stderr, milliseconds } = await run(args(out));
  if (code !== 0) fail(`${name} by itself: ${stderr}`);
  references.set(modelOf(out), name);
  durations.set(name, milliseconds);
}

const place = join(work, 'place');
const out = join(place, 'out');
plant(join(place, 'notes.txt'));
plant(join(place, 'out.tmp-notes'));
plant(join(out, 'src/main.js'));
plant(join(out, 'README.md'));

let kills = 0;
let rounds = 0;
const ends = new Map();
const count = (key) => ends.set(key, (ends.get(key) ?? 0) + 1);
while (kills < wanted) {
  rounds++;
  const pair = await Promise.all(
    [0, 1].map(async (second) => {
      const name = oneOf(Object.keys(commands));
      const from = second * random() * 300;
      await new Promise((resolve) => setTimeout(resolve, from));
      // two commands at once take longer than one; some are not killed
      const killAfter = random() < 0.9 ? 100 + random() * durations.get(name) * 1.5 : undefined;
      return { name, ...(await run([...commands[name](out), ...flags(name)], killAfter)) };
    }),
  );
  const story = pair.map(({ name, code, signal }) => `${name} ${signal ?? code}`).join(' beside ');
  for (const { signal, code, stderr } of pair) {
    if (signal === 'SIGKILL') kills++;
    const reason = /\((MBOK_\w+)\)$/.exec(stderr.split('\n').at(-1))?.[1];
    count(signal ?? (code === 0 ? 'done' : (reason ?? `exit ${code}`)));
    // expected: busy, work of another conversion or run in the way, or only a planted file; all other errors are faults
    const inTheWay =
      ['MBOK_BUSY', 'MBOK_INVALID_ARGUMENT'].includes(reason) || /'stranger-\d+\.txt' but no/.test(stderr);
    const expected = code === 0 || signal === 'SIGKILL' || inTheWay;
    if (!expected) fail(`round ${rounds}, ${story}: ${stderr}`);
  }
  expectForeign(`after round ${rounds}, ${story}`);
  const found = modelOf(out);
  if (found !== undefined) {
    const name = references.get(found);
    if (name === undefined) fail(`round ${rounds}, ${story}: OUT is a model that no command makes\n${found}`);
    count(`OUT is that of ${name}`);
  }
  for (const [folder, marker] of workFolders) {
    const path = `${out}.${folder}`;
    if (existsSync(join(path, marker))) plant(join(path, `stranger-${rounds}.txt`));
    else takeAway(path);
  }
  if (process.stderr.isTTY || rounds % 20 === 0) console.error(`${kills} kills in ${rounds} rounds: ${story}`);
}

for (const [folder] of workFolders) takeAway(`${out}.${folder}`);
for (const [name, args] of Object.entries(commands)) {
  const restart = ['refit', 'three', 'calibrated', 'rtn'].includes(name) ? ['--restart'] : [];
  const { code, stderr } = await run([...args(out), '--overwrite', ...restart]);
  if (code !== 0) fail(`${name} at last: ${stderr}`);
  if (references.get(modelOf(out)) !== name) fail(`${name} at last makes another model than by itself`);
}
expectForeign('at last');
const left = readdirSync(place).sort();
if (left.join() !== ['notes.txt', 'out', 'out.tmp-notes'].join()) fail(`left beside OUT: ${left.join(' ')}`);
console.log(`${kills} kills in ${rounds} rounds; ${[...ends].map(([what, times]) => `${what}: ${times}`).join(', ')}`);
