/** Byte-level byte-pair encodings of GGUF files: the vocabulary is GPT-2's kind, the cutting of words has a name. */

import { MbokError } from '../errors';
import type { JsonObject } from '../io/json';
import { show } from '../validate';
import type { GgufVocabulary, TokenizerParts } from './gguf_tokenizer';
import { PATTERNS } from './known_patterns';
import { shorten } from './reason';

interface PreRule {
  readonly preTokenizer: JsonObject;
  readonly normalizer?: JsonObject;
  /** Whole words of the vocabulary are taken as they are, whatever the merges give. */
  readonly ignoresMerges?: true;
  readonly addsBos?: true;
}

const GPT2 = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const BYTES = { ...GPT2, use_regex: false };

const sequence = (...pretokenizers: JsonObject[]) => ({ type: 'Sequence', pretokenizers });
const pattern = (regex: string) =>
  sequence({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false }, BYTES);

const gpt2: PreRule = { preTokenizer: GPT2 };
const digitsThenGpt2: PreRule = { preTokenizer: sequence({ type: 'Digits', individual_digits: true }, GPT2) };
const llama3: PreRule = { preTokenizer: pattern(PATTERNS.llama3), ignoresMerges: true, addsBos: true };
const smaug: PreRule = { preTokenizer: pattern(PATTERNS.llama3) };
const qwen2: PreRule = { preTokenizer: pattern(PATTERNS.qwen2) };
const tekken: PreRule = {
  preTokenizer: pattern(PATTERNS.tekken),
  ignoresMerges: true,
  addsBos: true,
};

/** Rules by their names in `tokenizer.ggml.pre`; the patterns are those of the models' own tokenizer.json. */
const RULES: Readonly<Record<string, PreRule>> = {
  'gpt-2': gpt2,
  'phi-2': gpt2,
  smollm: digitsThenGpt2,
  starcoder: digitsThenGpt2,
  refact: digitsThenGpt2,
  codeshell: digitsThenGpt2,
  'llama-bpe': llama3,
  'llama-v3': llama3,
  llama3,
  'smaug-bpe': smaug,
  dbrx: smaug,
  qwen2: { ...qwen2, normalizer: { type: 'NFC' } },
  'deepseek-r1-qwen': qwen2,
  tekken,
};

/** Throws MBOK_UNSUPPORTED for a rule that is not known. */
export function byteLevelParts({ tokens, merges, pre, unknown }: GgufVocabulary): TokenizerParts {
  const rule = Object.hasOwn(RULES, pre ?? '') ? RULES[pre ?? ''] : undefined;
  if (rule === undefined) {
    const got = pre === undefined ? 'the GGUF file names no rule' : `the rule '${shorten(pre)}' is not known`;
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${got} of cutting texts into words (tokenizer.ggml.pre); supported: ${Object.keys(RULES).join(', ')}`,
    );
  }
  const split = merges.map((merge) => merge.split(' '));
  const wrong = split.findIndex((parts) => parts.length !== 2 || parts.includes(''));
  if (wrong >= 0) {
    throw new MbokError(
      'MBOK_FORMAT',
      `GGUF metadata 'tokenizer.ggml.merges': number ${wrong} must be two tokens, got ${show(merges[wrong])}`,
    );
  }
  return {
    normalizer: rule.normalizer ?? null,
    preTokenizer: rule.preTokenizer,
    decoder: GPT2,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rule.ignoresMerges ?? false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: split,
    },
    addsBos: rule.addsBos ?? false,
  };
}
