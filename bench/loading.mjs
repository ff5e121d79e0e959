/**
 * npm run bench:loading -- MODEL [ROUNDS]
 *
 * Measures the loading of a model, with and without encoding a first text, each in a new process. It prints the CPU
 * seconds (user and system time of all threads) of the process and of loading alone, and the kernel's peak memory. If
 * bench/peers is installed and MODEL is a GGUF file, llama.cpp and mbok take turns. llama.cpp maps the file, and the
 * mapped pages count as memory. The benchmark fails if mbok's loading takes more than 1.4 times the CPU time of
 * llama.cpp.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus } from 'node:os';

const require = createRequire(import.meta.url);
const MOST = 1.4;
const TEXT = 'Once upon a time there was a fox who could not sleep.';

/** Loaders for this process. */
const loaders = {
  async mbok(path) {
    const { Model } = require('../dist/index.js');
    return () => Model.load(path);
  },
  async 'mbok, and a text'(path) {
    const { Model } = require('../dist/index.js');
    return async () => (await Model.load(path)).tokenizer.encode(TEXT);
  },
  async 'llama.cpp'(modelPath) {
    const { getLlama, LlamaLogLevel } = await import(peer());
    const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error });
    return () => llama.loadModel({ modelPath });
  },
};

/** Finds node-llama-cpp; undefined if it is not installed. */
function peer() {
  try {
    return createRequire(new URL('./peers/package.json', import.meta.url)).resolve('node-llama-cpp');
  } catch {
    return undefined;
  }
}

const seconds = ({ user, system }) => (user + system) / 1e6;

async function measure(name, path) {
  const load = await loaders[name](path);
  const since = process.cpuUsage();
  await load();
  const loading = seconds(process.cpuUsage(since));
  const { maxRSS } = process.resourceUsage();
  console.log(JSON.stringify({ loading, process: seconds(process.cpuUsage()), peak: maxRSS * 1024 }));
  // exit without waiting for disposal
  process.exit(0);
}

function run(name, path) {
  const output = execFileSync(process.execPath, [import.meta.filename, path, name], { encoding: 'utf8' });
  return JSON.parse(output.trim().split('\n').at(-1));
}

const [path, given = '5'] = process.argv.slice(2);
if (path === undefined) throw new Error('which model?');
if (given in loaders) await measure(given, path);
else {
  // imported only here: it loads mbok, and the measured processes must not
  const { median } = await import('./measure.mjs');
  const isFile = statSync(path).isFile();
  const names = Object.keys(loaders).filter((name) => name !== 'llama.cpp' || (isFile && peer()));
  const load = readFileSync('/proc/loadavg', 'latin1').split(' ')[0];
  console.log(`${path}, ${cpus()[0].model}, ${availableParallelism()} CPUs, load ${load}, Node ${process.version}`);
  const runs = new Map(names.map((name) => [name, []]));
  for (let round = 0; round < Number(given); round++) for (const name of names) runs.get(name).push(run(name, path));
  console.log(`medians of ${given} rounds  CPU s, process  CPU s, loading  peak MB`);
  const of = (name, key) => median(runs.get(name).map((result) => result[key]));
  for (const name of names) {
    const numbers = [
      of(name, 'process').toFixed(2),
      of(name, 'loading').toFixed(2),
      (of(name, 'peak') / 1e6).toFixed(0),
    ];
    console.log(
      `${name.padEnd(22)}  ${numbers[0].padStart(14)}  ${numbers[1].padStart(14)}  ${numbers[2].padStart(7)}`,
    );
  }
  if (runs.has('llama.cpp')) {
    const ratio = of('mbok', 'loading') / of('llama.cpp', 'loading');
    console.log(`loading takes ${ratio.toFixed(2)} of llama.cpp's CPU time; at most ${MOST} is wanted`);
    process.exitCode = ratio <= MOST ? 0 : 1;
  }
}
