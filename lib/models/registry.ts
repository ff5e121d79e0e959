/** All families; a new one is a file beside this and a row here. */

import { MbokError } from '../errors';
import type { ConfigReader } from './config_reader';
import type { Family } from './family';
import { llama } from './llama';

const FAMILIES: readonly Family[] = [llama as Family];

/** The family that a config.json names. Throws MBOK_UNSUPPORTED naming the architecture and those supported. */
export function findFamily(json: ConfigReader): Family {
  const { architectures } = json.json;
  const names = Array.isArray(architectures) ? architectures.map(String) : [];
  const family = FAMILIES.find((candidate) => candidate.architectures.some((name) => names.includes(name)));
  if (family === undefined) {
    const supported = FAMILIES.flatMap((candidate) => candidate.architectures).join(', ');
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `${json.place}: architecture ${names.join(', ') || '(none)'} is not supported; supported: ${supported}`,
    );
  }
  return family;
}
