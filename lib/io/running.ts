/** What the operating system tells about other processes. */

import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { isSystemError } from './failure';

/**
 * Returns a name that differs between machines, and between containers of one machine, whose process numbers overlap.
 */
export async function machineName(): Promise<string> {
  const processes = await readlink('/proc/self/ns/pid').catch(() => '');
  return `${hostname()} ${processes}`.trim();
}

/** Tells whether a process with this number exists. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: the process exists and belongs to another user
    return !(isSystemError(error) && error.code === 'ESRCH');
  }
}

/**
 * Returns the boot and the clock tick in which a process started, which distinguishes it from later processes of the
 * same number. Returns undefined if the system does not tell, or if the process is a zombie.
 */
export async function startOf(pid: number): Promise<string | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    // the second field, the program's name in parentheses, may hold anything: count the others from its end
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return `${(await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()} ${fields[19]}`;
  } catch {
    return undefined;
  }
}
