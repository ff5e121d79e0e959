/** What Prometheus reads at /metrics. Names follow those of vLLM and llama.cpp. */

import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ModelPool } from './models';

/** Seconds to the first token: prompts take milliseconds to minutes on CPUs. */
const FIRST_TOKEN = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120];
/** Seconds a token. */
const TOKEN = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** A server's numbers, in a registry of its own: a program may have other servers, and metrics of its own. */
export class Metrics {
  readonly #registry = new Registry();
  readonly requests: Counter<'code'>;
  readonly promptTokens: Counter<'model'>;
  readonly cachedTokens: Counter<'model'>;
  readonly generatedTokens: Counter<'model'>;
  readonly firstToken: Histogram<'model'>;
  readonly perToken: Histogram<'model'>;

  constructor(pool: ModelPool) {
    const registers = [this.#registry];
    const labelNames = ['model'] as const;
    const counter = (name: string, help: string) => new Counter({ name, help, labelNames, registers });
    this.requests = new Counter({
      name: 'mbok_requests_total',
      help: 'Requests by status; 499 if the client left',
      labelNames: ['code'],
      registers,
    });
    this.promptTokens = counter('mbok_prompt_tokens_total', 'Tokens of prompts, those from caches included');
    this.cachedTokens = counter('mbok_prefix_cached_tokens_total', 'Tokens of prompts that were in a cache');
    this.generatedTokens = counter('mbok_generated_tokens_total', 'Tokens generated');
    this.firstToken = new Histogram({
      name: 'mbok_time_to_first_token_seconds',
      help: "Seconds from a request to its text's first token",
      labelNames,
      registers,
      buckets: FIRST_TOKEN,
    });
    this.perToken = new Histogram({
      name: 'mbok_time_per_output_token_seconds',
      help: 'Mean seconds from one token of a text to the next',
      labelNames,
      registers,
      buckets: TOKEN,
    });
    const loads = [
      ['mbok_requests_running', 'Texts that have a slot', 'running'],
      ['mbok_requests_waiting', 'Texts that wait for a slot', 'waiting'],
      ['mbok_kv_cache_usage_ratio', 'Share of the key-value cache that running texts take', 'cacheUse'],
    ] as const;
    for (const [name, help, key] of loads) {
      new Gauge({
        name,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          for (const { name: model, scheduler } of pool.loaded) this.set({ model }, scheduler.load[key]);
        },
      });
    }
    new Gauge({
      name: 'mbok_model_bytes',
      help: 'Bytes of loaded models with their caches',
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const { name: model, bytes } of pool.loaded) this.set({ model }, bytes);
      },
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics as text. */
  async text(): Promise<string> {
    return await this.#registry.metrics();
  }
}
