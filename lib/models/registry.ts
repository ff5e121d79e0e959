/** The table of families. To add one, write a file next to this one and add a row here. */

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

/** Erases the type of a family's configuration, which only the family itself reads. */
const member = <Config extends DecoderConfig>(family: Family<Config>): Family => family as unknown as Family;

/** All families. */
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

/**
 * Suffix that transformers replaces by 'Model' for a model without its head; such checkpoints have the same tensors.
 */
const HEADLESS = /(ForCausalLM|LMHeadModel)$/;

/**
 * Finds the family by `architectures` or, if that is absent, by `model_type`. Throws MBOK_UNSUPPORTED if it is not
 * supported. Throws it too if the two name different families, since transformers uses one of them and other programs
 * the other.
 */
function findFamily(json: ConfigReader): Family {
  const { architectures, model_type: type } = json.json;
  const names: readonly unknown[] = Array.isArray(architectures) ? architectures : [];
  const isNamed = (name: string) => names.includes(name) || names.includes(name.replace(HEADLESS, 'Model'));
  const byArchitecture = FAMILIES.find((candidate) => candidate.architectures.some(isNamed));
  const byModelType = FAMILIES.find(({ modelType }) => modelType === type);
  const family = byArchitecture ?? (names.length > 0 ? undefined : byModelType);
  if (family === undefined) {
    const supported = FAMILIES.flatMap((candidate) => candidate.architectures).join(', ');
    const described =
      names.length > 0 || type === undefined
        ? `architecture ${show(names.length === 1 ? names[0] : architectures)}`
        : `model type ${show(type)}`;
    throw new MbokError('MBOK_UNSUPPORTED', `${json.place}: ${described} is not supported; supported: ${supported}`);
  }
  if (byModelType !== undefined && byModelType !== family) {
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: 'architectures' says ${show(names[0])}, but 'model_type' says ${show(type)}`,
    );
  }
  return family;
}

/** A family and its reading of config.json. */
export interface Description {
  readonly family: Family;
  readonly config: DecoderConfig;
}

/**
 * Reads config.json by its family. Throws as {@link findFamily} and `Family.config` do. Throws MBOK_UNSUPPORTED if the
 * family does not read a setting that changes numbers.
 */
export function readDescription(json: ConfigReader): Description {
  const family = findFamily(json);
  const config = family.config(json);
  json.expectUnderstood(isNeutralSetting);
  return { family, config };
}
