import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MbokError } from '../base/errors';

const nodeGypBuild: { resolve(folder: string): string } = require('node-gyp-build');

/** Folder of the package. This file lies in lib/native or, compiled, in dist/native. */
const root = resolve(__dirname, '../..');

/**
 * Loads the native add-on: the development build in native/build if there is one, otherwise the prebuilt binary of this
 * platform. The environment variable PREBUILDS_ONLY skips the development build.
 *
 * @throws MbokError MBOK_NATIVE_MISSING with the shipped platforms, this platform and the commands that build a binary
 */
export function loadBinary(): unknown {
  try {
    return require(locate());
  } catch (cause) {
    throw new MbokError('MBOK_NATIVE_MISSING', explanation(cause), { cause });
  }
}

function locate(): string {
  const development = join(root, 'native');
  const built = !process.env.PREBUILDS_ONLY && existsSync(join(development, 'build/Release/mbok.node'));
  return nodeGypBuild.resolve(built ? development : root);
}

function explanation(cause: unknown): string {
  const shipped = shippedPlatforms();
  const reason = cause instanceof Error ? cause.message.trim().split('\n')[0] : String(cause);
  const commands = existsSync(join(root, 'native/sources.txt'))
    ? ['npm ci', `npm run ${process.env.PREBUILDS_ONLY ? 'prebuild' : 'build:native'}`]
    : ['npm ci && npm run prebuild && npm pack   (in a checkout of mbok)', 'npm install CHECKOUT/mbok-*.tgz   (here)'];
  return [
    `no native binary could be loaded from ${root}: ${reason}`,
    `  shipped: ${shipped.length > 0 ? shipped.join(', ') : 'none'}`,
    `  found:   ${process.platform}-${process.arch}, Node ${process.version}`,
    '  to build one (g++ or clang++, cmake, make and python3 are needed):',
    ...commands.map((command) => `    ${command}`),
  ].join('\n');
}

function shippedPlatforms(): string[] {
  try {
    return readdirSync(join(root, 'prebuilds')).sort();
  } catch {
    return [];
  }
}
