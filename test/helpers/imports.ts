/** The imports between the files of lib. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { root } from './builds';

const lib = join(root, 'lib');

/** Reads the imports of each file in lib, including types; all paths are relative to lib. */
export function readImports(): ReadonlyMap<string, readonly string[]> {
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const imports = (name: string) => {
    const text = readFileSync(join(lib, name), 'utf8');
    const places = [...text.matchAll(/^(?:import|export) [^;]*? from '(\.[^']*)';/gm)].map(
      ([, place]) => place as string,
    );
    return places.map((place) => `${normalize(join(dirname(name), place))}.ts`);
  };
  return new Map(files.map((name) => [relative('.', name), imports(name)]));
}
