/** Spreads cases over processes, watches these and sums up what they find. */

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
  /** Processes at a time. */
  readonly jobs: number;
  /** A case that takes longer hangs. */
  readonly seconds: number;
  /** Told now and then how things stand. */
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

/** Findings that probably have one cause. */
export interface Group {
  count: number;
  smallest: Finding;
}

export interface Summary {
  /** How many cases ended how, by generator: 'result', the code of the first MbokError, or the kind of a fault. */
  readonly outcomes: Record<string, Record<string, number>>;
  /** How many cases had what is worth counting. */
  readonly notes: Record<string, number>;
  readonly groups: Map<string, Group>;
}

/** A case may make its process grow by this much. */
const MOST_MEGABYTES = 512;
/** Cases that a process is given at a time. */
const CASES_AT_A_TIME = 100;
const WATCH_MILLISECONDS = 25;
/** What is slow or large must be so every time. */
const RETRIES = 2;
/** So many faults of one cause are tried again; those after them are believed. */
const MOST_RETRIED = 3;

/** Tries all cases. Throws where a process dies before its first case or a case cannot be made. */
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
  /** A machine that is busy makes cases slow, and the garbage of others makes them large: such faults are tried again alone. */
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
      // it died, was killed or has grown too large
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

/** How one case ended. */
interface Outcome {
  readonly number: number;
  readonly label: string;
  readonly bytes: number;
  readonly codes: readonly string[];
  readonly notes: readonly string[];
  readonly fault: Fault | undefined;
}

/** What the faults of one cause have in common. Where an error says what it is, it does not matter how it was reached. */
function signature({ generator, kind, call, what, label }: Finding): string {
  const cause = kind === 'error' || kind === 'message' ? what : `${label} ${what.replace(/\d+/g, 'N')}`;
  return [generator, kind, call, cause].join(' | ');
}

function count(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

/** The case that a process is at. */
interface Current {
  readonly number: number;
  readonly label: string;
  readonly bytes: number;
  call: string;
  /** On the clock of `performance`. */
  readonly since: number;
  /** Megabytes of the process at its beginning. */
  readonly rss: number | undefined;
}

/** One process that tries cases. */
class Worker {
  readonly #child: ChildProcess;
  #onReport: (report: Report) => void = () => {};
  readonly #closed: Promise<string>;
  #current: Current | undefined;
  /** Why it was killed. */
  #killed: Fault | undefined;
  #errors = '';

  /** `folder`: for the worker's temporary files, which it has no time to remove when it is killed. */
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
    // a pipe that could be written to stays open after its other end is gone
    reports.on('end', () => reports.destroy());
    (this.#child.stderr as Readable).setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-20_000);
    });
    this.#closed = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
  }

  /**
   * Tries cases until all are done or the process is.
   *
   * @param onOutcome - told of each case
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
    // a process that is waiting for work has nothing to lose
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

  /** Megabytes of the process; undefined where that cannot be told. */
  #rss(): number | undefined {
    try {
      const match = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'));
      return match ? Number(match[1]) / 1024 : undefined;
    } catch {
      return undefined;
    }
  }
}
