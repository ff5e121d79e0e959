/** Runner of fuzz cases: distributes them over processes, supervises these and summarizes the findings. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { GeneratorName } from './generators';
import type { Assignment, Report } from './protocol';
import type { Fault } from './trial';

export interface FuzzOptions {
  readonly generators: readonly GeneratorName[];
  /** Numbers of the cases of each generator: `from` to `to` - 1. */
  readonly from: number;
  readonly to: number;
  readonly seed: number;
  /** Number of parallel processes. */
  readonly jobs: number;
  /** Seconds after which a case counts as hanging. */
  readonly seconds: number;
  /** Receives the state of the run from time to time. */
  readonly onProgress?: (summary: Summary) => void;
}

/** A case with a fault. */
export interface Finding extends Fault {
  readonly generator: GeneratorName;
  readonly seed: number;
  readonly number: number;
  readonly label: string;
  /** Size of the case's files. */
  readonly bytes: number;
}

/** Findings that probably have the same cause. */
export interface Group {
  count: number;
  smallest: Finding;
}

export interface Summary {
  /** Number of cases by generator and ending: 'result', the code of the first MbokError, or the kind of a fault. */
  readonly outcomes: Record<string, Record<string, number>>;
  /** Number of cases by note. */
  readonly notes: Record<string, number>;
  readonly groups: Map<string, Group>;
}

/** Limit on the growth of a process in a case. */
const MOST_MEGABYTES = 512;
/** Cases assigned to a process at a time. */
const CASES_AT_A_TIME = 100;
const WATCH_MILLISECONDS = 25;
/** Repetitions of a slow or large case, which must fail every time. */
const RETRIES = 2;
/** Number of faults with the same cause that are repeated; later ones are accepted. */
const MOST_RETRIED = 3;

/** Tries all cases. Throws if a process dies before its first case, or if a case cannot be generated. */
export async function fuzz(options: FuzzOptions): Promise<Summary> {
  const { generators, from, to, seed, jobs, seconds, onProgress } = options;
  const folder = mkdtempSync(join(tmpdir(), 'mbok-fuzz-'));
  const summary: Summary = { outcomes: {}, notes: {}, groups: new Map() };
  const queue: Assignment[] = [];
  for (let start = from; start < to; start += CASES_AT_A_TIME) {
    const end = Math.min(start + CASES_AT_A_TIME, to);
    for (const generator of generators) {
      queue.push({ generator, seed, from: start, to: end, mostMegabytes: MOST_MEGABYTES });
    }
  }
  const record = ({ generator, seed }: Assignment, outcome: Outcome) => {
    const { fault, codes, notes } = outcome;
    summary.outcomes[generator] ??= {};
    count(summary.outcomes[generator], fault?.kind ?? codes[0] ?? 'result');
    for (const note of notes) count(summary.notes, `${generator}: ${note}`);
    if (fault === undefined) return;
    const { number, label, bytes } = outcome;
    const finding: Finding = { ...fault, generator, seed, number, label, bytes };
    const group = summary.groups.get(signature(finding));
    if (group === undefined) summary.groups.set(signature(finding), { count: 1, smallest: finding });
    else {
      group.count++;
      if (bytes < group.smallest.bytes) group.smallest = finding;
    }
  };
  /**
   * Repeats slow and large cases alone, since a busy machine slows them and the garbage of other cases enlarges them.
   */
  const confirmed = async (assignment: Assignment, outcome: Outcome): Promise<Outcome> => {
    const { generator, seed } = assignment;
    let last = outcome;
    for (let tries = 0; tries < RETRIES; tries++) {
      const { fault, number, label, bytes } = last;
      if (fault?.kind !== 'slow' && fault?.kind !== 'memory') break;
      const known = summary.groups.get(signature({ ...fault, generator, seed, number, label, bytes }));
      if (known !== undefined && known.count >= MOST_RETRIED) break;
      const alone = new Worker(seconds, folder);
      await alone.run({ ...assignment, from: number, to: number + 1 }, async (again) => {
        last = again;
      });
      await alone.stop();
    }
    return last;
  };
  const lane = async () => {
    let worker: Worker | undefined;
    for (let assignment = queue.shift(); assignment !== undefined; ) {
      worker ??= new Worker(seconds, folder);
      const current = assignment;
      const next = await worker.run(current, async (outcome) => record(current, await confirmed(current, outcome)));
      onProgress?.(summary);
      assignment = next < current.to ? { ...current, from: next } : queue.shift();
      // the process died, was killed or has grown too large
      if (next < current.to) {
        await worker.stop();
        worker = undefined;
      }
    }
    await worker?.stop();
  };
  try {
    await Promise.all(Array.from({ length: jobs }, lane));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return summary;
}

/** Outcome of a case. */
interface Outcome {
  readonly number: number;
  readonly label: string;
  readonly bytes: number;
  readonly codes: readonly string[];
  readonly notes: readonly string[];
  readonly fault: Fault | undefined;
}

/**
 * Returns a signature that faults of the same cause share. For errors that name their cause, the path to them does not
 * matter.
 */
function signature({ generator, kind, call, what, label }: Finding): string {
  const cause = kind === 'error' || kind === 'message' ? what : `${label} ${what.replace(/\d+/g, 'N')}`;
  return [generator, kind, call, cause].join(' | ');
}

function count(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

/** The current case of a process. */
interface Current {
  readonly number: number;
  readonly label: string;
  readonly bytes: number;
  call: string;
  /** In the time of `performance`. */
  readonly since: number;
  /** Megabytes of the process at the start of the case. */
  readonly rss: number | undefined;
}

/** A process that tries cases. */
class Worker {
  readonly #child: ChildProcess;
  #onReport: (report: Report) => void = () => {};
  readonly #closed: Promise<string>;
  #current: Current | undefined;
  /** Reason why it was killed. */
  #killed: Fault | undefined;
  #errors = '';

  /** `folder` holds the worker's temporary files, which it cannot remove when it is killed. */
  constructor(
    private readonly seconds: number,
    folder: string,
  ) {
    const modules = ['--require', join(__dirname, '../typescript.cjs'), join(__dirname, 'worker.ts')];
    this.#child = spawn(process.execPath, modules, {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ipc'],
      // the threads of one process would compete with the other processes
      env: { ...process.env, MBOK_THREADS: '1', TMPDIR: folder },
    });
    const reports = this.#child.stdio[3] as Socket;
    let received = '';
    reports.setEncoding('utf8').on('data', (text: string) => {
      const lines = (received + text).split('\n');
      received = lines.pop() as string;
      for (const line of lines) this.#onReport(JSON.parse(line) as Report);
    });
    // a pipe that is still writable stays open after its other end is gone
    reports.on('end', () => reports.destroy());
    (this.#child.stderr as Readable).setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-20_000);
    });
    this.#closed = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
  }

  /**
   * Tries cases until all are done or the process has ended.
   *
   * @param onOutcome - receives the outcome of each case
   * @returns the number of the first case that was not tried
   */
  async run(assignment: Assignment, onOutcome: (outcome: Outcome) => Promise<void>): Promise<number> {
    let next = assignment.from;
    let told = Promise.resolve();
    const end = (outcome: Pick<Outcome, 'codes' | 'notes' | 'fault'>) => {
      const { number, label, bytes } = this.#current as Current;
      this.#current = undefined;
      next = number + 1;
      told = told.then(() => onOutcome({ number, label, bytes, ...outcome }));
    };
    const done = new Promise<void>((resolve) => {
      this.#onReport = (report) => {
        if (report.kind === 'case') this.#begin(report);
        else if (report.kind === 'call') (this.#current as Current).call = report.call;
        else if (report.kind === 'end') end(report);
        else resolve();
      };
    });
    const watch = setInterval(() => this.#watch(), WATCH_MILLISECONDS);
    this.#child.send(assignment, () => {});
    const death = await Promise.race([done, this.#closed]);
    clearInterval(watch);
    if (death !== undefined) {
      if (this.#current !== undefined) end({ codes: [], notes: [], fault: this.#killed ?? this.#crash(death) });
      else if (next === assignment.from) throw new Error(`a worker died before its first case: ${this.#errors}`);
    }
    await told;
    return next;
  }

  async stop(): Promise<void> {
    // a process that waits for work has nothing to lose
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  #begin({ number, label, bytes }: Report & { kind: 'case' }): void {
    this.#current = { number, label, bytes, call: '', since: performance.now(), rss: this.#rss() };
  }

  #crash(death: string): Fault {
    const error = /^(?:FATAL ERROR|\w*Error|terminate|.*[Aa]ssert).*$/m.exec(this.#errors)?.[0] ?? '';
    return { kind: 'crash', call: this.#current?.call ?? '', what: `${death} ${error}`.trim().slice(0, 200) };
  }

  #watch(): void {
    const current = this.#current;
    if (current === undefined || this.#killed !== undefined) return;
    const { call, since, rss } = current;
    if (performance.now() - since > this.seconds * 1000) {
      this.#killed = { kind: 'hang', call, what: `did not end in ${this.seconds} s` };
    } else if (rss !== undefined && (this.#rss() ?? 0) - rss > MOST_MEGABYTES) {
      this.#killed = { kind: 'memory', call, what: `grew by over ${MOST_MEGABYTES} MB` };
    }
    if (this.#killed !== undefined) this.#child.kill('SIGKILL');
  }

  /** Returns the megabytes of the process; undefined if unknown. */
  #rss(): number | undefined {
    try {
      const match = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'));
      return match ? Number(match[1]) / 1024 : undefined;
    } catch {
      return undefined;
    }
  }
}
