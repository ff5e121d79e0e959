/**
 * npm run bench:scheduler [-- MODEL --tokens 48 --prompt 24 --repeats 3 --precision f32 --json]
 *
 * Measures requests side by side, on the embedded model or on MODEL. First the tokens per second of 1, 4, 8 and 16
 * requests together, as a multiple of the same requests one by one; the two are measured in turn, and their texts must
 * be equal. Then a prompt of 2048 tokens, or as many as the context holds, joins a running text. The longest gap between
 * two tokens of that text is compared with the longest decode step and the longest prefill run of the same time.
 */

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { addon, dist, median } from './measure.mjs';

const { coreOf, Model } = dist('model');
const { Decoder } = dist('generate/decoder');
const { readRequest } = dist('generate/request');
const { Scheduler } = dist('generate/scheduler');
const { arithmeticOf } = dist('graph/arithmetic');

const PARALLEL = [1, 4, 8, 16];
const LONG = 2048;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '48' },
    prompt: { type: 'string', default: '24' },
    repeats: { type: 'string', default: '3' },
    precision: { type: 'string', default: 'f32' },
    json: { type: 'boolean' },
  },
});
const [tokens, promptTokens, repeats] = [values.tokens, values.prompt, values.repeats].map(Number);
const path = positionals[0] ?? join(import.meta.dirname, '../assets/tiny-stories');
const say = (line) => values.json || console.log(line);

const model = await Model.load(path);
const core = coreOf(model);
const arithmetic = arithmeticOf({ precision: values.precision });
const { maxPositions, vocabularySize } = model.config;
const { cpu, isa, threads } = addon().info();
say(`${cpu}, ${isa}, ${threads} threads of ${availableParallelism()} processors; ${path}, ${values.precision}`);

/** A request of so many arbitrary tokens, which never ends early. */
function request(length, start, maxTokens) {
  const ids = Int32Array.from({ length }, (_, i) => 1 + ((start * 104729 + i * 7919) % (vocabularySize - 1)));
  return readRequest(core, ids, { temperature: 0, precision: values.precision, maxTokens }, []);
}

async function textOf(generation) {
  let text = '';
  for await (const piece of generation) text += piece;
  return text;
}

/** Seconds that requests take in `slots` slots, and their texts. */
async function run(requests, slots) {
  const context = Math.max(...requests.map(({ prompt, maxTokens }) => prompt.length + maxTokens));
  const scheduler = new Scheduler(core, { slots, context, arithmetic });
  const started = performance.now();
  const texts = await Promise.all(requests.map((each) => textOf(scheduler.submit(each))));
  const seconds = (performance.now() - started) / 1000;
  await scheduler[Symbol.asyncDispose]();
  return { seconds, texts };
}

const together = [];
for (const parallel of PARALLEL) {
  // lengths differ, so that texts end at different times
  const requests = Array.from({ length: parallel }, (_, i) => request(promptTokens + i, i, tokens - (i % 4)));
  const total = requests.reduce((sum, { maxTokens }) => sum + maxTokens, 0);
  const [side, alone] = [[], []];
  for (let i = 0; i <= repeats; i++) {
    const [a, b] = [await run(requests, parallel), await run(requests, 1)];
    if (a.texts.some((text, j) => text !== b.texts[j])) throw new Error(`${parallel} requests: the texts differ`);
    if (i === 0) continue; // finds caches and threads asleep
    side.push(a.seconds);
    alone.push(b.seconds);
  }
  const ratio = median(alone.map((seconds, i) => seconds / side[i]));
  const result = { parallel, tokensPerSecond: total / median(side), alone: total / median(alone), ratio };
  together.push(result);
  say(
    `${String(parallel).padStart(2)} together ${result.tokensPerSecond.toFixed(1).padStart(8)} tokens/s, one by one ` +
      `${result.alone.toFixed(1).padStart(8)}: ${ratio.toFixed(2)} times, equal texts`,
  );
}

/** Times every run of the decoder while `work` runs. */
async function timed(work) {
  const longest = { step: 0, prefill: 0 };
  const originals = {};
  for (const name of ['step', 'prefill']) {
    originals[name] = Decoder.prototype[name];
    Decoder.prototype[name] = async function (...args) {
      const started = performance.now();
      const result = await originals[name].apply(this, args);
      longest[name] = Math.max(longest[name], performance.now() - started);
      return result;
    };
  }
  const result = await work();
  Object.assign(Decoder.prototype, originals);
  return { longest, result };
}

const long = Math.min(LONG, maxPositions - 8);
const stalls = [];
for (let i = 0; i <= repeats; i++) {
  const scheduler = new Scheduler(core, { slots: 2, context: Math.min(maxPositions, long + 64), arithmetic });
  const running = scheduler.submit(request(promptTokens, 0, Math.min(long, 256)));
  for (let j = 0; j < 8; j++) await running.next();
  const { longest, result: gap } = await timed(async () => {
    let joined = false;
    const joining = textOf(scheduler.submit(request(long, 3, 2))).then(() => {
      joined = true;
    });
    let [last, widest] = [performance.now(), 0];
    while (!joined && !(await running.next()).done) {
      const now = performance.now();
      widest = Math.max(widest, now - last);
      last = now;
    }
    await joining;
    return widest;
  });
  await running.return();
  await scheduler[Symbol.asyncDispose]();
  if (i > 0) stalls.push({ gap, ...longest, share: gap / (longest.step + longest.prefill) });
}
const worst = stalls.reduce((a, b) => (a.share > b.share ? a : b));
say(
  `while a prompt of ${long} tokens joins, the longest gap is ${worst.gap.toFixed(1)} ms: ${worst.share.toFixed(3)} of the ` +
    `longest step (${worst.step.toFixed(1)} ms) and prefill run (${worst.prefill.toFixed(1)} ms)`,
);
model.dispose();
if (values.json)
  console.log(JSON.stringify({ cpu, isa, threads, path, precision: values.precision, together, stalls }));
