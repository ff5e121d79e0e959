#!/usr/bin/env node
import { MbokError } from '../base/errors';
import { version } from '../base/version';
import { ioFailure } from '../io/failure';
import { baselineCommand } from './baseline';
import { binarizeCommand } from './binarize';
import { lsCommand, rmCommand } from './cached';
import { chatCommand } from './chat';
import { type Command, describeCommand, isAbort, parseCall, UsageError } from './command';
import { demoCommand } from './demo';
import { perplexityCommand } from './eval';
import { speedCommand } from './eval_speed';
import { tasksCommand } from './eval_tasks';
import { exportCommand } from './export';
import { finetuneCommand } from './finetune';
import { generateCommand } from './generate';
import { infoCommand } from './info';
import { inspectCommand } from './inspect';
import { pullCommand } from './pull';
import { pushCommand } from './push';
import { reportCommand } from './report';
import { usedResources } from './resources';
import { serveCommand } from './serve';
import { say } from './terminal';

const COMMANDS: readonly Command[] = [
  binarizeCommand,
  finetuneCommand,
  perplexityCommand,
  tasksCommand,
  speedCommand,
  generateCommand,
  chatCommand,
  serveCommand,
  inspectCommand,
  pullCommand,
  lsCommand,
  rmCommand,
  pushCommand,
  exportCommand,
  baselineCommand,
  reportCommand,
  infoCommand,
  demoCommand,
];

const EXIT = { success: 0, failure: 1, usage: 2, interrupted: 130 } as const;

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  return [
    'mbok COMMAND [arguments]    Boolean large language models',
    '',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    'mbok COMMAND --help explains a command, mbok --version prints the version, and mbok demo shows everything.',
    'Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.',
  ].join('\n');
}

/** Finds the command at the start of the arguments. Throws UsageError. */
function findCommand(args: readonly string[]): { command: Command; rest: readonly string[] } {
  for (const command of COMMANDS) {
    const words = command.name.split(' ');
    if (words.every((word, i) => args[i] === word)) return { command, rest: args.slice(words.length) };
  }
  const alike = COMMANDS.filter(({ name }) => name.split(' ')[0] === args[0]).map(({ name }) => `'mbok ${name}'`);
  const hint = alike.length > 0 ? `; did you mean ${alike.join(' or ')}?` : '; mbok --help lists the commands';
  throw new UsageError(`there is no command '${args.slice(0, 2).join(' ')}'${hint}`);
}

async function main(args: readonly string[]): Promise<number> {
  if (args.length === 0) {
    say(overview());
    return EXIT.usage;
  }
  if (['--help', '-h', 'help'].includes(args[0] as string)) {
    console.log(overview());
    return EXIT.success;
  }
  if (args[0] === '--version') {
    console.log(version());
    return EXIT.success;
  }
  const { command, rest } = findCommand(args);
  const controller = interruption();
  try {
    const call = parseCall(command, rest, controller.signal);
    if (call.flag('help')) {
      console.log(describeCommand(command));
      return EXIT.success;
    }
    const { json, lines } = await command.run(call);
    if (call.flag('json')) console.log(JSON.stringify({ ...json, resources: usedResources() }));
    else for (const line of lines) console.log(line);
    return EXIT.success;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${error.message}\nmbok ${command.name} --help explains the command`);
  }
}

/**
 * Milliseconds in which two signals count as one. npm and npx forward a Ctrl-C that the terminal has already sent to
 * their child.
 */
const SAME_INTERRUPTION = 500;

/**
 * Returns the controller of the command's signal. The first Ctrl-C or a closed terminal stops the command cleanly; a
 * later one ends the process at once.
 */
function interruption(): AbortController {
  const controller = new AbortController();
  let first = 0;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!controller.signal.aborted) first = performance.now();
      else if (performance.now() - first > SAME_INTERRUPTION) process.exit(EXIT.interrupted);
      controller.abort(new Error(signal));
    });
  }
  // a command started by a report must not outlive it: the resumed report would start it a second time
  if (process.connected) {
    process.once('disconnect', () => controller.abort(new Error('disconnect')));
    process.channel?.unref();
  }
  return controller;
}

function exitCode(error: unknown): number {
  if (isAbort(error)) {
    say('mbok: interrupted');
    return EXIT.interrupted;
  }
  if (error instanceof UsageError) {
    say(`mbok: ${error.message}`);
    return EXIT.usage;
  }
  if (error instanceof MbokError) say(`mbok: ${error.message} (${error.code})`);
  else say(`mbok: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return EXIT.failure;
}

for (const [name, stream] of [
  ['stdout', process.stdout],
  ['stderr', process.stderr],
] as const) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // the reader has seen enough, as in `mbok inspect MODEL | head`
    if (error.code === 'EPIPE') process.exit(EXIT.success);
    if (stream === process.stdout) say(`mbok: ${(ioFailure('write', name, error) as Error).message} (MBOK_IO)`);
    process.exit(EXIT.failure);
  });
}

// Node's default handler also prints how to trace a warning
process.removeAllListeners('warning');
process.on('warning', ({ name, message }) => say(`mbok: ${name === 'MbokWarning' ? 'warning' : name}: ${message}`));

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.exitCode = exitCode(error);
  },
);
