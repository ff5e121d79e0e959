/**
 * Creates the repository's golden files from the complete ones: inputs, loss and logits unchanged, hidden states and
 * gradients as projections. The complete files are those of ../shared. If the environment names a folder VARIANTS, they
 * are the variants and families that golden/make_variants.py wrote there. Run it by hand in the repository's folder:
 *
 *   npx jest --runTestsByPath test/helpers/cut_golden.ts --testMatch '**\/cut_golden.ts'
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../lib/io/safetensors';
import { FAMILIES, repositoryFolder, sharedFolder, VARIANTS } from './family_folders';
import { type Golden, projections, readGolden } from './golden';

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

/** Lists the families in `folder`: target in test/golden, complete files. */
function families(folder: string) {
  return FAMILIES.flatMap((name) => (existsSync(join(folder, name)) ? [[name, join(folder, name)] as const] : []));
}

const made = process.env.VARIANTS;
const jobs = made
  ? [...VARIANTS.map((name) => [join('variants', name), join(made, name)] as const), ...families(made)]
  : FAMILIES.filter(repositoryFolder).map((name) => [name, sharedFolder(name)] as const);

test.each(jobs)('%s', async (name, from) => {
  const folder = join(__dirname, '../golden', name);
  mkdirSync(folder, { recursive: true });
  for (const file of ['config.json', 'model.safetensors']) {
    writeFileSync(join(folder, file), readFileSync(join(from, file)));
  }
  const golden = readGolden(join(from, 'golden.safetensors'));
  await writeSafetensors(join(folder, 'golden.safetensors'), cut(golden), { format: 'pt' });
});
