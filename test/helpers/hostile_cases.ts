/** Cases of hostile files, run in a process of their own that may hang or die. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTypeScript } from './run_typescript';

/** How a case went. */
export interface Outcome {
  /** What it gave, as text; or the code of an error, and its message. */
  readonly result?: string;
  readonly code?: string;
  readonly message?: string;
  /** Milliseconds of processor time. */
  readonly time: number;
  /** Bytes by which the process grew. */
  readonly growth: number;
}

/**
 * Milliseconds of processor time after which a call counts as one that does not end. Calls that are interrupted take up to
 * 300 on a fast machine, and start again on a busy one: `npm run test:fuzz` measures that, no test does.
 */
export const MOST_TIME = 30_000;
/** Bytes by which a call may let the process grow. */
export const MOST_GROWTH = 512 << 20;

/**
 * Runs cases one after the other.
 *
 * @param folder - for the cases
 * @param imports - TypeScript: what `work` needs of the repository
 * @param work - TypeScript: the body of a function of `input` that returns a text
 * @param inputs - what JSON can write, by case
 * @returns outcomes by case; a case that hangs or ends the process has none, nor have those after it
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
