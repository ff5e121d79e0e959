/** Fuzz cases, and the judgment of their outcomes. */

import { MbokError, MbokErrorCode } from '../../lib/base/errors';
import type { Draw } from './draw';

/** One input. */
export interface FuzzCase {
  /** The hostile part, by which findings are grouped. */
  readonly label: string;
  /** All files that the product reads, by name. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
  /** Passes the input to the product, with one {@link Trial.call} per call of a user. */
  try(trial: Trial): Promise<void>;
}

/** A generator of cases of one kind. */
export interface Generator {
  make(draw: Draw): FuzzCase;
}

export type FindingKind = 'error' | 'message' | 'wrong' | 'polluted' | 'slow' | 'memory' | 'hang' | 'crash';

/** A case that ended with neither a result nor one MbokError. */
export interface Fault {
  readonly kind: FindingKind;
  /** The call that was running. */
  readonly call: string;
  /** What happened; equal for faults of the same cause. */
  readonly what: string;
}

/** Longest acceptable message in characters. */
const LONGEST_MESSAGE = 2000;
/** Time allowed beyond that of a benign call of the same size. */
const MOST_MILLISECONDS = 300;
/** Time of a benign call. Encoding by @huggingface/tokenizers, the slowest one, takes 0.9 µs per character. */
const HONEST_MICROSECONDS_PER_BYTE = 1;

/** A runner of the calls of one case, which collects their results. */
export class Trial {
  /** Codes of the MbokErrors, in the order of the calls. */
  readonly codes: string[] = [];
  /** Noteworthy events that are not faults. */
  readonly notes: string[] = [];
  fault: Fault | undefined;

  /** `onCall` receives the name of each call before it starts. */
  constructor(private readonly onCall: (name: string) => void) {}

  /**
   * Makes one call of the product.
   *
   * @param bytes - size of the call's input, to which the time of a benign call is proportional
   * @returns the result; undefined if the call threw, which is a fault unless it threw a proper MbokError
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
      // a busy machine lengthens the first, threads of the garbage collector the second
      const milliseconds = Math.min(performance.now() - wall, (user + system) / 1000);
      const limit = MOST_MILLISECONDS + (bytes * HONEST_MICROSECONDS_PER_BYTE) / 1000;
      if (milliseconds > limit) {
        this.#record({ kind: 'slow', call: name, what: `took ${Math.round(milliseconds)} ms` });
      }
    }
  }

  /** Records a wrong result. */
  wrong(call: string, what: string): void {
    this.#record({ kind: 'wrong', call, what });
  }

  note(what: string): void {
    this.notes.push(what);
  }

  /** Records the first fault only, since it may cause later ones. */
  #record(fault: Fault): void {
    this.fault ??= fault;
  }
}

/** Returns the fault of a thrown value; undefined for a readable MbokError. */
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

/** Returns the start of a message without parts that differ between cases. */
function withoutValues(message: string): string {
  return message
    .slice(0, 400)
    .replace(/"[^"]*("|$)|'[^']*('|$)/g, '…')
    .replace(/\d+/g, 'N')
    .slice(0, 120);
}

/** Returns the innermost function of the project or of a package. */
function place(stack: string): string {
  const frame = /at (?:async )?(\S+) \(\S*?((?:lib|node_modules)\/[^)]+?):\d+:\d+\)/.exec(stack);
  return frame ? `(${frame[1]}, ${frame[2]})` : '';
}
