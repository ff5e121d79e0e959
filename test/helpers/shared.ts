import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '../../../shared');

/** Returns the path of data beside the repository (../shared), which a plain clone lacks. */
export function sharedPath(path: string): string {
  return join(root, path);
}

/**
 * Describes tests that need data of ../shared. Without the data they are skipped under a name that says so. With
 * CI=true they fail instead, so that a machine cannot pass by losing its data.
 *
 * @param paths - required files and folders, relative to ../shared
 */
export function describeWithShared(name: string, paths: readonly string[], body: () => void): void {
  const missing = paths.filter((path) => !existsSync(sharedPath(path)));
  if (missing.length === 0) {
    describe(name, body);
    return;
  }
  const what = `${name} (needs ../shared/${missing.join(', ../shared/')})`;
  if (process.env.CI === 'true') {
    test(what, () => {
      throw new Error(`missing: ${missing.map(sharedPath).join(', ')}`);
    });
  } else {
    test.skip(what, () => {});
  }
}
