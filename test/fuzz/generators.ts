import { configurations } from './configurations';
import { planted } from './planted';
import { templates } from './templates';
import { tokenizers } from './tokenizers';
import type { Generator } from './trial';

/** Generators by name. `planted` makes faults, to test that the runner sees them. */
export const GENERATORS: Readonly<Record<GeneratorName, Generator>> = {
  templates,
  tokenizers,
  configurations,
  planted,
};

export type GeneratorName = 'templates' | 'tokenizers' | 'configurations' | 'planted';
