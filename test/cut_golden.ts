/**
 * Makes the golden files of the families that the repository keeps out of the whole ones: inputs, loss and logits as they
 * are, hidden states and gradients as projections. To be run by hand from the repository's folder:
 *
 *   npx jest --runTestsByPath test/cut_golden.ts --testMatch '**\/cut_golden.ts'
 */

import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../lib/io/safetensors';
import { sharedFolder } from './family_folders';
import { type Golden, projections, readGolden } from './golden';

const KEPT = [
  'smollm3',
  'mistral-sliding',
  'qwen2',
  'qwen3-tied',
  'gemma2',
  'gemma3',
  'phi3',
  'opt',
  'opt-350m-like',
  'gpt2',
];

function cut(golden: Golden) {
  return golden.names.map((name) => {
    const { shape, data } = golden(name);
    const whole = ['input_ids', 'loss', 'logits'].includes(name);
    const values = Float32Array.from(whole ? data : projections(data));
    return {
      name: whole ? name : `projections.${name}`,
      dtype: 'F32' as const,
      shape: whole ? shape : [values.length],
      bytes: () => new Uint8Array(values.buffer),
    };
  });
}

test.each(KEPT)('%s', async (family) => {
  const folder = join(__dirname, 'golden', family);
  mkdirSync(folder, { recursive: true });
  for (const file of ['config.json', 'model.safetensors']) cpSync(join(sharedFolder(family), file), join(folder, file));
  const golden = readGolden(join(sharedFolder(family), 'golden.safetensors'));
  await writeSafetensors(join(folder, 'golden.safetensors'), cut(golden), { format: 'pt' });
});
