/**
 * npm run bench:quality [-- SECTION …]: what conversion and finetuning do to the embedded model's perplexity; the table
 * of README.md. Sections: conversion, calibrated, finetuned, normaliser, accumulator, long. Default: all.
 *
 * Perplexity is measured on 256 windows of 256 tokens of TinyStories validation text, trained on TinyStories training
 * text (../shared/data/tinystories, which is not part of this repository).
 */

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { Model, binarize, evaluatePerplexity, finetune } = require('../dist/index.js');
const { addon } = require('../dist/native/addon.js');

const root = join(import.meta.dirname, '..');
const texts = join(root, '..', 'shared', 'data', 'tinystories');
if (!existsSync(texts)) {
  console.log(`skipped: ${texts} is absent`);
  process.exit(0);
}
const [train, valid] = await Promise.all(['train.txt', 'valid.txt'].map((name) => readFile(join(texts, name), 'utf8')));
const teacher = await Model.load(join(root, 'assets', 'tiny-stories'));
const precision = process.env.PRECISION ?? 'f32';

const perplexity = async (model) =>
  (await evaluatePerplexity(model, valid, { window: 256, maxWindows: 256 })).perplexity;
const calibration = { data: train, windows: 64, length: 256 };
const converted = (kernels, method) => binarize(teacher, { kernels, method, calibration });

function row(what, figures) {
  const cells = Object.entries(figures).map(([name, value]) => {
    const text = typeof value === 'number' ? Number(value.toPrecision(6)).toString() : String(value);
    return `${name} ${text}`;
  });
  console.log(`${what.padEnd(56)} ${cells.join('  ')}`);
}

/** Converts, finetunes with everything but the bits of earlier kernels training, and evaluates. */
async function finetuned(what, { kernels, method = 'calibrated', steps = 300, ...options }) {
  const student = await converted(kernels, method);
  const before = await perplexity(student);
  const start = performance.now();
  const { memory } = await finetune(student, {
    teacher,
    data: train,
    steps,
    batch: 8,
    window: 256,
    precision,
    train: ['scales', 'norms', 'embeddings'],
    ...options,
  });
  const seconds = (performance.now() - start) / 1000;
  row(what, { before, after: await perplexity(student), seconds, 'state MB': memory.state / 1e6 });
  student.dispose();
}

const sections = {
  async conversion() {
    for (const method of ['svid', 'refit']) {
      for (const kernels of [1, 2, 3, 4]) {
        const model = await converted(kernels, method);
        row(`${method} K=${kernels}`, { residual: model.conversion.residual, perplexity: await perplexity(model) });
        model.dispose();
      }
    }
  },
  async calibrated() {
    for (const kernels of [1, 2, 3, 4]) {
      const start = performance.now();
      const model = await converted(kernels, 'calibrated');
      const seconds = (performance.now() - start) / 1000;
      const { residual, targetMix, rounds } = model.conversion;
      row(`calibrated K=${kernels}`, { residual, targetMix, rounds, perplexity: await perplexity(model), seconds });
      model.dispose();
    }
  },
  async finetuned() {
    for (const kernels of [1, 2, 3]) {
      await finetuned(`native K=${kernels}, 300 steps`, { kernels });
      await finetuned(`latent K=${kernels}, 300 steps`, { kernels, latent: true });
    }
  },
  async normaliser() {
    for (const rule of ['lastKernel', 'neighbours']) {
      await finetuned(`K=2 ${rule}, tensor mean, instant`, { kernels: 2, rule, normaliser: 'mean', decay: 0 });
      await finetuned(`K=2 ${rule}, factored, instant`, { kernels: 2, rule, normaliser: 'factored', decay: 0 });
      await finetuned(`K=2 ${rule}, factored, running 0.9`, { kernels: 2, rule, normaliser: 'factored', decay: 0.9 });
    }
  },
  async accumulator() {
    for (const accumulator of ['f16', 'bf16', 'f32']) {
      await finetuned(`K=2 accumulator ${accumulator}`, { kernels: 2, accumulator });
    }
  },
  async long() {
    await finetuned('native K=2, 1500 steps', { kernels: 2, steps: 1500 });
    await finetuned('latent K=2, 1500 steps', { kernels: 2, steps: 1500, latent: true });
  },
};

const { cpu, isa, threads } = addon().info();
console.log(`${cpu}, ${isa}, ${threads} threads, precision of training ${precision}`);
row('original', { perplexity: await perplexity(teacher) });
const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : Object.keys(sections)) {
  if (sections[name] === undefined)
    throw new Error(`no section '${name}'; there are ${Object.keys(sections).join(', ')}`);
  await sections[name]();
}
