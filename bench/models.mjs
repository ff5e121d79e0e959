/**
 * npm run bench:models [-- --models tiny-stories,smollm2,synthetic --kernels 1,2,3,4 --folder TMP/mbok-bench]
 *
 * Measures whole models. Each is loaded, reads a prompt of 512 tokens (the position limit of tiny-stories) and decodes
 * 64 tokens, in a new process. It runs dense and at every K; at K = 2 also on 1, 2, 4, … threads and with each
 * instruction set. Two finetuning steps of 8 × 512 tokens follow, with the original as teacher.
 *
 * Speeds are medians of three. The rate at which decode reads weights is a fraction of the memory bandwidth in the same
 * run. Models are converted without data, which does not affect their speed, and stay in --folder. smollm2 is read from
 * ../shared/models; synthetic is a random LLaMA with 1.9 B parameters (5 GB of disk).
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureLimits } from './limits.mjs';
import { hasIsa } from './measure.mjs';

const root = join(import.meta.dirname, '..');
const CLI = join(root, 'dist/cli/main.js');
const EMBEDDED = join(root, 'assets/tiny-stories');
const ISAS = ['avx512', 'avxvnni', 'avx2'];

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'tiny-stories,smollm2,synthetic' },
    kernels: { type: 'string', default: '1,2,3,4' },
    folder: { type: 'string', default: join(tmpdir(), 'mbok-bench') },
    json: { type: 'boolean' },
  },
});
const kernels = values.kernels.split(',').map(Number);
const say = (line) => values.json || console.log(line);
mkdirSync(values.folder, { recursive: true });

/** Bytes of the synthetic model's embedding table, of which a token reads only one row. */
const TABLE = 32000 * 4096;

/** Runs a command of mbok and parses the JSON of its last line. */
function mbok(args, env = {}) {
  const output = execFileSync(process.execPath, [CLI, ...args, '--json'], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: 1 << 26,
  });
  return JSON.parse(output.trimEnd().split('\n').at(-1));
}

/** Returns the path of each dense model, or the reason why it is missing. */
const SOURCES = {
  'tiny-stories': () => EMBEDDED,
  smollm2: () => join(root, '../shared/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf'),
  synthetic: () => {
    const folder = join(values.folder, 'synthetic');
    if (!existsSync(folder))
      execFileSync(process.execPath, [join(root, 'bench/synthetic.mjs'), folder], { stdio: 'ignore' });
    return folder;
  },
};

function booleanOf(name, source, count) {
  const out = join(values.folder, `${name}-K${count}`);
  if (!existsSync(out))
    mbok(['binarize', source, out, '--kernels', count, '--method', 'svid', '--embeddings', 'int8'].map(String));
  return out;
}

const limits = measureLimits();
say(`${limits.cpu}, ${limits.isa}, ${limits.threads} threads, Node ${process.version}`);
say(`reads from memory ${(limits.read_bytes_per_second / 1e9).toFixed(1)} GB/s; 512 tokens, then 64; medians of 3`);

const speeds = [];
function speed(name, kernelsOf, path, env, precision) {
  const figures = mbok(['eval', 'speed', path, '--precision', precision, '--repeats', '3'], env);
  const row = { model: name, kernels: kernelsOf, ...figures };
  // a token reads all weights except the embedding table, of which it reads a row; a tied head is that table. Dense
  // models from GGUF are wider in memory than in the file.
  if (kernelsOf !== undefined) {
    const read = figures.bytes - (name === 'synthetic' ? TABLE : 0);
    row.readFraction = (figures.decode.median * read) / limits.read_bytes_per_second;
  }
  speeds.push(row);
  say(
    [
      name.padEnd(13),
      (kernelsOf === undefined ? 'dense' : `K=${kernelsOf}`).padEnd(6),
      figures.isa.padEnd(8),
      `${figures.threads} threads`,
      precision.padEnd(5),
      `${(figures.bytes / 1e6).toFixed(1).padStart(7)} MB`,
      `load ${(figures.loadSeconds * 1e3).toFixed(0).padStart(5)} ms`,
      `prefill ${figures.prefill.median.toFixed(0).padStart(6)}`,
      `decode ${figures.decode.median.toFixed(1).padStart(7)} tokens/s`,
      row.readFraction === undefined ? ''.padEnd(14) : `${(100 * row.readFraction).toFixed(0).padStart(3)} % of reads`,
      `peak ${(figures.resources.peakMemory / 1e6).toFixed(0).padStart(5)} MB`,
    ].join('  '),
  );
}

const otherIsas = ISAS.filter((isa) => isa !== limits.isa && hasIsa(isa));
const threadCounts = [];
for (let count = 1; count < limits.threads; count *= 2) threadCounts.push(count);

const steps = [];
for (const name of values.models.split(',')) {
  const find = SOURCES[name];
  if (find === undefined) throw new Error(`no model '${name}'; there are ${Object.keys(SOURCES).join(', ')}`);
  const source = find();
  if (!existsSync(source)) {
    say(`${name}: skipped, there is no ${source}`);
    continue;
  }
  say('');
  speed(name, undefined, source, {}, 'bf16');
  for (const count of kernels) speed(name, count, booleanOf(name, source, count), {}, 'int8');
  const two = booleanOf(name, source, 2);
  speed(name, 2, two, {}, 'f32');
  for (const count of threadCounts) speed(name, 2, two, { MBOK_THREADS: String(count) }, 'int8');
  for (const isa of otherIsas) speed(name, 2, two, { MBOK_ISA: isa }, 'int8');
  if (name === 'synthetic') continue; // has no tokenizer, and its teacher alone is 3.8 GB
  const text = join(EMBEDDED, 'corpus/train.txt');
  for (const count of kernels) {
    const start = booleanOf(name, source, count);
    const out = join(values.folder, 'finetuned');
    const args = ['finetune', start, out, '--teacher', source, '--text', text, '--steps', '2', '--window', '512'];
    rmSync(out, { recursive: true, force: true });
    const { tokensPerSecond, resources } = mbok([...args, '--precision', 'bf16']);
    steps.push({ model: name, kernels: count, tokensPerSecond, resources });
    say(
      `${name.padEnd(13)}  K=${count}  finetuning ${tokensPerSecond.toFixed(0)} tokens/s, peak ${(resources.peakMemory / 1e6).toFixed(0)} MB`,
    );
  }
}
if (values.json) console.log(JSON.stringify({ limits, speeds, steps }));
