/** What a report consists of: commands of mbok, and which of them need the models that others make. */

import { MbokError } from '../base/errors';

/** A command of mbok whose result the report shows; `T` is what it prints with --json. */
export interface PlannedCommand<T = unknown> {
  /** Of its result's file; unique in a plan. */
  readonly name: string;
  /** What follows `mbok`, with the inputs as variables: `$SRC`, `$WORK/…`, `$TEXT`, `$EVAL`, `$TASKS`. */
  readonly args: readonly string[];
  /** Commands whose models it reads. */
  readonly needs: readonly PlannedCommand[];
  /** Whether it writes the model `$WORK/<name>`. */
  readonly makesModel: boolean;
  /** Whether it logs its training to `$WORK/<name>.jsonl`, which is kept with the result. */
  readonly logs: boolean;
  /** For the type alone. */
  readonly gives?: T;
}

/** The command as one would type it, with variables. */
export function commandLine({ args }: PlannedCommand): string {
  return ['mbok', ...args].join(' ');
}

/** All commands that are needed, each once and after those that it needs. Throws MBOK_INTERNAL for two of one name. */
export function completePlan(commands: readonly PlannedCommand[]): readonly PlannedCommand[] {
  const plan = new Map<string, PlannedCommand>();
  const add = (command: PlannedCommand) => {
    const known = plan.get(command.name);
    if (known === undefined) {
      for (const need of command.needs) add(need);
      plan.set(command.name, command);
    } else if (commandLine(known) !== commandLine(command)) {
      throw new MbokError('MBOK_INTERNAL', `the report has two commands of the name '${command.name}'`);
    }
  };
  for (const command of commands) add(command);
  return [...plan.values()];
}
