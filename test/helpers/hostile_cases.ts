/** Hostile cases, run in a separate process that may hang or die. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTypeScript } from './run_typescript';

/** Outcome of a case. */
export interface Outcome {
  /** Its result as text; or the code and message of an error. */
  readonly result?: string;
  readonly code?: string;
  readonly message?: string;
  /** Milliseconds of processor time. */
  readonly time: number;
  /** Bytes by which the process grew. */
  readonly growth: number;
}

/**
 * Limit in milliseconds of processor time, beyond which a call counts as endless. Interrupted calls take up to 300 ms
 * on a fast machine, and start again on a busy one. `npm run test:fuzz` measures that, no test does.
 */
export const MOST_TIME = 30_000;
/** Limit on the growth of the process in a call, in bytes. */
export const MOST_GROWTH = 512 << 20;

/**
 * Runs cases in order.
 *
 * @param folder - folder for the cases
 * @param imports - TypeScript: imports of `work` from the repository
 * @param work - TypeScript: body of a function of `input` that returns a text
 * @param inputs - JSON values, one per case
 * @returns outcomes by case; a case that hangs or ends the process has none, and neither have those after it
 */
export function runCases(
  folder: string,
  { imports, work }: { imports: string; work: string },
  inputs: readonly unknown[],
): Outcome[] {
  const file = join(folder, 'cases.json');
  writeFileSync(file, JSON.stringify(inputs));
  const { stdout, stderr } = runTypeScript(
    `${imports}
    import { readFileSync } from 'node:fs';
    const work = (input: unknown): string => { ${work} };
    const resident = () => process.resourceUsage().maxRSS * 1024;
    for (const input of JSON.parse(readFileSync(${JSON.stringify(file)}, 'utf8'))) {
      const [size, since] = [resident(), process.cpuUsage()];
      let outcome = {};
      try {
        outcome = { result: work(input) };
      } catch (error) {
        outcome = { code: error.name === 'MbokError' ? error.code : error.name, message: error.message };
      }
      const { user, system } = process.cpuUsage(since);
      console.log(JSON.stringify({ ...outcome, time: (user + system) / 1000, growth: resident() - size }));
    }`,
    { seconds: 270 },
  );
  const outcomes = stdout.split('\n').filter((line) => line.startsWith('{'));
  if (outcomes.length < inputs.length) console.error(`case ${outcomes.length} did not end: ${stderr.slice(0, 1000)}`);
  return outcomes.map((line) => JSON.parse(line) as Outcome);
}
