/** Values for which programs are seldom prepared, and changes of JSON and bytes. */

import type { Draw } from './draw';

/** JSON text that is written unchanged: no JavaScript value stands for it, or it is too deep to traverse. */
export class RawJson {
  constructor(readonly text: string) {}
}

export type Json = null | boolean | number | string | RawJson | Json[] | JsonMap;
/** A JSON object as a list of entries, so that keys may repeat or be `__proto__`. */
export class JsonMap {
  constructor(readonly entries: [string, Json][]) {}

  get(key: string): Json | undefined {
    return this.entries.find(([name]) => name === key)?.[1];
  }

  /** Replaces or adds an entry. */
  set(key: string, value: Json): this {
    const entry = this.entries.find(([name]) => name === key);
    if (entry) entry[1] = value;
    else this.entries.push([key, value]);
    return this;
  }
}

/** Converts values of JSON.parse to mutable JSON. */
export function json(value: unknown): Json {
  if (Array.isArray(value)) return value.map(json);
  if (value instanceof RawJson || value instanceof JsonMap) return value;
  if (typeof value === 'object' && value !== null) {
    return new JsonMap(Object.entries(value).map(([key, inner]) => [key, json(inner)]));
  }
  return value as Json;
}

export function jsonMap(value: object): JsonMap {
  return json(value) as JsonMap;
}

export function writeJson(value: Json): string {
  if (value instanceof RawJson) return value.text;
  if (Array.isArray(value)) return `[${value.map(writeJson).join(',')}]`;
  if (value instanceof JsonMap) {
    return `{${value.entries.map(([key, inner]) => `${JSON.stringify(key)}:${writeJson(inner)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

/** Numbers at limits of integers, of floats and of plausible sizes. */
const NUMBERS = [0, 1, -1, 2, 3, 0.5, -0.5, 1.5, 7, 31, 64, 100, 255, 256, 1e3, 65535, 65536, 1e5, 1e6, 2 ** 24].concat(
  [2 ** 30, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 33, 1e9, 1e12, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64],
  [1e100, 1e300, Number.MAX_VALUE, Number.MIN_VALUE, 1e-300, 1e-20, 1e-9, -(2 ** 31), -(2 ** 63), -1e300],
);

export function hostileNumber(draw: Draw): number {
  if (draw.chance(0.2)) return draw.integer(-10, 300);
  if (draw.chance(0.2)) return draw.size(2 ** 40);
  return draw.pick(NUMBERS);
}

/** Names that every JavaScript object inherits. */
export const INHERITED = [
  'constructor',
  '__proto__',
  'prototype',
  'toString',
  'valueOf',
  'hasOwnProperty',
  'isPrototypeOf',
  'toLocaleString',
  '__defineGetter__',
  '__lookupGetter__',
  'length',
  'then',
];

export function hostileString(draw: Draw): string {
  return draw.pick([
    () => draw.pick(INHERITED),
    () => '',
    () =>
      draw.pick([' ', '\n', '\0', '\u2581', '\u0120', '\ud800', '\ufffd', '\ufeff', '\u{1f600}', 'e\u0301', 'ß', 'İ']),
    () => draw.pick(['a', 'b', ' ', '\u2581', '\n', '(', '[', '<', '../', '%s', '{{', 'é']).repeat(draw.size(1e5)),
    () => draw.pick(['../../etc/passwd', '/dev/zero', 'NaN', '1e9', 'true', 'null', '[]', '0x10', '<s>']),
    () => String.fromCharCode(...draw.several(1, 12, () => draw.integer(0, 0xffff))),
  ])();
}

/** Returns an arbitrary value instead of the expected one. */
export function hostileValue(draw: Draw): Json {
  return draw.pick<() => Json>([
    () => hostileNumber(draw),
    () => hostileNumber(draw),
    () => hostileString(draw),
    () => hostileString(draw),
    () => null,
    () => draw.chance(0.5),
    () => [],
    () => new JsonMap([]),
    () => [hostileValue(draw)],
    () => new JsonMap([[hostileString(draw), hostileValue(draw)]]),
    () => draw.several(1, 5, () => hostileNumber(draw)),
    // deep values are refused before anything else, so they are rare
    () => (draw.chance(0.2) ? new RawJson(deep(draw, draw.size(1e5))) : [[[[1]]]]),
    () => new RawJson(`[${many(draw.pick(['0', '1', 'null', '""', '{}', '[]', '"a"']), draw.size(1e5))}]`),
    () =>
      new RawJson(
        draw.pick(['1e999', '-1e999', '-0', 'NaN', 'Infinity', 'undefined', '1e-999', '0.1e1', '01', '""""']),
      ),
    () => jsonMap({ toString: 1, valueOf: null }),
  ])();
}

/** Creates `depth` nested lists or objects. */
function deep(draw: Draw, depth: number): string {
  return draw.chance(0.5) ? '['.repeat(depth) + ']'.repeat(depth) : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
}

function many(item: string, count: number): string {
  return `${`${item},`.repeat(count - 1)}${item}`;
}

/** Changes one to three parts of a value, at any depth. Returns the changed value. */
export function changeJson(draw: Draw, value: Json): Json {
  let changed = value;
  for (let rounds = draw.size(4); rounds > 0; rounds--) changed = changeOnce(draw, changed);
  return changed;
}

function changeOnce(draw: Draw, value: Json): Json {
  const isLeaf = !(Array.isArray(value) || value instanceof JsonMap);
  if (isLeaf || draw.chance(0.03)) return replaced(draw, value);
  if (Array.isArray(value)) return changedList(draw, value);
  return changedMap(draw, value);
}

function replaced(draw: Draw, value: Json): Json {
  if (typeof value === 'number' && draw.chance(0.5)) {
    return draw.pick([-value, value + 1, value - 1, value * 2, value / 2, value * 1000, value * 1e9, value + 0.5, 0]);
  }
  if (typeof value === 'string' && draw.chance(0.3)) {
    return draw.pick([value.repeat(draw.size(1000)), value.slice(1), value.toUpperCase(), ` ${value}`, Number(value)]);
  }
  if (draw.chance(0.2)) return draw.pick<Json>([[value], new JsonMap([['a', value]]), String(value)]);
  return hostileValue(draw);
}

function changedList(draw: Draw, list: Json[]): Json {
  if (list.length === 0) return hostileValue(draw);
  const at = draw.integer(0, list.length - 1);
  const item = list[at] as Json;
  return draw.pick<() => Json>([
    () => list.with(at, changeOnce(draw, item)),
    () => list.with(at, changeOnce(draw, item)),
    () => list.toSpliced(at, 1),
    () => [...list, item],
    () => [...list, hostileValue(draw)],
    () => list.toReversed(),
    () => Array<Json>(draw.size(1000)).fill(item),
  ])();
}

function changedMap(draw: Draw, { entries }: JsonMap): Json {
  if (entries.length === 0) return hostileValue(draw);
  const at = draw.integer(0, entries.length - 1);
  const [key, item] = entries[at] as [string, Json];
  const changed = (entry: [string, Json]) => new JsonMap(entries.with(at, entry));
  const added = (entry: [string, Json]) => new JsonMap([...entries, entry]);
  return draw.pick<() => Json>([
    () => changed([key, changeOnce(draw, item)]),
    () => changed([key, changeOnce(draw, item)]),
    () => changed([key, changeOnce(draw, item)]),
    () => changed([key, changeOnce(draw, item)]),
    () => new JsonMap(entries.toSpliced(at, 1)),
    () => changed([hostileString(draw), item]),
    () => added([key, hostileValue(draw)]),
    () => added([draw.pick(INHERITED), hostileValue(draw)]),
    () => changed([key, (draw.pick(entries) as [string, Json])[1]]),
  ])();
}

/** Changes one to four parts of a text: characters, pieces and numbers. */
export function changeText(draw: Draw, text: string, pieces: readonly string[]): string {
  let changed = text;
  for (let rounds = draw.size(5); rounds > 0; rounds--) {
    const at = draw.integer(0, changed.length);
    const end = Math.min(changed.length, at + draw.size(40));
    const [before, between, after] = [changed.slice(0, at), changed.slice(at, end), changed.slice(end)];
    changed = draw.pick([
      () => before + after,
      () => before + between + between + after,
      () => before + between.repeat(draw.size(2000)) + after,
      () => before + draw.pick(pieces) + between + after,
      () => before + draw.pick(pieces) + after,
      () => before + after + between,
      () => before,
      () => changed.replace(/\d+/, String(hostileNumber(draw))),
    ])();
  }
  return changed;
}

/** Changes one to four parts of some bytes. */
export function changeBytes(draw: Draw, bytes: Uint8Array, end = bytes.length): Uint8Array {
  let changed = Buffer.from(bytes);
  for (let rounds = draw.size(5); rounds > 0; rounds--) {
    const at = draw.integer(0, Math.max(0, Math.min(end, changed.length) - 8));
    const before = changed.subarray(0, at);
    const after = changed.subarray(at);
    changed = draw.pick([
      () => Buffer.concat([before, Buffer.of(draw.integer(0, 255)), after.subarray(1)]),
      () => Buffer.concat([before, Buffer.of(draw.pick([0, 1, 127, 128, 255])), after.subarray(1)]),
      () => Buffer.concat([before, littleEndian(draw), after.subarray(8)]),
      () => Buffer.concat([before, littleEndian(draw).subarray(0, 4), after.subarray(4)]),
      () => before,
      () => Buffer.concat([before, after.subarray(draw.size(64))]),
      () => Buffer.concat([before, after.subarray(0, draw.size(64)), after]),
    ])();
  }
  return changed;
}

/** Encodes a number at a limit in 64 bits. */
function littleEndian(draw: Draw): Buffer {
  const bytes = Buffer.alloc(8);
  const number = hostileNumber(draw);
  bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(Math.trunc(Number.isFinite(number) ? number : 0))));
  return bytes;
}
