/**
 * A finetuning step with SmolLM2-135M's shapes at K = 2: mbok's flipped bits beside PyTorch's latent weights. Both also
 * train scales and norms, freeze embeddings and head, and multiply in bf16.
 */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { race } from '../contender.mjs';
import { pairs } from '../options.mjs';
import { digits } from '../report.mjs';

const require = createRequire(import.meta.url);
const { binarizeFolder } = require('../../../dist/index.js');

const KERNELS = 2;
const SHAPE = { hidden: 576, ffn: 1536, layers: 30, heads: 9, kvHeads: 3, vocab: 49152 };
/** Tokens per micro-batch, as mbok chooses by default. */
const MICRO_BATCH_TOKENS = 2048;

export async function torchSection({ folder, python, threads, rounds, 'step-shapes': shapes }, { say }) {
  say('preparing models');
  const missing = whyNoTorch(python);
  const model = await models(folder);
  const results = [];
  for (const [batch, window] of pairs(shapes)) {
    for (const teacher of [true, false]) {
      const settings = { shape: SHAPE, kernels: KERNELS, teacher, batch, window, threads, ...model };
      settings.microBatch = microBatchOf(batch, window);
      const place = (file) => join(import.meta.dirname, file);
      const entries = [
        { name: 'PyTorch', command: python, args: [place('step.py')], settings, ...(missing && { error: missing }) },
        { name: 'mbok', args: [place('mbok.mjs')], settings },
      ];
      const what = `${batch} x ${window} tokens, ${teacher ? 'KL to a teacher' : 'cross-entropy'}`;
      const raced = await race(entries, { rounds, say });
      results.push(
        ...raced.map(({ settings: _, ...result }) => ({ ...result, what, tokens: batch * window, teacher })),
      );
    }
  }
  const versions = [...new Set(results.flatMap(({ info }) => (info?.torch === undefined ? [] : info.torch)))];
  return {
    title: `A finetuning step of SmolLM2-135M's shapes, K=${KERNELS}, bf16 products, eager PyTorch`,
    columns: ['seconds', 'tokens/s', 'peak GB'],
    rows: results.map(row),
    notes: [...versions.map((version) => `PyTorch ${version}`), ...ratios(results), ...recomputations(results)],
    charts: { torch: chart(results.filter(({ error }) => error === undefined)) },
    shape: SHAPE,
    results,
  };
}

/** Returns the sequences of a micro-batch: a divisor of the batch. */
function microBatchOf(batch, window) {
  let count = Math.max(1, Math.min(batch, Math.floor(MICRO_BATCH_TOKENS / window)));
  while (batch % count !== 0) count--;
  return count;
}

/** Returns why `python` has no torch; undefined if it has. */
function whyNoTorch(python) {
  try {
    execFileSync(python, ['-c', 'import torch'], { stdio: 'pipe', encoding: 'utf8' });
    return undefined;
  } catch (error) {
    return `skipped: ${python} cannot import torch (${(error.stderr || error.message).trim().split('\n').at(-1)}); see --python`;
  }
}

/** Creates the dense model and its conversion if they are missing. */
async function models(folder) {
  const name = `step-${Object.values(SHAPE).join('-')}`;
  const dense = join(folder, name);
  const path = join(folder, `${name}-K${KERNELS}`);
  await mkdir(folder, { recursive: true });
  if (!existsSync(dense)) {
    const options = { ...SHAPE, 'kv-heads': SHAPE.kvHeads };
    delete options.kvHeads;
    const args = Object.entries(options).flatMap(([option, value]) => [`--${option}`, String(value)]);
    const unfinished = `${dense}.tmp`;
    await rm(unfinished, { recursive: true, force: true });
    execFileSync(process.execPath, [join(import.meta.dirname, '..', '..', 'synthetic.mjs'), unfinished, ...args]);
    await rename(unfinished, dense);
  }
  if (!existsSync(path)) await binarizeFolder(dense, path, { kernels: KERNELS, method: 'svid' });
  return { dense, path };
}

function row({ name, what, tokens, error, figures }) {
  const title = `${what}: ${name}`;
  if (error !== undefined) return { name: title, error };
  const { seconds, peakBytes } = figures;
  return { name: title, cells: [digits(seconds, 2), digits(tokens / seconds, 0), digits(peakBytes / 1e9, 2)] };
}

function ratios(results) {
  return results
    .filter(({ name, error }) => name === 'mbok' && error === undefined)
    .flatMap(({ what, figures }) => {
      const peer = results.find(
        (result) => result.name === 'PyTorch' && result.what === what && result.error === undefined,
      );
      return peer
        ? [`${what}: mbok is ${(peer.figures.seconds / figures.seconds).toFixed(2)} times as fast as PyTorch`]
        : [];
    });
}

function recomputations(results) {
  const list = results.filter(({ figures }) => figures.recomputed > 0).map(({ what }) => what);
  return list.length > 0 ? [`mbok computed activations twice for want of memory: ${list.join('; ')}`] : [];
}

function chart(results) {
  const series = ['PyTorch', 'mbok'].map((name) => {
    const points = results.filter((result) => result.name === name);
    return {
      name,
      points: points.map(({ teacher, tokens, figures }) => ({
        label: `${tokens}, ${teacher ? 'KL' : 'cross-entropy'}`,
        x: figures.peakBytes / 1e9,
        y: (1e3 * figures.seconds) / tokens,
      })),
    };
  });
  return {
    title: "A finetuning step of SmolLM2-135M's shapes",
    xLabel: 'peak memory, GB',
    yLabel: 'milliseconds a token',
    series,
  };
}
