/** The expressions by which well-known models cut words. */

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SIGNS_AND_SPACES = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** LLaMA 3's words, with as many digits a word as said. */
const words = (digits: string) => `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${SIGNS_AND_SPACES}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
/** Words cut where small letters end and capitals begin, each perhaps with an `ending`. */
const casedWords = (ending: string, digits: string) =>
  String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${ending}|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${ending}|${digits}|` +
  String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const UP_TO_THREE_DIGITS = String.raw`\p{N}{1,3}`;

/** As tokenizer.json writes them, for Oniguruma. */
export const PATTERNS = {
  gpt2: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  llama3: words(UP_TO_THREE_DIGITS),
  qwen2: words(String.raw`\p{N}`),
  tekken: casedWords('', String.raw`\p{N}`),
  /** o200k_base of OpenAI's tiktoken */
  gpt4o: casedWords(`${CONTRACTIONS}?`, UP_TO_THREE_DIGITS),
  /** The steps of llama.cpp's rule for files that name none. */
  signs: String.raw`[\p{P}\$\+<=>\^~\|]+`,
  numbers: String.raw`\p{N}+`,
  threeDigits: '[0-9][0-9][0-9]',
} as const;

const KNOWN: ReadonlySet<unknown> = new Set(Object.values(PATTERNS));

/** Whether matching takes time in proportion to any text: every run of characters that is tried is matched in the end. */
export function isKnownPattern(pattern: unknown): boolean {
  return KNOWN.has(pattern);
}
