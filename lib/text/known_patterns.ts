/** Regular expressions with which well-known models split text into words. */

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SIGNS_AND_SPACES = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** Words of LLaMA 3, with the given pattern for digits. */
const words = (digits: string) => `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${SIGNS_AND_SPACES}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
/** Words split where lowercase letters end and capitals begin. Each may have an `ending`. */
const casedWords = (ending: string, digits: string) =>
  String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${ending}|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${ending}|${digits}|` +
  String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const UP_TO_THREE_DIGITS = String.raw`\p{N}{1,3}`;

/** As in tokenizer.json, in Oniguruma's syntax. */
export const PATTERNS = {
  gpt2: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  llama3: words(UP_TO_THREE_DIGITS),
  qwen2: words(String.raw`\p{N}`),
  tekken: casedWords('', String.raw`\p{N}`),
  /** o200k_base of OpenAI's tiktoken. */
  gpt4o: casedWords(`${CONTRACTIONS}?`, UP_TO_THREE_DIGITS),
  /** Steps of llama.cpp's default rule, for files that name none. */
  signs: String.raw`[\p{P}\$\+<=>\^~\|]+`,
  numbers: String.raw`\p{N}+`,
  threeDigits: '[0-9][0-9][0-9]',
} as const;

const KNOWN: ReadonlySet<unknown> = new Set(Object.values(PATTERNS));

/**
 * Tells whether matching takes linear time on every text. It does for these patterns: each run of characters that they
 * try is matched in the end.
 */
export function isKnownPattern(pattern: unknown): boolean {
  return KNOWN.has(pattern);
}
