/** Command line of bench:peers. */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const TEXTS = {
  folder: join(tmpdir(), 'mbok-peers'),
  types: 'F16,Q8_0,Q4_0,Q4_K,Q2_K,IQ2_XXS,TQ2_0,TQ1_0,Q2_0,Q1_0',
  kernels: '1,2,3,4',
  'layer-shapes': '5120x5120,13824x5120,5120x13824',
  'step-shapes': '8x1024,1x512',
  python: 'python3',
};
const NUMBERS = {
  threads: 2,
  rounds: 3,
  prompt: 512,
  tokens: 64,
  hidden: 4096,
  ffn: 11008,
  layers: 8,
  heads: 32,
  'kv-heads': 32,
  vocab: 32000,
};

/** @returns {{sections: string[], options: Record<string, string | number>}} options, with numbers parsed */
export function readOptions() {
  const entries = Object.entries({ ...TEXTS, ...NUMBERS });
  const options = Object.fromEntries(
    entries.map(([name, value]) => [name, { type: 'string', default: String(value) }]),
  );
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  for (const name of Object.keys(NUMBERS)) {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`--${name} must be a number from 1, got ${values[name]}`);
    values[name] = value;
  }
  return { sections: positionals, options: values };
}

/** Parses '8x1024,1x512' to pairs of numbers. */
export function pairs(text) {
  return text.split(',').map((pair) => {
    const numbers = pair.split('x').map(Number);
    if (numbers.length !== 2 || !numbers.every(Number.isInteger))
      throw new Error(`'${pair}' is not a pair like 8x1024`);
    return numbers;
  });
}
