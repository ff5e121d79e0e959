/** All families; a new one is a file beside this and a row here. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { ConfigReader } from './config_reader';
import type { DecoderConfig, Family } from './family';
import { gemma2, gemma3 } from './gemma';
import { gpt2 } from './gpt2';
import { llama } from './llama';
import { mistral } from './mistral';
import { isNeutralSetting } from './neutral_settings';
import { opt } from './opt';
import { phi3 } from './phi3';
import { qwen2, qwen3 } from './qwen';
import { smollm3 } from './smollm3';

/** A family among others: nothing but itself reads the part of its configuration that is its own. */
const member = <Config extends DecoderConfig>(family: Family<Config>): Family => family as unknown as Family;

/** Every family there is. */
export const FAMILIES: readonly Family[] = [
  member(llama),
  member(smollm3),
  member(mistral),
  member(qwen2),
  member(qwen3),
  member(gemma2),
  member(gemma3),
  member(phi3),
  member(opt),
  member(gpt2),
];

/** What transformers calls a model without its head, whose checkpoints have the same tensors. */
const HEADLESS = /(ForCausalLM|LMHeadModel)$/;

/**
 * The family that a config.json names by `architectures` or, where that is absent, by `model_type`. Throws MBOK_UNSUPPORTED
 * naming the architecture and those supported, or both names where they are those of two families: transformers goes by one,
 * other programs by the other.
 */
function findFamily(json: ConfigReader): Family {
  const { architectures, model_type: type } = json.json;
  const names: readonly unknown[] = Array.isArray(architectures) ? architectures : [];
  const isNamed = (name: string) => names.includes(name) || names.includes(name.replace(HEADLESS, 'Model'));
  const named = FAMILIES.find((candidate) => candidate.architectures.some(isNamed));
  const typed = FAMILIES.find(({ modelType }) => modelType === type);
  const family = named ?? (names.length > 0 ? undefined : typed);
  if (family === undefined) {
    const supported = FAMILIES.flatMap((candidate) => candidate.architectures).join(', ');
    const wanted =
      names.length > 0 || type === undefined
        ? `architecture ${show(names.length === 1 ? names[0] : architectures)}`
        : `model type ${show(type)}`;
    throw new MbokError('MBOK_UNSUPPORTED', `${json.place}: ${wanted} is not supported; supported: ${supported}`);
  }
  if (typed !== undefined && typed !== family) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: 'architectures' says ${show(names[0])}, but 'model_type' says ${show(type)}`,
    );
  }
  return family;
}

/** A family and what it reads of a config.json. */
export interface Description {
  readonly family: Family;
  readonly config: DecoderConfig;
}

/**
 * Reads a config.json by its family. Throws as {@link findFamily} and `Family.config`, and MBOK_UNSUPPORTED for a setting that
 * changes numbers but that the family does not read.
 */
export function readDescription(json: ConfigReader): Description {
  const family = findFamily(json);
  const config = family.config(json);
  json.expectUnderstood(isNeutralSetting);
  return { family, config };
}
