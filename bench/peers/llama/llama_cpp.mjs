/** Contender: a GGUF file in llama.cpp, through node-llama-cpp's prebuilt binary. */

import { basename } from 'node:path';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import { secondsOf, serve } from '../serve.mjs';

const GREEDY = { generateNext: { token: true, options: { temperature: 0 } } };

await serve(async ({ path, threads, prompt, tokens, first }) => {
  let log = '';
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    progressLogs: false,
    maxThreads: threads,
    logLevel: LlamaLogLevel.debug, // which variant was loaded is told there
    logger: (_, message) => {
      log += `${message}\n`;
    },
  });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const context = await model.createContext({
    contextSize: Math.max(prompt.length, tokens) + 1, // a full context is shifted
    batchSize: prompt.length,
    threads: { ideal: threads, min: threads },
  });
  const sequence = context.getSequence();

  /** Returns the likeliest token after `ids`, by the low-level API: generation would stop at an end token. */
  async function next(ids) {
    const results = await sequence.controlledEvaluate([...ids.slice(0, -1), [ids.at(-1), GREEDY]]);
    const token = results.at(-1)?.next.token;
    if (typeof token !== 'number') throw new Error('no token came');
    return token;
  }
  async function decode(count) {
    await sequence.clearHistory();
    for (let i = 0, token = first; i < count; i++) token = await next([token]);
    if (sequence.nextTokenIndex !== count) throw new Error(`${sequence.nextTokenIndex} tokens instead of ${count}`);
  }
  async function prefill() {
    await sequence.clearHistory();
    await next(prompt);
    if (sequence.nextTokenIndex !== prompt.length) throw new Error('not all of the prompt was computed');
  }

  await decode(2); // reads the weights once
  return {
    info: {
      variant: basename(/loaded CPU backend from (\S+)/.exec(log)?.[1] ?? 'unknown'),
      system: llama.systemInfo.trim(),
      release: llama.llamaCppRelease.release,
      threads: context.currentThreads || context.idealThreads,
      // size of the weights that it rearranged for this CPU when loading
      repacked: Number(/CPU_REPACK model buffer size =\s*([\d.]+) MiB/.exec(log)?.[1] ?? 0) * 2 ** 20,
    },
    measure: async () => ({
      prefill: prompt.length / (await secondsOf(prefill)),
      decode: tokens / (await secondsOf(() => decode(tokens))),
    }),
  };
});
