/**
 * Byte-level byte-pair encodings of GGUF files. The vocabulary is like GPT-2's; a named rule splits text into words.
 */

import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import type { JsonObject } from '../../io/json';
import { PATTERNS } from '../../text/known_patterns';
import { MergeTable, pairOf } from '../../text/merge_table';
import { shorten } from '../../text/reason';
import { Vocabulary } from '../../text/vocabulary';
import type { GgufTokenizerParts, GgufVocabulary } from './vocabulary';

interface PreRule {
  readonly preTokenizer: JsonObject;
  readonly normalizer?: JsonObject;
  /** Whether whole words of the vocabulary become one token, regardless of the merges. */
  readonly ignoresMerges?: true;
  readonly addsBos?: true;
}

const GPT2 = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const BYTES = { ...GPT2, use_regex: false };

const sequence = (...pretokenizers: JsonObject[]) => ({ type: 'Sequence', pretokenizers });
const split = (regex: string) => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false });
const pattern = (...steps: readonly string[]) => sequence(...steps.map(split), BYTES);

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
const gpt4o: PreRule = { preTokenizer: pattern(PATTERNS.gpt4o) };
/** Rule of llama.cpp for files without a rule. It is llama.cpp's default and not that of a model. */
const unnamed: PreRule = {
  preTokenizer: pattern(PATTERNS.signs, PATTERNS.gpt2, PATTERNS.numbers, PATTERNS.threeDigits),
};

/**
 * Rules by their names in `tokenizer.ggml.pre`; llama.cpp has many names for one rule (llama-vocab.cpp). The patterns
 * are from the tokenizer.json files of the models.
 */
const RULES: Readonly<Record<string, PreRule>> = {
  'gpt-2': gpt2,
  'phi-2': gpt2,
  'a.x-4.0': gpt2,
  mellum: gpt2,
  trillion: gpt2,
  smollm: digitsThenGpt2,
  starcoder: digitsThenGpt2,
  refact: digitsThenGpt2,
  codeshell: digitsThenGpt2,
  'minerva-7b': digitsThenGpt2,
  'llama-bpe': llama3,
  'llama-v3': llama3,
  llama3,
  falcon3: llama3,
  'midm-2.0': llama3,
  'smaug-bpe': smaug,
  dbrx: smaug,
  qwen2: { ...qwen2, normalizer: { type: 'NFC' } },
  'deepseek-r1-qwen': qwen2,
  kormo: qwen2,
  megrez: qwen2,
  tekken,
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  kanana2: gpt4o,
  default: unnamed,
};

const MERGES = "GGUF metadata 'tokenizer.ggml.merges'";
const PAIR = /^[^ ]+ [^ ]+$/s;

/**
 * Returns the parts of a byte-level tokenizer. Throws MBOK_UNSUPPORTED for an unknown rule, MBOK_FORMAT for a malformed
 * merge.
 */
export function byteLevelParts({ tokens, merges, pre, unknown }: GgufVocabulary): GgufTokenizerParts {
  const name = pre ?? 'default';
  const rule = Object.hasOwn(RULES, name) ? RULES[name] : undefined;
  if (rule === undefined) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `the rule '${shorten(name)}' is not known (tokenizer.ggml.pre: how texts are cut into words); supported: ${Object.keys(RULES).join(', ')}`,
    );
  }
  const wrong = merges.findIndex((merge) => !PAIR.test(merge));
  if (wrong >= 0)
    throw new MbokError('MBOK_FORMAT', `${MERGES}: number ${wrong} must be two tokens, got ${show(merges[wrong])}`);
  const words = new Vocabulary(tokens);
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
    },
    words,
    merges: new MergeTable(MERGES, merges, words),
    listMerges: () => merges.map(pairOf),
    addsBos: rule.addsBos ?? false,
  };
}
