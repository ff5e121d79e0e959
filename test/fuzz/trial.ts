/** What is tried, and how its outcome is judged. */

import { MbokError, MbokErrorCode } from '../../lib/base/errors';
import type { Draw } from './draw';

/** One input. */
export interface FuzzCase {
  /** What was made hostile in it: findings are grouped by this. */
  readonly label: string;
  /** All that the product reads, by name. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
  /** Gives the input to the product, one {@link Trial.call} for each call of a user. */
  try(trial: Trial): Promise<void>;
}

/** Makes cases of one kind. */
export interface Generator {
  make(draw: Draw): FuzzCase;
}

export type FindingKind = 'error' | 'message' | 'wrong' | 'polluted' | 'slow' | 'memory' | 'hang' | 'crash';

/** A case that ended in another way than with a result or one MbokError. */
export interface Fault {
  readonly kind: FindingKind;
  /** The call that was under way. */
  readonly call: string;
  /** What happened; equal for faults of one cause. */
  readonly what: string;
}

/** Longest message that a person can be expected to read. */
const LONGEST_MESSAGE = 2000;
/** A call may take this much longer than an honest one of its size. */
const MOST_MILLISECONDS = 300;
/** Of an honest call: encoding by @huggingface/tokenizers, the slowest there is, needs 0.9 µs a character. */
const HONEST_MICROSECONDS_PER_BYTE = 1;

/** Runs the calls of one case and collects what they do. */
export class Trial {
  /** Codes of the MbokErrors, in the order of the calls. */
  readonly codes: string[] = [];
  /** What is worth counting, but no fault. */
  readonly notes: string[] = [];
  fault: Fault | undefined;

  /** `onCall` is told of each call before it begins. */
  constructor(private readonly onCall: (name: string) => void) {}

  /**
   * Makes one call of the product.
   *
   * @param bytes - size of the call's input: an honest call takes time in proportion
   * @returns the result; undefined where the call threw, which is a fault unless it threw a proper MbokError
   */
  async call<T>(name: string, bytes: number, work: () => T | Promise<T>): Promise<T | undefined> {
    this.onCall(name);
    const wall = performance.now();
    const cpu = process.cpuUsage();
    try {
      return await work();
    } catch (error) {
      const fault = judge(error);
      if (fault) this.#record({ ...fault, call: name });
      else this.codes.push((error as MbokError).code);
      return undefined;
    } finally {
      const { user, system } = process.cpuUsage(cpu);
      // a busy machine stretches the one, threads of the garbage collector the other
      const milliseconds = Math.min(performance.now() - wall, (user + system) / 1000);
      const limit = MOST_MILLISECONDS + (bytes * HONEST_MICROSECONDS_PER_BYTE) / 1000;
      if (milliseconds > limit) {
        this.#record({ kind: 'slow', call: name, what: `took ${Math.round(milliseconds)} ms` });
      }
    }
  }

  /** Records a result that is wrong. */
  wrong(call: string, what: string): void {
    this.#record({ kind: 'wrong', call, what });
  }

  note(what: string): void {
    this.notes.push(what);
  }

  /** The first fault counts: it may be the cause of those after it. */
  #record(fault: Fault): void {
    this.fault ??= fault;
  }
}

/** What is wrong with something thrown; undefined for an MbokError that a person can read. */
export function judge(error: unknown): Pick<Fault, 'kind' | 'what'> | undefined {
  if (!(error instanceof MbokError)) {
    const { name, message, stack } = (error ?? {}) as Partial<Error>;
    const realm = error instanceof Error ? '' : 'of another realm: ';
    const what = `${realm}${name}: ${withoutValues(String(message))} ${place(String(stack))}`;
    return { kind: 'error', what: what.trim() };
  }
  const { code, message } = error;
  if (!Object.hasOwn(MbokErrorCode, code)) return { kind: 'error', what: `MbokError of the code ${String(code)}` };
  if (code === 'MBOK_INTERNAL') return { kind: 'error', what: `MBOK_INTERNAL: ${withoutValues(message)}` };
  if (message.length <= LONGEST_MESSAGE) return undefined;
  return { kind: 'message', what: `${code}, over ${LONGEST_MESSAGE} characters: ${withoutValues(message)}` };
}

/** The beginning of a message without what differs from case to case. */
function withoutValues(message: string): string {
  return message
    .slice(0, 400)
    .replace(/"[^"]*("|$)|'[^']*('|$)/g, '…')
    .replace(/\d+/g, 'N')
    .slice(0, 120);
}

/** The innermost function that is the project's or a package's. */
function place(stack: string): string {
  const frame = /at (?:async )?(\S+) \(\S*?((?:lib|node_modules)\/[^)]+?):\d+:\d+\)/.exec(stack);
  return frame ? `(${frame[1]}, ${frame[2]})` : '';
}
