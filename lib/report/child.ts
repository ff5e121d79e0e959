/** mbok commands as separate processes, so that each has its memory to itself and frees it at its end. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { isJsonObject, type JsonObject } from '../io/json';

const MAIN = join(__dirname, '../cli/main.js');
/** Characters of stderr that are stored. The end matters most. */
const KEPT_CHARACTERS = 4000;

/** Outcome of a command. */
export type Ending = { readonly result: JsonObject } | { readonly error: string };

/**
 * Runs `mbok ARGS --json`. Resolves to the object that it printed, or to its error message. An abort interrupts the
 * process as Ctrl-C does, and throws MBOK_ABORTED once the process has ended.
 */
export async function runMbok(args: readonly string[], signal: AbortSignal): Promise<Ending> {
  const child = spawn(process.execPath, [MAIN, ...args, '--json'], {
    // nothing is sent over the IPC channel: its end tells the child that this process has died
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const interrupt = () => child.kill('SIGINT');
  signal.addEventListener('abort', interrupt);
  let [output, messages] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    messages = (messages + text).slice(-KEPT_CHARACTERS);
  });
  const ending = await new Promise<number | string>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, name) => resolve(code ?? name ?? 'unknown'));
  }).finally(() => signal.removeEventListener('abort', interrupt));
  if (signal.aborted) throw new MbokError('MBOK_ABORTED', 'aborted');
  if (ending !== 0) {
    // warnings may precede the error
    const last = `\n${messages.trim()}`.split('\nmbok: ').at(-1)?.trim();
    return { error: last || `the process ended with ${ending}` };
  }
  const result: unknown = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '');
  if (!isJsonObject(result)) throw new MbokError('MBOK_INTERNAL', `mbok ${args.join(' ')} printed no object`);
  return { result };
}
