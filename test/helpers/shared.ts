import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '../../../shared');

/** Path of a file or folder of the data beside the repository (../shared), which a plain clone does not have. */
export function sharedPath(path: string): string {
  return join(root, path);
}

/**
 * `describe` for tests that need data of ../shared: without it they are skipped under a name that says so, but where
 * CI=true they fail, so that a machine which should have the data cannot pass by losing it.
 *
 * @param paths - the files and folders needed, relative to ../shared
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
