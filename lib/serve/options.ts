/** Options of a server, and what it tells. */

import { totalmem } from 'node:os';
import { boolean, finiteNumber, integerInRange, invalid, object, options, string } from '../base/validate';
import { type ActivationBits, type Arithmetic, arithmeticOf, type Precision } from '../graph/arithmetic';

/** What is told of a request when it has ended. */
export interface RequestRecord {
  /** When the request came, in ISO 8601. */
  readonly time: string;
  /** Id of the request, which the header x-request-id has too. */
  readonly id: string;
  /** Method of the request, such as 'POST'. */
  readonly method: string;
  /** Path of the request. */
  readonly path: string;
  /** Status of the answer; 499 if the client left before its end. */
  readonly status: number;
  /** Until the end of the answer. */
  readonly seconds: number;
  /** Name of the model, if one was used. */
  readonly model?: string;
  /** Tokens of all prompts. */
  readonly promptTokens?: number;
  /** Tokens of the prompts that were in a cache. */
  readonly cachedTokens?: number;
  /** Tokens generated. */
  readonly tokens?: number;
  /** From the request to the first token. */
  readonly firstTokenSeconds?: number;
  /** Why each text ended. */
  readonly reasons?: readonly string[];
  /** Message of the error, if the request failed. */
  readonly error?: string;
  /** Prompts of the request; only with `logTexts`. */
  readonly prompts?: readonly string[];
  /** Texts of the answer; only with `logTexts`. */
  readonly answers?: readonly string[];
}

/** Options of {@link createServer}. */
export interface ServerOptions {
  /** Paths of the models by their names in requests, as `Model.load` takes them. The first one is the default. */
  readonly models: Readonly<Record<string, string>>;
  /** Texts that a model computes side by side; each takes a key-value cache. Default 4. */
  readonly parallel?: number | undefined;
  /** Tokens of a text at most, with its prompt. Default: the model's context, up to 4096. */
  readonly context?: number | undefined;
  /** Texts that may wait for a model; more are refused with 429. Default 64. */
  readonly queue?: number | undefined;
  /**
   * Bytes that models and their caches may take together. Models that nobody uses are unloaded, the least recently used
   * first, to stay below it. Default: three quarters of the memory that the process may use.
   */
  readonly memory?: number | undefined;
  /** Of dense products. Default 'f32'. */
  readonly precision?: Precision | undefined;
  /** Bits that the inputs of Boolean layers are rounded to. Default: as the precision asks. */
  readonly activations?: ActivationBits | undefined;
  /** Keys of which a request must have one, as `Authorization: Bearer KEY`. Default: none is asked for. */
  readonly apiKeys?: readonly string[] | undefined;
  /**
   * Names by which requests may call the server, besides localhost and addresses in numbers; '*' allows all. A page of
   * another site that resolves its name to this machine is thus refused. Default: none.
   */
  readonly hosts?: readonly string[] | undefined;
  /** Origins of pages that may call the server from a browser; '*' allows all. Default: none. */
  readonly origins?: readonly string[] | undefined;
  /** Largest body of a request in bytes. Default 8 MiB. */
  readonly maxBody?: number | undefined;
  /** After this many seconds of silence a stream gets a comment, so that no proxy ends it. Default 5. */
  readonly keepAliveSeconds?: number | undefined;
  /** A client that reads nothing of its stream for this long is left. Default 60. */
  readonly stallSeconds?: number | undefined;
  /** Told of every request when it has ended. */
  readonly onRequest?: ((record: RequestRecord) => void) | undefined;
  /** Whether `onRequest` is told prompts and answers. Default false. */
  readonly logTexts?: boolean | undefined;
}

const KEYS = [
  'models',
  'parallel',
  'context',
  'queue',
  'memory',
  'precision',
  'activations',
  'apiKeys',
  'hosts',
  'origins',
  'maxBody',
  'keepAliveSeconds',
  'stallSeconds',
  'onRequest',
  'logTexts',
] as const;

/** Checked options, with defaults. */
export interface ServerSettings {
  readonly models: ReadonlyMap<string, string>;
  readonly parallel: number;
  /** Undefined: the model's. */
  readonly context: number | undefined;
  readonly queue: number;
  readonly memory: number;
  readonly arithmetic: Arithmetic;
  readonly apiKeys: readonly string[];
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  readonly maxBody: number;
  readonly keepAliveSeconds: number;
  readonly stallSeconds: number;
  readonly onRequest: ((record: RequestRecord) => void) | undefined;
  readonly logTexts: boolean;
}

/** Checks options. Throws MBOK_INVALID_ARGUMENT. */
export function readOptions(given: ServerOptions): ServerSettings {
  const checked = options('options', object('options', given), KEYS);
  const models = Object.entries(object('models', checked.models));
  if (models.length === 0) invalid('models', 'an object with at least one model', checked.models);
  for (const [name, path] of models) string(`models[${name}]`, path);
  return {
    models: new Map(models),
    parallel: integerInRange('parallel', checked.parallel ?? 4, 1, 1024),
    context: checked.context === undefined ? undefined : integerInRange('context', checked.context, 1),
    queue: integerInRange('queue', checked.queue ?? 64, 0),
    memory: finiteNumber('memory', checked.memory ?? defaultMemory(), 1),
    arithmetic: arithmeticOf(checked),
    apiKeys: strings('apiKeys', checked.apiKeys),
    hosts: strings('hosts', checked.hosts),
    origins: strings('origins', checked.origins),
    maxBody: integerInRange('maxBody', checked.maxBody ?? 8 * 2 ** 20, 1),
    keepAliveSeconds: finiteNumber('keepAliveSeconds', checked.keepAliveSeconds ?? 5, 0.001, 3600),
    stallSeconds: finiteNumber('stallSeconds', checked.stallSeconds ?? 60, 0.001, 86400),
    onRequest: checked.onRequest,
    logTexts: boolean('logTexts', checked.logTexts ?? false),
  };
}

function strings(name: string, value: readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) invalid(name, 'a list of texts', value);
  return value.map((entry, index) => string(`${name}[${index}]`, entry));
}

function defaultMemory(): number {
  const limit = process.constrainedMemory();
  return 0.75 * (limit > 0 ? Math.min(limit, totalmem()) : totalmem());
}
