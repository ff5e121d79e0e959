/**
 * Hostile files end in a result or in one error, quickly and in little memory. All are opened in a separate process,
 * since a hang would block the tests. Its limits of CPU time and memory are separate from those of the tests.
 */

import { temporaryFolder } from '../helpers/folders';
import { HOSTILE } from '../helpers/hostile_file_cases';
import { runTypeScript } from '../helpers/run_typescript';

/** Limit of CPU time, since the machine may be busy. Past faults took from 20 seconds to forever. */
const MOST_SECONDS = 30;
const MOST_BYTES = 512e6;

interface Outcome {
  readonly outcome: string;
  readonly seconds: number;
  readonly bytes: number;
}

const { stdout, stderr } = runTypeScript(
  `import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
  import { join } from 'node:path';
  import { usedResources } from './lib/cli/resources';
  import { HOSTILE } from './test/helpers/hostile_file_cases';
  const temporary = ${JSON.stringify(temporaryFolder())};
  /** Peaks count from here, where the system can do that. */
  function forgetPeak(): number {
    global.gc?.();
    try {
      writeFileSync('/proc/self/clear_refs', '5');
    } catch {}
    return usedResources().peakMemory;
  }
  async function main() {
    for (const [i, { make, open }] of HOSTILE.entries()) {
      const folder = join(temporary, String(i));
      mkdirSync(folder);
      const path = make(folder);
      const before = forgetPeak();
      const start = process.cpuUsage();
      const outcome = await open(path).then(() => 'read', (error) => error.name + ' ' + error.code + ': ' + error.message);
      const { user, system } = process.cpuUsage(start);
      const result = { outcome: outcome.slice(0, 5000), seconds: (user + system) / 1e6, bytes: usedResources().peakMemory - before };
      console.log(JSON.stringify(result));
      rmSync(folder, { recursive: true });
    }
  }
  main();`,
  { limits: '-t 400', env: { NODE_OPTIONS: '--expose-gc' } },
);
const outcomes = stdout
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as Outcome);

test.each(HOSTILE.map((one, i) => [one.name, one, i] as const))('%s', (_, { error }, i) => {
  const { outcome, seconds, bytes } = outcomes[i] ?? {
    outcome: `did not end: ${stderr.slice(-500)}`,
    seconds: 0,
    bytes: 0,
  };
  if (error === undefined) expect(outcome).toBe('read');
  else {
    const [, code] = /^MbokError (MBOK_\w+: .*)$/s.exec(outcome) ?? [];
    expect(code ?? outcome).toMatch(error);
    expect(outcome.length).toBeLessThanOrEqual(2100);
  }
  expect({ seconds, ends: seconds < MOST_SECONDS }).toEqual({ seconds, ends: true });
  expect({ bytes, little: bytes < MOST_BYTES }).toEqual({ bytes, little: true });
});
