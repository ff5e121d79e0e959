import { MbokError } from './errors';

/** Longest displayed value, in characters. */
const LONGEST_SHOWN = 80;
/** Nesting depth up to which lists and objects are displayed. */
const DEEPEST_SHOWN = 4;

/**
 * Formats an offending value for a message: short, and quoted if it is a string. It never throws. Of a long, wide or
 * deep value it reads only what it displays.
 */
export function show(value: unknown): string {
  try {
    const text = write(value, DEEPEST_SHOWN);
    return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
  } catch {
    // a getter or a proxy of the caller threw
    return 'a value that cannot be read';
  }
}

function write(value: unknown, depth: number): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, LONGEST_SHOWN));
  if (typeof value === 'bigint') return value >= -(2n ** 64n) && value <= 2n ** 64n ? `${value}n` : 'a huge integer';
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : String(value);
  if (ArrayBuffer.isView(value)) return `${className(value)} of ${value.byteLength} bytes`;
  if (Array.isArray(value)) return depth === 0 ? '[…]' : `[${writeItems(value, (item) => write(item, depth - 1))}]`;
  if (!isPlain(value)) return `an object of class ${className(value)}`;
  const member = (key: string) =>
    `${JSON.stringify(key)}: ${write((value as Record<string, unknown>)[key], depth - 1)}`;
  return depth === 0 ? '{…}' : `{${writeItems(Object.keys(value), member)}}`;
}

/** Joins the items with commas, and stops after the longest displayed length. */
function writeItems<T>(items: readonly T[], writeItem: (item: T) => string): string {
  let text = '';
  for (let i = 0; i < items.length && text.length <= LONGEST_SHOWN; i++) {
    text += `${i > 0 ? ', ' : ''}${writeItem(items[i] as T)}`;
  }
  return text;
}

/** Tells whether `value` is an object like those of JSON.parse. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function className(value: object): string {
  const name: unknown = (Object.getPrototypeOf(value) as { constructor?: { name?: unknown } } | null)?.constructor
    ?.name;
  return typeof name === 'string' && name !== '' ? name : 'Object';
}

/** Throws MBOK_INVALID_ARGUMENT: `'name' must be WANTED, got VALUE`. */
export function invalid(name: string, wanted: string, value: unknown): never {
  throw new MbokError('MBOK_INVALID_ARGUMENT', `'${name}' must be ${wanted}, got ${show(value)}`);
}

/** Returns `value` if it is an integer in [minimum, maximum], else throws MBOK_INVALID_ARGUMENT. */
export function integerInRange(
  name: string,
  value: unknown,
  minimum = Number.MIN_SAFE_INTEGER,
  maximum = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum && value <= maximum) return value;
  return invalid(name, `an integer${range(minimum, maximum)}`, value);
}

function range(minimum: number, maximum: number): string {
  const below = minimum > Number.MIN_SAFE_INTEGER;
  const above = maximum < Number.MAX_SAFE_INTEGER;
  if (below && above) return ` from ${minimum} to ${maximum}`;
  if (below) return ` of at least ${minimum}`;
  return above ? ` of at most ${maximum}` : '';
}

/** Returns `value` if it is a finite number in [minimum, maximum], else throws MBOK_INVALID_ARGUMENT. */
export function finiteNumber(name: string, value: unknown, minimum = -Infinity, maximum = Infinity): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= minimum && value <= maximum) return value;
  let wanted = 'a finite number';
  // a minimum of the smallest positive number means "positive"
  if (minimum === Number.MIN_VALUE) wanted += ` above 0${maximum < Infinity ? ` and of at most ${maximum}` : ''}`;
  else if (minimum > -Infinity && maximum < Infinity) wanted += ` from ${minimum} to ${maximum}`;
  else if (minimum > -Infinity) wanted += ` of at least ${minimum}`;
  else if (maximum < Infinity) wanted += ` of at most ${maximum}`;
  return invalid(name, wanted, value);
}

/** Returns `value` if it is one of `choices`, else throws MBOK_INVALID_ARGUMENT. */
export function oneOf<T extends string | number>(name: string, value: unknown, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  return found ?? invalid(name, `one of ${choices.map((choice) => show(choice)).join(', ')}`, value);
}

/** Returns `value` if it is a string (not empty, unless `allowEmpty`), else throws MBOK_INVALID_ARGUMENT. */
export function string(name: string, value: unknown, options: { allowEmpty?: boolean } = {}): string {
  if (typeof value === 'string' && (value !== '' || options.allowEmpty)) return value;
  return invalid(name, options.allowEmpty ? 'a string' : 'a string that is not empty', value);
}

/** Returns `value` if it is true or false, else throws MBOK_INVALID_ARGUMENT. */
export function boolean(name: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : invalid(name, 'true or false', value);
}

/**
 * Returns `value` if it is an array or typed array of integers in [minimum, maximum]. Otherwise throws
 * MBOK_INVALID_ARGUMENT, naming the first other element.
 */
export function integers(
  name: string,
  value: unknown,
  minimum = Number.MIN_SAFE_INTEGER,
  maximum = Number.MAX_SAFE_INTEGER,
): ArrayLike<number> {
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isList) return invalid(name, 'an array of integers', value);
  const list = value as ArrayLike<number>;
  for (let i = 0; i < list.length; i++) integerInRange(`${name}[${i}]`, list[i], minimum, maximum);
  return list;
}

/** Returns `value` if it is an object, else throws MBOK_INVALID_ARGUMENT. */
export function object<T extends object>(name: string, value: T): T {
  return typeof value === 'object' && value !== null ? value : invalid(name, 'an object', value);
}

/**
 * Checks an options object. Unknown keys are errors, since they usually are misspellings. `signal` must be an
 * AbortSignal, and every onX a function, if present.
 *
 * @returns the options; an empty object for undefined
 */
export function options<T extends object>(name: string, value: T | undefined, keys: readonly (keyof T & string)[]): T {
  if (value === undefined) return {} as T;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return invalid(name, 'an object', value);
  for (const [key, option] of Object.entries(value)) {
    if (!(keys as readonly string[]).includes(key))
      throw new MbokError('MBOK_INVALID_ARGUMENT', `'${name}' has no option '${key}'; it has ${keys.join(', ')}`);
    if (key === 'signal') expectSignal(option);
    if (/^on[A-Z]/.test(key) && option !== undefined && typeof option !== 'function')
      invalid(key, 'a function', option);
  }
  return value;
}

/** Creates the error of a call that `signal` has stopped. The signal's reason is the cause. */
export function abortedError(signal: AbortSignal): MbokError {
  return new MbokError('MBOK_ABORTED', 'aborted by the signal', { cause: signal.reason });
}

/** Throws MBOK_INVALID_ARGUMENT unless `signal` is an AbortSignal, of any realm, or undefined. */
function expectSignal(signal: unknown): void {
  if (signal === undefined) return;
  const { aborted, addEventListener } = object('signal', signal as Partial<AbortSignal>);
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function')
    invalid('signal', 'an AbortSignal', signal);
}

/** Throws MBOK_ABORTED if `signal` has fired, MBOK_INVALID_ARGUMENT if it is not an AbortSignal. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  expectSignal(signal);
  if (signal?.aborted) throw abortedError(signal);
}
