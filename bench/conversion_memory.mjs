// Measures peak memory and time of a conversion from disk to disk, and compares them with the plan made beforehand.
//
//   node bench/synthetic.mjs /tmp/synthetic && node bench/conversion_memory.mjs /tmp/synthetic
//     [--methods refit,calibrated] [--kernels 2] [--windows 16] [--length 1024] [--seconds 0]
//
// The peak is that of anonymous memory (RssAnon), sampled every 20 ms from outside. Pages of files do not count, since
// the kernel reclaims them when needed. Calibration uses random token ids, because memory and time do not depend on the
// text. --seconds ends a conversion after that time; the first blocks need as much memory as the later ones.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    methods: { type: 'string', default: 'refit,calibrated' },
    kernels: { type: 'string', default: '2' },
    windows: { type: 'string', default: '16' },
    length: { type: 'string', default: '1024' },
    seconds: { type: 'string', default: '0' },
    child: { type: 'string' },
  },
});
const [source] = positionals;
if (source === undefined) throw new Error('usage: node bench/conversion_memory.mjs MODEL [options]');
const [kernels, windows, length, seconds] = ['kernels', 'windows', 'length', 'seconds'].map((name) =>
  Number(values[name]),
);

function optionsOf(method) {
  if (method !== 'calibrated') return { kernels, method };
  const { vocab_size: vocabulary } = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8'));
  const data = Int32Array.from({ length: windows * length }, (_, i) => (i * 7919 + i * i) % vocabulary);
  return { kernels, method, calibration: { data, windows, length } };
}

/** Converts in the child process and reports its progress. */
async function convert(method, output) {
  const { binarizeFolder, planConversion } = require('../dist/index.js');
  const plan = await planConversion(source, optionsOf(method));
  console.log(JSON.stringify({ plan }));
  let [begun, block] = [performance.now(), ''];
  const onProgress = ({ what }) => {
    const next = /\.(\d+)\./.exec(what)?.[1] ?? what;
    if (next === block) return;
    console.log(JSON.stringify({ block: next, seconds: (performance.now() - begun) / 1000 }));
    block = next;
  };
  await binarizeFolder(source, output, { ...optionsOf(method), onProgress });
  console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }));
}

function memoryOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024;
    return { anonymous: field('RssAnon'), resident: field('VmRSS') };
  } catch {
    return { anonymous: 0, resident: 0 };
  }
}

const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

async function measure(method) {
  const folder = mkdtempSync(join(tmpdir(), 'mbok-memory-'));
  const output = join(folder, 'out');
  const args = process.argv.slice(2).filter((argument) => !argument.startsWith('--child'));
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...args, `--child=${method} ${output}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const peak = { anonymous: 0, resident: 0 };
  const timer = setInterval(() => {
    const now = memoryOf(child.pid);
    for (const key of ['anonymous', 'resident']) peak[key] = Math.max(peak[key], now[key]);
  }, 20);
  const limit = seconds > 0 ? setTimeout(() => child.kill('SIGKILL'), seconds * 1000) : undefined;
  const lines = [];
  child.stdout.setEncoding('utf8').on('data', (text) =>
    lines.push(
      ...text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ),
  );
  const code = await new Promise((resolve) => child.on('exit', (exit, signal) => resolve(signal ?? exit)));
  clearInterval(timer);
  clearTimeout(limit);
  const { plan } = lines.find((line) => line.plan) ?? {};
  const last = lines.at(-1);
  const ended = code === 0 ? `${last.seconds.toFixed(0)} s` : `ended by ${code} in block ${last?.block}`;
  console.log(
    `${method}, K = ${kernels}: peak of anonymous memory ${gigabytes(peak.anonymous)} (resident ${gigabytes(peak.resident)}), ${ended}`,
  );
  if (plan)
    console.log(`  planned ${gigabytes(plan.peakBytes)}, for '${plan.largest}'; output ${gigabytes(plan.outputBytes)}`);
  if (code === 0) console.log(`  output file ${gigabytes(statSync(join(output, 'model.safetensors')).size)}`);
  for (const line of lines.filter(({ block }) => block !== undefined))
    console.log(`  block ${line.block} from ${line.seconds.toFixed(1)} s`);
  rmSync(folder, { recursive: true });
}

if (values.child !== undefined) {
  const [method, output] = values.child.split(' ');
  await convert(method, output);
} else {
  for (const method of values.methods.split(',')) await measure(method);
}
