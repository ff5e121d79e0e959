/** Formats of the report's numbers; unknown numbers become a dash. */

export const NOT_KNOWN = '–';

function known(value: number | undefined, write: (value: number) => string): string {
  return value === undefined || !Number.isFinite(value) ? NOT_KNOWN : write(value);
}

export function perplexity(value: number | undefined): string {
  return known(value, (x) => (x < 100 ? x.toFixed(3) : x < 1e6 ? x.toFixed(0) : x.toExponential(1)));
}

export function fixed(value: number | undefined, digits: number): string {
  return known(value, (x) => x.toFixed(digits));
}

/** Formats three significant digits without an exponent. */
export function rate(value: number | undefined): string {
  return known(value, (x) => (x >= 100 ? x.toFixed(0) : x.toPrecision(3)));
}

export function megabytes(bytes: number | undefined): string {
  return known(bytes, (x) => (x / 1e6).toFixed(x < 1e8 ? 2 : 1));
}

export function seconds(value: number | undefined): string {
  return known(value, (x) => (x < 10 ? x.toFixed(1) : x.toFixed(0)));
}

/** Writes a size in bits: "1 bit", "1.5 bits". */
export function bitsText(bits: number): string {
  return bits === 1 ? '1 bit' : `${bits} bits`;
}
