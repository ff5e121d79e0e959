/**
 * A process that tries cases in order and reports the start and end of each. It may hang, run out of memory or die at
 * any moment. So everything about a case is reported before it starts, without the event loop.
 */

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Draw } from './draw';
import { GENERATORS } from './generators';
import type { Assignment, Report } from './protocol';
import { Trial } from './trial';

/** Pipe to the parent. */
const REPORTS = 3;
/** Prototypes of built-in objects that a key from a file could modify. */
const PROTOTYPES = [Object, Array, String, Function, Map].map((type) => type.prototype as object);
/** A process that stays larger than this ends early, so that its size does not hide the growth of a case. */
const LARGEST_IDLE_MEGABYTES = 700;
const megabytes = () => process.memoryUsage.rss() / 2 ** 20;
const countProperties = () => PROTOTYPES.reduce((sum, type) => sum + Object.getOwnPropertyNames(type).length, 0);

function tell(report: Report): void {
  writeSync(REPORTS, `${JSON.stringify(report)}\n`);
}

/** Resets the peak of the resident memory (proc(5): clear_refs). */
function forgetPeak(): void {
  const file = openSync('/proc/self/clear_refs', 'w');
  writeSync(file, '5');
  closeSync(file);
}

/** Returns the peak in megabytes. */
function readPeak(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
}

async function tryCase({ generator, seed, mostMegabytes }: Assignment, number: number): Promise<void> {
  const { label, files, try: run } = GENERATORS[generator].make(new Draw(seed, number));
  const bytes = Object.values(files).reduce((sum, content) => sum + content.length, 0);
  tell({ kind: 'case', number, label, bytes });
  const properties = countProperties();
  forgetPeak();
  const start = megabytes();
  const trial = new Trial((call) => tell({ kind: 'call', call }));
  await run(trial);
  const growth = readPeak() - start;
  const { codes, notes } = trial;
  let { fault } = trial;
  if (growth > mostMegabytes) fault ??= { kind: 'memory', call: '', what: `grew by over ${mostMegabytes} MB` };
  if (countProperties() !== properties) fault = { kind: 'polluted', call: '', what: 'built-in objects have changed' };
  tell({ kind: 'end', codes, notes, fault });
  // the process can no longer be trusted
  if (fault?.kind === 'polluted') process.exit();
}

process.on('message', async (assignment: Assignment) => {
  for (let number = assignment.from; number < assignment.to; number++) {
    await tryCase(assignment, number);
    if (megabytes() > LARGEST_IDLE_MEGABYTES) break;
  }
  tell({ kind: 'done' });
});
// the runner has ended
process.on('disconnect', () => process.exit());
