import { readFileSync } from 'node:fs';

/** What a process has taken since it began. */
export interface Resources {
  readonly seconds: number;
  /** Most bytes that it held in memory at once. */
  readonly peakMemory: number;
}

export function usedResources(): Resources {
  return { seconds: performance.now() / 1000, peakMemory: peakMemory() };
}

function peakMemory(): number {
  try {
    // the kernel's figure for a process, getrusage, begins with the size of the program that started it
    const [, kilobytes] = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // no Linux
  }
  return process.resourceUsage().maxRSS * 1024;
}
