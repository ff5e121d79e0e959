/**
 * Prefill and decode of a random LLaMA: llama.cpp with its types, mbok at K bits. As in llama-bench, prompts and
 * decoded tokens start from an empty context. Both include the choice of the likeliest token.
 */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { race } from '../contender.mjs';
import { digits, percent } from '../report.mjs';
import { bitsOf, TYPES } from './blocks.mjs';
import { booleanFolder, ggufFile } from './files.mjs';

/** Bits per linear weight up to which a type competes with K = 2. */
const FEW_BITS = 3;

export async function llamaSection(options, { limits, say }) {
  const { hidden, ffn, layers, heads, vocab, folder, threads } = options;
  const context = Math.max(2048, options.prompt, options.tokens);
  const shape = { hidden, ffn, layers, heads, kvHeads: options['kv-heads'], vocab, context };
  const settings = {
    threads,
    prompt: Array.from({ length: options.prompt }, (_, i) => 259 + ((i * 7919) % (vocab - 259))),
    tokens: options.tokens,
    first: 1,
  };
  const entries = [];
  for (const type of options.types.split(',')) {
    say(`preparing ${type}`);
    entries.push(await peer(type, folder, shape, settings));
  }
  for (const kernels of options.kernels.split(',').map(Number)) {
    say(`preparing K=${kernels}`);
    entries.push(await own(kernels, folder, shape, settings));
  }
  const results = await race(entries, { rounds: options.rounds, say });
  for (const result of results) result.readBytes ??= result.info?.readBytes;
  const good = results.filter(({ error }) => error === undefined);
  const peers = good.filter(({ family }) => family === 'llama.cpp');
  return {
    title: `A random LLaMA: hidden ${hidden}, ffn ${ffn}, ${layers} layers, ${heads} heads, vocabulary ${vocab}; prompt of ${options.prompt} tokens, ${options.tokens} decoded`,
    columns: ['weights MB', 'prefill tok/s', 'decode tok/s', 'weights GB/s', 'of read limit'],
    rows: results.flatMap((result) => rowsOf(result, limits)),
    notes: [
      'weights GB/s: bytes of all weights but the embedding table × tokens a second; the key-value cache is not counted',
      ...conditionsOf(peers),
      ...ratios(good, peers),
    ],
    charts: {
      'llama-decode': chart('Decoding', 'decode', good),
      'llama-prefill': chart('Prefill', 'prefill', good),
    },
    shape,
    results: results.map(({ settings: _, ...result }) => result),
  };
}

async function peer(type, folder, shape, settings) {
  const entry = { name: `llama.cpp ${type}`, label: type, family: 'llama.cpp' };
  if (TYPES[type] === undefined) return { ...entry, error: `unknown; there are ${Object.keys(TYPES).join(', ')}` };
  try {
    const { path, ...bytes } = await ggufFile(folder, shape, type);
    const args = [join(import.meta.dirname, 'llama_cpp.mjs')];
    return { ...entry, ...bytes, bits: bitsOf(type), args, settings: { ...settings, path } };
  } catch (error) {
    return { ...entry, error: error.message };
  }
}

async function own(kernels, folder, shape, settings) {
  const entry = { name: `mbok K=${kernels}`, label: `K = ${kernels}`, family: 'mbok', kernels };
  try {
    const path = await booleanFolder(folder, shape, kernels);
    const { size: bytes } = statSync(join(path, 'model.safetensors'));
    return { ...entry, bytes, args: [join(import.meta.dirname, 'mbok.mjs')], settings: { ...settings, path } };
  } catch (error) {
    return { ...entry, error: error.message };
  }
}

function rowsOf({ name, family, error, bytes, readBytes, figures }, limits) {
  if (error !== undefined) return [{ name, error }];
  const row = (what, prefill, decode) => {
    const cells = [digits(bytes / 1e6), prefill === undefined ? '' : digits(prefill)];
    if (decode === undefined) return { name: what, cells };
    const rate = decode * readBytes;
    const fraction = percent(rate / limits.read_bytes_per_second);
    return { name: what, cells: [...cells, digits(decode, 2), digits(rate / 1e9), fraction] };
  };
  if (family !== 'mbok') return [row(name, figures.prefill, figures.decode)];
  return [
    row(`${name} int8`, figures.prefill, figures.decode),
    row(`${name} bf16`, figures.prefillBf16),
    row(`${name} f32`, undefined, figures.decodeF32),
  ];
}

/** Describes the conditions of llama.cpp, which are the same for all types except for rearranged weights. */
function conditionsOf(peers) {
  if (peers.length === 0) return [];
  const { release, variant, system, threads } = peers[0].info;
  const repacked = peers.filter(({ info }) => info.repacked > 0).map(({ label }) => label);
  return [
    `llama.cpp ${release}, ${variant}, ${threads} threads: ${system}`,
    `rearranged by llama.cpp when loaded: ${repacked.join(', ') || 'none'}`,
  ];
}

function ratios(good, peers) {
  const best = (list, figure) => list.toSorted((a, b) => b.figures[figure] - a.figures[figure])[0];
  const two = good.find(({ kernels }) => kernels === 2);
  const few = best(
    peers.filter(({ bits }) => bits <= FEW_BITS),
    'decode',
  );
  const fastest = best(peers, 'prefill');
  const against = (figure, other) => `${(two.figures[figure] / other.figures[figure]).toFixed(2)} × ${other.label}`;
  return [
    ...(two && few ? [`decoding at K=2: ${against('decode', few)}, the best of at most ${FEW_BITS} bits`] : []),
    ...(two && fastest ? [`prefill at K=2: ${against('prefill', fastest)}, the best of all`] : []),
  ];
}

function chart(what, figure, results) {
  const series = ['llama.cpp', 'mbok'].map((name) => {
    const points = results.filter(({ family }) => family === name);
    return {
      name,
      points: points.map(({ label, bytes, figures }) => ({ label, x: bytes / 1e6, y: 1e3 / figures[figure] })),
    };
  });
  return {
    title: `${what} of a random LLaMA`,
    xLabel: 'bytes of all weights, MB',
    yLabel: 'milliseconds a token',
    series,
  };
}
