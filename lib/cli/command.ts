/** Commands: their options are data, from which parsing and help are derived. */

import { parseArgs } from 'node:util';
import { MbokError } from '../base/errors';

/** A mistake in the call of a command; the process ends with code 2. */
export class UsageError extends Error {}

interface OptionBase {
  readonly help: string;
  /** Default, as the help shows it. */
  readonly byDefault?: string;
}

export type OptionSpecification = OptionBase &
  (
    | { readonly kind: 'flag' }
    /** `many`: may be repeated. */
    | { readonly kind: 'text'; readonly value: string; readonly many?: boolean }
    | { readonly kind: 'choice'; readonly choices: readonly string[] }
    | {
        readonly kind: 'integer' | 'number';
        readonly value: string;
        readonly minimum?: number;
        readonly maximum?: number;
      }
  );

/** Options by their names on the command line, without dashes. */
export type OptionTable = Readonly<Record<string, OptionSpecification>>;

/** Result of a command: an object for `--json` (seconds and memory are added), and the same for people as lines. */
export interface Outcome {
  readonly json: Readonly<Record<string, unknown>>;
  readonly lines: readonly string[];
}

export interface Command {
  /** Words of the command, e.g. 'eval perplexity'. */
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Positional arguments as the help shows them, e.g. ['SRC', 'OUT']. A last 'MODEL...' may be repeated. */
  readonly operands: readonly string[];
  readonly options: OptionTable;
  /** Explanation of the command. */
  readonly help: string;
  readonly examples: readonly string[];
  run(call: CommandCall): Promise<Outcome>;
}

/** Checked arguments of a command. */
export class CommandCall {
  constructor(
    readonly operands: readonly string[],
    private readonly values: Readonly<Record<string, unknown>>,
    /** Fires when the user interrupts the command. */
    readonly signal: AbortSignal,
  ) {}

  /** Returns the i-th positional argument. */
  operand(i: number): string {
    return this.operands[i] as string;
  }

  has(name: string): boolean {
    return this.values[name] !== undefined;
  }

  flag(name: string): boolean {
    return this.values[name] === true;
  }

  text(name: string): string | undefined {
    return this.values[name] as string | undefined;
  }

  texts(name: string): readonly string[] {
    return (this.values[name] as readonly string[] | undefined) ?? [];
  }

  number(name: string): number | undefined {
    return this.values[name] as number | undefined;
  }

  /** Returns a required option. Throws UsageError if it is missing. */
  required(name: string): string {
    return this.text(name) ?? missing(name);
  }

  requiredNumber(name: string): number {
    return this.number(name) ?? missing(name);
  }
}

function missing(name: string): never {
  throw new UsageError(`option --${name} is needed`);
}

/** Options of every command. */
const COMMON: OptionTable = {
  json: { kind: 'flag', help: 'print the result as one JSON object on the last line' },
  help: { kind: 'flag', help: 'show this help' },
};

/** Parses the arguments after the command's name. Throws UsageError. */
export function parseCall(command: Command, args: readonly string[], signal: AbortSignal): CommandCall {
  const table = { ...command.options, ...COMMON };
  const config = Object.fromEntries(
    Object.entries(table).map(([name, option]) => [
      name,
      {
        type: option.kind === 'flag' ? ('boolean' as const) : ('string' as const),
        multiple: option.kind === 'text' && option.many === true,
        ...(option === COMMON.help && { short: 'h' }),
      },
    ]),
  );
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...joinNegativeNumbers(args, table)], options: config, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ')[0]);
  }
  const { values, positionals } = parsed;
  const checked = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, checkValue(name, table[name] as OptionSpecification, value)]),
  );
  const more = command.operands.at(-1)?.endsWith('...') === true;
  const fits = positionals.length === command.operands.length || (more && positionals.length > command.operands.length);
  if (checked.help !== true && !fits) {
    const wanted = command.operands.length === 0 ? 'no arguments' : command.operands.join(' ');
    throw new UsageError(`expected ${wanted}, got ${positionals.length === 0 ? 'nothing' : positionals.join(' ')}`);
  }
  return new CommandCall(positionals, checked, signal);
}

/** Joins a negative number to its option: `--lr -1` is an invalid number, not an option without a value. */
function joinNegativeNumbers(args: readonly string[], table: OptionTable): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const option = table[joined.at(-1)?.replace(/^--/, '') ?? ''];
    if (option !== undefined && option.kind !== 'flag' && /^-[\d.]/.test(arg)) joined.push(`${joined.pop()}=${arg}`);
    else joined.push(arg);
  }
  return joined;
}

function checkValue(name: string, option: OptionSpecification, value: unknown): unknown {
  if (option.kind === 'flag' || option.kind === 'text') return value;
  const text = String(value);
  if (option.kind === 'choice') {
    if (option.choices.includes(text)) return text;
    throw new UsageError(`--${name} must be one of ${option.choices.join(', ')}, got '${text}'`);
  }
  const { kind, minimum = -Infinity, maximum = Infinity } = option;
  const parsed = text.trim() === '' ? Number.NaN : Number(text);
  const fits = kind === 'integer' ? Number.isSafeInteger(parsed) : Number.isFinite(parsed);
  if (fits && parsed >= minimum && parsed <= maximum) return parsed;
  const what = kind === 'integer' ? 'a whole number' : 'a number';
  throw new UsageError(`--${name} must be ${what}${range(minimum, maximum)}, got '${text}'`);
}

function range(minimum: number, maximum: number): string {
  if (minimum > -Infinity && maximum < Infinity) return ` from ${minimum} to ${maximum}`;
  if (minimum > -Infinity) return ` of at least ${minimum}`;
  return maximum < Infinity ? ` of at most ${maximum}` : '';
}

/** Formats the text of `mbok COMMAND --help`. */
export function describeCommand({ name, operands, options, help, examples, summary }: Command): string {
  const rows = Object.entries({ ...options, ...COMMON }).map(([option, specification]) => [
    `--${option}${placeholder(specification)}`,
    specification.byDefault === undefined
      ? specification.help
      : `${specification.help} (default: ${specification.byDefault})`,
  ]);
  const width = Math.max(...rows.map(([left = '']) => left.length));
  return [
    `mbok ${[name, ...operands, '[options]'].join(' ')}`,
    '',
    summary,
    '',
    help,
    '',
    'Options:',
    ...rows.map(([left = '', right = '']) => `  ${left.padEnd(width)}  ${right}`),
    '',
    'Examples:',
    ...examples.map((example) => `  ${example}`),
  ].join('\n');
}

function placeholder(option: OptionSpecification): string {
  if (option.kind === 'flag') return '';
  return ` ${option.kind === 'choice' ? option.choices.join('|') : option.value}`;
}

/** Removes undefined options, as the library's options objects require. */
export function given<T extends object>(options: T): { [Key in keyof T]: Exclude<T[Key], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof T]: Exclude<T[Key], undefined> };
}

/** Parses a comma-separated list of choices. Throws UsageError. */
export function choiceList<T extends string>(
  name: string,
  text: string | undefined,
  choices: readonly T[],
): T[] | undefined {
  if (text === undefined) return undefined;
  const parts = text.split(',').filter((part) => part !== '');
  for (const part of parts) {
    if (!choices.some((choice) => choice === part)) {
      throw new UsageError(`--${name} must be a list of ${choices.join(', ')}, got '${part}'`);
    }
  }
  return parts as T[];
}

/** Tells whether an error comes from the user's interruption. */
export function isAbort(error: unknown): boolean {
  return error instanceof MbokError && error.code === 'MBOK_ABORTED';
}
