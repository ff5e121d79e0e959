/** Names of the files of a model's folder beside its weights. */

export const CONFIG_FILE = 'config.json';
export const TOKENIZER_FILE = 'tokenizer.json';
/** Small files of a model that are copied unchanged. */
export const COMPANIONS = [
  TOKENIZER_FILE,
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
];
/** Describes how a baseline was produced, for people and reports. */
export const BASELINE_FILE = 'baseline.json';
/** Identifies folders that mbok wrote, and lists its files there. */
export const MARKER_FILE = 'mbok.json';
