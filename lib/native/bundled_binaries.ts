/**
 * Requires of all prebuilt binaries by fixed paths, so that bundlers find them and copy them. A bundle for one target is
 * smaller if it imports `mbok/TARGET` (`mbok/linux-x64`) instead, whose module requires that binary alone.
 */

import { provideBinary } from './load_addon';

provideBinary((target) => {
  // a package made on one machine holds its binary alone: bundlers only warn of a missing file within `try`
  try {
    switch (target) {
      case 'linux-x64':
        return require('../../prebuilds/linux-x64/mbok.glibc.node');
      case 'linux-arm64':
        return require('../../prebuilds/linux-arm64/mbok.glibc.node');
      case 'linux-x64-musl':
        return require('../../prebuilds/linux-x64/mbok.musl.node');
      case 'linux-arm64-musl':
        return require('../../prebuilds/linux-arm64/mbok.musl.node');
      case 'darwin-x64':
        return require('../../prebuilds/darwin-x64/mbok.node');
      case 'darwin-arm64':
        return require('../../prebuilds/darwin-arm64/mbok.node');
      case 'win32-x64':
        return require('../../prebuilds/win32-x64/mbok.node');
      case 'win32-arm64':
        return require('../../prebuilds/win32-arm64/mbok.node');
    }
  } catch (error) {
    // where the file is missing the loader looks into the package's folder and says what it has
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
  }
  return undefined;
});
