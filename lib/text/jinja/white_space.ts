/** White space of Python's `str`, which differs from both JavaScript's and Unicode's. */

/** White space, for a class of a regular expression. */
export const WHITE_SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

/** Line breaks of `splitlines`, for a class of a regular expression. */
export const LINE_BREAKS = '\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029';

const SPACES = new RegExp(`^[${WHITE_SPACE}]$`);

export function isSpace(character: string): boolean {
  return SPACES.test(character);
}

/** Removes characters, by default white space, at the start of a text. */
export function trimStart(text: string, isTrimmed = isSpace): string {
  let start = 0;
  while (start < text.length && isTrimmed(text[start] as string)) start++;
  return text.slice(start);
}

/**
 * Removes characters, by default white space, at the end of a text. A regular expression would try every run of white
 * space.
 */
export function trimEnd(text: string, isTrimmed = isSpace): string {
  let end = text.length;
  while (end > 0 && isTrimmed(text[end - 1] as string)) end--;
  return text.slice(0, end);
}
