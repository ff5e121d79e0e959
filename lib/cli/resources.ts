import { readFileSync } from 'node:fs';

/** Resources that a process has used since its start. */
export interface Resources {
  readonly seconds: number;
  /** Peak memory in bytes. */
  readonly peakMemory: number;
}

export function usedResources(): Resources {
  return { seconds: performance.now() / 1000, peakMemory: peakMemory() };
}

function peakMemory(): number {
  try {
    // unlike VmHWM, getrusage starts with the size of the program that launched this one
    const [, kilobytes] = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // not Linux
  }
  return process.resourceUsage().maxRSS * 1024;
}
