/** What the system tells of other processes. */

import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { isSystemError } from './failure';

/** Tells machines apart, and containers of one machine, which number their processes alike. */
export async function machineName(): Promise<string> {
  const processes = await readlink('/proc/self/ns/pid').catch(() => '');
  return `${hostname()} ${processes}`.trim();
}

/** Whether there is a process of this number. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, as somebody else
    return !(isSystemError(error) && error.code === 'ESRCH');
  }
}

/**
 * Tells the process apart from later ones of the same number: the boot and the clock tick in which it started. Undefined
 * where the system does not tell, or the process has ended and waits for its parent to notice.
 */
export async function startOf(pid: number): Promise<string | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    // the second field, the program's name in parentheses, may hold anything: the others are counted from its end
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return `${(await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()} ${fields[19]}`;
  } catch {
    return undefined;
  }
}
