/** Plan of a report: mbok commands, and their dependencies on models that other commands write. */

import { MbokError } from '../base/errors';

/** A command of mbok whose result the report shows; `T` is what it prints with --json. */
export interface PlannedCommand<T = unknown> {
  /** Name of its result file; unique in a plan. */
  readonly name: string;
  /** Arguments of `mbok`, with the inputs as variables: `$SRC`, `$WORK/…`, `$TEXT`, `$EVAL`, `$TASKS`. */
  readonly args: readonly string[];
  /** Commands that write the models which this one reads. */
  readonly needs: readonly PlannedCommand[];
  /** Whether it writes the model `$WORK/<name>`. */
  readonly makesModel: boolean;
  /** Whether it logs its training to `$WORK/<name>.jsonl`, which is stored with the result. */
  readonly logs: boolean;
  /** Only for type inference. */
  readonly gives?: T;
}

/** Formats the command as a user would type it, with variables. */
export function commandLine({ args }: PlannedCommand): string {
  return ['mbok', ...args].join(' ');
}

/**
 * Returns all required commands, each once and after its dependencies. Throws MBOK_INTERNAL if two commands share a
 * name.
 */
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
