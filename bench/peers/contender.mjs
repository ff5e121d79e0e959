/**
 * Contenders: programs that each measure one thing in a separate process. A crash of a peer then ends no other run, and
 * each has its threads to itself. A contender prepares, reports that it is ready, and measures once per line that it
 * receives. It answers in lines of JSON; serve.mjs and torch/step.py are the other end.
 */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { median } from '../measure.mjs';

const STDERR_KEPT = 4000;

class Contender {
  #child;
  #answers;
  #stderr = '';

  /** Starts the program with `settings` as JSON in its last argument. */
  constructor({ command = process.execPath, args, settings }) {
    this.#child = spawn(command, [...args, JSON.stringify(settings)], { stdio: 'pipe' });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    this.#child.stdin.on('error', () => {}); // the end of the process is seen where its answer is missing
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => {
      this.#child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
      this.#child.on('error', (error) => resolve(error.message));
    });
  }

  /** Returns the program's next answer. Throws its error. */
  async answer() {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`${await this.ended}: ${this.#stderr.trim().split('\n').at(-1)}`);
    const answer = JSON.parse(value);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  measure() {
    this.#child.stdin.write('measure\n');
    return this.answer();
  }

  async stop() {
    this.#child.stdin.end();
    await this.ended;
  }
}

/**
 * Starts all contenders, then measures in rounds in which each has a turn, so that disturbances of the machine affect
 * all alike.
 *
 * @param entries - { name, command, args, settings, … }; or { name, error } if preparation failed
 * @returns the entries with `info`, the contender's description; `figures`, medians over the rounds by name; `runs`,
 * all measurements; or `error`
 */
export async function race(entries, { rounds, say }) {
  const field = [];
  for (const entry of entries) {
    const runner = { ...entry, runs: [] };
    field.push(runner);
    if (runner.error !== undefined) continue;
    runner.contender = new Contender(entry);
    await attempt(runner, async () => {
      runner.info = await runner.contender.answer();
    });
  }
  for (let round = 1; round <= rounds; round++) {
    for (const runner of field) {
      if (runner.error !== undefined) continue;
      say(`round ${round} of ${rounds}: ${runner.name}`);
      await attempt(runner, async () => runner.runs.push(await runner.contender.measure()));
    }
  }
  for (const { contender } of field) await contender?.stop();
  return field.map(({ contender, command, args, ...result }) => ({ ...result, figures: medians(result.runs) }));
}

async function attempt(runner, work) {
  try {
    await work();
  } catch (error) {
    runner.error = error.message;
  }
}

function medians(runs) {
  return Object.fromEntries(Object.keys(runs[0] ?? {}).map((name) => [name, median(runs.map((run) => run[name]))]));
}
