/** The command `mbok serve`. */

import { basename, resolve } from 'node:path';
import { localModel } from '../hub/pull';
import { isReference, parseReference } from '../hub/reference';
import { createServer } from '../serve/create_server';
import type { RequestRecord } from '../serve/options';
import { ARITHMETIC_OPTIONS, givenArithmetic } from './arithmetic';
import { readBytes } from './bytes';
import { type Command, type CommandCall, given, type Outcome, UsageError } from './command';
import { pullProgress } from './load_model';
import { StatusLine, say } from './terminal';

const HOST = '127.0.0.1';
const PORT = 8080;
const GRACE_SECONDS = 30;

export const serveCommand: Command = {
  name: 'serve',
  summary: 'Serve models over HTTP, as OpenAI does.',
  operands: ['MODEL...'],
  options: {
    host: { kind: 'text', value: 'ADDRESS', help: 'address to listen on; 0.0.0.0: all', byDefault: HOST },
    port: { kind: 'integer', value: 'N', minimum: 0, maximum: 65535, help: '0: any', byDefault: String(PORT) },
    parallel: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      maximum: 1024,
      help: 'texts that a model computes side by side; each takes a key-value cache',
      byDefault: '4',
    },
    context: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'tokens of a text at most, with its prompt',
      byDefault: "the model's, up to 4096",
    },
    queue: {
      kind: 'integer',
      value: 'N',
      minimum: 0,
      help: 'texts that may wait for a model; more are refused with 429',
      byDefault: '64',
    },
    memory: {
      kind: 'text',
      value: 'SIZE',
      help: 'memory of all models and caches; those not in use are unloaded to stay below it',
      byDefault: '3/4 of the memory',
    },
    ...ARITHMETIC_OPTIONS,
    'api-key': {
      kind: 'text',
      value: 'KEY',
      many: true,
      help: 'demand this key of every request; repeatable',
      byDefault: 'that of MBOK_API_KEY, or none',
    },
    'allow-host': {
      kind: 'text',
      value: 'NAME',
      many: true,
      help: 'a name by which requests may call the server, besides localhost and numbers; repeatable; *: all',
    },
    'allow-origin': {
      kind: 'text',
      value: 'ORIGIN',
      many: true,
      help: 'pages that may call the server from a browser, such as https://example.com; repeatable; *: all',
    },
    'max-body': { kind: 'text', value: 'SIZE', help: 'largest body of a request', byDefault: '8MiB' },
    grace: {
      kind: 'integer',
      value: 'SECONDS',
      minimum: 0,
      maximum: 86400,
      help: 'time that requests in progress have to end when the server is stopped',
      byDefault: String(GRACE_SECONDS),
    },
    'log-texts': { kind: 'flag', help: 'log prompts and answers too' },
  },
  help: `Requests name a model by its file or folder, or by NAME where it is given as NAME=MODEL. The first model is loaded at
once and is the default; others are loaded when a request names them. NAME@K reads the first K kernels of a nested model.

  POST /v1/chat/completions, /v1/completions, /v1/responses    as OpenAI's, also as streams
  GET  /v1/models                                              names of the models
  POST /tokenize, /detokenize, /apply-template                 tokens of a text, text of tokens, text of a conversation
  GET  /health, /ready, /metrics, /openapi.json                for those who watch the server

Every request is a line of JSON on stderr. Ctrl-C or SIGTERM lets the requests in progress end; a second one does not.`,
  examples: [
    'mbok serve assets/tiny-stories',
    'mbok serve small=./nested big=hf:HuggingFaceTB/SmolLM2-135M-Instruct --parallel 8 --port 3000',
    'MBOK_API_KEY=secret mbok serve MODEL --host 0.0.0.0 --allow-host models.example.com',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const models = modelsOf(call.operands);
  const fromEnvironment = process.env.MBOK_API_KEY;
  const apiKeys = call.has('api-key') ? call.texts('api-key') : fromEnvironment ? [fromEnvironment] : [];
  const host = call.text('host') ?? HOST;
  const [memory, maxBody] = (['memory', 'max-body'] as const).map((name) => {
    const size = call.text(name);
    return size === undefined ? undefined : Math.floor(readBytes(name, size));
  });
  let requests = 0;
  const onRequest = (record: RequestRecord) => {
    requests++;
    say(JSON.stringify(record));
  };
  await download(call, Object.values(models)[0] as string);
  await using server = await createServer(
    given({
      models,
      parallel: call.number('parallel'),
      context: call.number('context'),
      queue: call.number('queue'),
      memory,
      ...givenArithmetic(call),
      apiKeys,
      hosts: call.texts('allow-host'),
      origins: call.texts('allow-origin'),
      maxBody,
      onRequest,
      logTexts: call.flag('log-texts'),
    }),
  );
  const url = await server.listen({ host, port: call.number('port') ?? PORT });
  say(`mbok: ${Object.keys(models).join(', ')} at ${url}`);
  if (apiKeys.length === 0 && !isLoopback(host)) say('mbok: warning: other machines can use the server without a key');
  await fired(call.signal);
  say('mbok: requests in progress end, no others are taken');
  await server.close({ graceSeconds: call.number('grace') ?? GRACE_SECONDS });
  return { json: { url, models, requests }, lines: [] };
}

/** Downloads a model at the hub, with a bar. */
async function download({ signal }: CommandCall, path: string): Promise<void> {
  const status = new StatusLine();
  try {
    await localModel(path, { signal, onProgress: pullProgress(status) });
  } finally {
    status.clear();
  }
}

/** Paths by names. Throws UsageError if two models have one name. */
function modelsOf(operands: readonly string[]): Record<string, string> {
  const models = new Map<string, string>();
  for (const operand of operands) {
    const [, name, path] = /^([^=/\\]+)=(.+)$/s.exec(operand) ?? [undefined, nameOf(operand), operand];
    if (models.has(name as string)) throw new UsageError(`two models are called '${name}': give one as NAME=MODEL`);
    models.set(name as string, path as string);
  }
  return Object.fromEntries(models);
}

/** The name of a model: its repository, folder or file. */
function nameOf(path: string): string {
  if (!isReference(path)) return basename(resolve(path), '.gguf');
  const { repo, quant } = parseReference(path);
  return quant === undefined ? repo : `${repo}:${quant}`;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host);
}

/** Resolves when the signal fires. */
async function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
