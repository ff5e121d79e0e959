/**
 * npm run bench:quality [-- SECTION …]
 *
 * Measures how conversion and finetuning affect the embedded model's perplexity; the results are the tables of
 * docs/quality.md and docs/baselines.md. Sections: conversion, calibrated, nested, tables, allocation,
 * finetuned, long, normalizer, rates, accumulator, baselines. Default: all.
 *
 * Perplexity is measured on 256 windows of 256 tokens of TinyStories validation text. Training takes 8 × 256 tokens of
 * TinyStories training text per step (../shared/data/tinystories, not part of this repository).
 */

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { Model, binarize, binarizeFolder, evaluatePerplexity, finetune, quantizeFolder } = require('../dist/index.js');
const { inspect } = require('../dist/models/inspect.js');
const { addon } = require('../dist/native/addon.js');

const root = join(import.meta.dirname, '..');
const texts = join(root, '..', 'shared', 'data', 'tinystories');
if (!existsSync(texts)) {
  console.log(`skipped: ${texts} is absent`);
  process.exit(0);
}
const [train, valid] = await Promise.all(['train.txt', 'valid.txt'].map((name) => readFile(join(texts, name), 'utf8')));
const original = join(root, 'assets', 'tiny-stories');
const teacher = await Model.load(original);
const calibration = { data: train, windows: 64, length: 256 };

const perplexity = async (model) =>
  (await evaluatePerplexity(model, valid, { window: 256, maxWindows: 256 })).perplexity;
/** Converts by `amount`: {kernels}, or {bits, allocation}. */
const convert = (amount, method) =>
  binarize(teacher, {
    ...amount,
    method,
    ...(method === 'calibrated' && { calibration }),
  });

/** Folder of calibrated models; each amount is calibrated once. */
const cache = await mkdtemp(join(tmpdir(), 'mbok-quality-'));
async function calibrated(amount) {
  const folder = join(cache, Object.values(amount).join('-'));
  if (!existsSync(folder)) {
    const model = await convert(amount, 'calibrated');
    await model.save(folder);
    model.dispose();
  }
  return Model.load(folder);
}

function row(what, figures) {
  const cells = Object.entries(figures).map(([name, value]) => {
    const rounds = typeof value === 'number' && !Number.isInteger(value);
    const text = rounds ? Number(value.toPrecision(6)).toString() : String(value);
    return `${name} ${text}`;
  });
  console.log(`${what.padEnd(56)} ${cells.join('  ')}`);
}

/** Finetunes a converted model, training scales, norms and embeddings too, and evaluates it. */
async function finetuned({ kernels = 2, amount = { kernels }, steps = 300, method = 'calibrated', ...options }) {
  const student = method === 'calibrated' ? await calibrated(amount) : await convert(amount, method);
  const before = await perplexity(student);
  const began = performance.now();
  const { memory } = await finetune(student, {
    teacher,
    data: train,
    steps,
    batch: 8,
    window: 256,
    precision: 'bf16',
    train: ['scales', 'norms', 'embeddings'],
    ...options,
  });
  const seconds = (performance.now() - began) / 1000;
  const start = Object.entries(amount).map(([name, value]) => `${name} ${value}`);
  const what = [
    method,
    ...start,
    `${steps} steps`,
    ...Object.entries(options).map(([name, value]) => `${name} ${value}`),
  ];
  row(what.join(', '), { before, after: await perplexity(student), seconds, 'state MB': memory.state / 1e6 });
  student.dispose();
}

const sections = {
  async conversion() {
    for (const method of ['svid', 'refit']) {
      for (const kernels of [1, 2, 3, 4]) {
        const model = await convert({ kernels }, method);
        row(`${method} K=${kernels}`, { residual: model.conversion.residual, perplexity: await perplexity(model) });
        model.dispose();
      }
    }
  },
  async calibrated() {
    for (const kernels of [1, 2, 3, 4]) {
      const start = performance.now();
      const model = await calibrated({ kernels });
      const seconds = (performance.now() - start) / 1000;
      row(`calibrated K=${kernels}`, { perplexity: await perplexity(model), seconds });
      model.dispose();
    }
  },
  /** Embedding and head alone are converted. */
  async tables() {
    const choices = ['unchanged', 'int8', 1, 2, 3, 4, ...[1, 2, 3].map((kernels) => ({ kernels, frequent: 256 }))];
    for (const embeddings of choices) {
      for (const method of ['refit', 'calibrated']) {
        const isSame = typeof embeddings === 'string';
        if (isSame ? method === 'calibrated' : embeddings.frequent > 0 && method === 'refit') continue;
        const folder = join(cache, 'tables');
        const given = { kernels: 1, keep: { '*': 'dense' }, embeddings, method, overwrite: true };
        await binarizeFolder(original, folder, { ...given, ...(method === 'calibrated' && { calibration }) });
        const { bytes, parts } = await inspect(folder);
        const model = await Model.load(folder);
        row(`embeddings ${JSON.stringify(embeddings)}, ${method}`, {
          bytes,
          tableBytes: parts.embeddings,
          perplexity: await perplexity(model),
        });
        model.dispose();
      }
    }
  },

  async nested() {
    const most = 4;
    const folder = join(cache, 'nested');
    const start = performance.now();
    await binarizeFolder(original, folder, { kernels: most, method: 'calibrated', nested: true, calibration });
    const seconds = (performance.now() - start) / 1000;
    const { bitsPerWeight, prefixBytes } = await inspect(folder);
    row(`nested K=${most}`, { bitsPerWeight, prefixBytes, seconds });
    for (let kernels = 1; kernels <= most; kernels++) {
      const [prefix, alone] = [await Model.load(folder, { kernels }), await calibrated({ kernels })];
      row(`the first ${kernels} of them`, { perplexity: await perplexity(prefix), alone: await perplexity(alone) });
      for (const model of [prefix, alone]) model.dispose();
    }
  },
  async allocation() {
    for (const bits of [1.5, 2.25, 2.5, 3.25]) {
      for (const allocation of ['uniform', 'paper', 'measured']) {
        await finetuned({ amount: { bits, allocation }, steps: 200 });
      }
    }
  },
  async finetuned() {
    for (const hiddenLoss of ['plain', 'logarithmic']) {
      for (const kernels of [2, 1, 3]) {
        for (const latent of [false, true]) await finetuned({ kernels, hiddenLoss, latent });
      }
    }
  },
  async long() {
    for (const latent of [false, true]) await finetuned({ steps: 1500, hiddenLoss: 'plain', latent });
  },
  async normalizer() {
    for (const rule of ['neighbors', 'lastKernel']) {
      for (const normalizer of ['factored', 'mean']) {
        for (const decay of [0, 0.9])
          await finetuned({ precision: 'f32', hiddenLoss: 'relative', flipRate: 0.03, rule, normalizer, decay });
      }
    }
  },
  async rates() {
    // K, η, κ; the last of each K is the default of 100 steps
    const settings = [
      [1, 0.06, 0],
      [1, 0.03, 0.7],
      [1, 0.06, 0.7],
      [2, 0.03, 0],
      [2, 0.02, 0],
      [2, 0.04, 0],
    ];
    for (const [kernels, flipRate, retainedEvidence] of settings)
      await finetuned({ kernels, steps: 100, batch: 4, precision: 'f32', flipRate, retainedEvidence });
  },
  async accumulator() {
    for (const accumulator of ['bf16', 'f16', 'f32'])
      await finetuned({ precision: 'f32', hiddenLoss: 'relative', flipRate: 0.03, accumulator });
  },
  async baselines() {
    const methods = [
      { method: 'rtn' },
      ...['natural', 'descending'].map((order) => ({ method: 'gptq', order, calibration })),
    ];
    for (const given of methods) {
      for (const bits of [2, 3, 4]) {
        const folder = join(cache, 'baseline');
        const { packed } = await quantizeFolder(original, folder, { ...given, bits });
        const model = await Model.load(folder);
        const { bitsPerWeight, linearBytes, bytes } = packed;
        const what = [given.method, given.order, `${bits} bits`].filter(Boolean).join(', ');
        row(what, { perplexity: await perplexity(model), bitsPerWeight, linearBytes, bytes });
        model.dispose();
      }
    }
    // OneBit's method
    for (const gamma of [2, 10]) {
      await finetuned({ kernels: 1, method: 'svid', latent: true, hiddenLoss: 'relative', gamma });
    }
  },
};

const { cpu, isa, threads } = addon().info();
console.log(`${cpu}, ${isa}, ${threads} threads`);
row('original', { perplexity: await perplexity(teacher) });
const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : Object.keys(sections)) {
  if (sections[name] === undefined)
    throw new Error(`no section '${name}'; there are ${Object.keys(sections).join(', ')}`);
  await sections[name]();
}
await rm(cache, { recursive: true });
