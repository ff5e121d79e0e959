/** The expressions by which well-known models cut words. */

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SIGNS_AND_SPACES = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** LLaMA 3's words, with as many digits a word as said. */
const words = (digits: string) => `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${SIGNS_AND_SPACES}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;

/** As tokenizer.json writes them, for Oniguruma. */
export const PATTERNS = {
  llama3: words(String.raw`\p{N}{1,3}`),
  qwen2: words(String.raw`\p{N}`),
  tekken:
    String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*|\p{N}|` +
    String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
} as const;

const KNOWN: ReadonlySet<unknown> = new Set(Object.values(PATTERNS));

/** Whether matching takes time in proportion to any text: every run of characters that is tried is matched in the end. */
export function isKnownPattern(pattern: unknown): boolean {
  return KNOWN.has(pattern);
}
