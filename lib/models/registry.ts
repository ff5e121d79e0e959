/** All families; a new one is a file beside this and a row here. */

import { MbokError } from '../errors';
import { show } from '../validate';
import type { ConfigReader } from './config_reader';
import type { DecoderConfig, Family } from './family';
import { gemma2, gemma3 } from './gemma';
import { gpt2 } from './gpt2';
import { llama } from './llama';
import { mistral } from './mistral';
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

/** The family that a config.json names. Throws MBOK_UNSUPPORTED naming the architecture and those supported. */
export function findFamily(json: ConfigReader): Family {
  const { architectures } = json.json;
  const names: readonly unknown[] = Array.isArray(architectures) ? architectures : [];
  const family = FAMILIES.find((candidate) => candidate.architectures.some((name) => names.includes(name)));
  if (family === undefined) {
    const supported = FAMILIES.flatMap((candidate) => candidate.architectures).join(', ');
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: architecture ${names.length === 1 ? show(names[0]) : show(architectures)} is not supported; supported: ${supported}`,
    );
  }
  return family;
}
