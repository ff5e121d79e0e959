/** The contender's end of contender.mjs. */

import { createInterface } from 'node:readline';

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

/**
 * Serves measurements. `prepare` resolves to `info` about the contender and to `measure`, which resolves to figures by
 * name.
 */
export async function serve(prepare) {
  try {
    const { info, measure } = await prepare(JSON.parse(process.argv.at(-1)));
    say(info);
    for await (const _ of createInterface({ input: process.stdin })) say(await measure());
  } catch (error) {
    say({ error: error.message });
  }
  process.exit(); // peers may hold handles that keep a process alive
}

/** Returns the seconds that `work` takes. */
export async function secondsOf(work) {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
