import { UsageError } from './command';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Parses a size such as 8GB, 512 MiB or a plain number of bytes. Throws UsageError. */
export function readBytes(name: string, text: string): number {
  const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  const factor = unit === undefined ? undefined : UNITS[unit.toUpperCase()];
  if (number === undefined || factor === undefined) {
    throw new UsageError(`--${name} takes a size such as 8GB or 512MiB, got '${text}'`);
  }
  return Number(number) * factor;
}
