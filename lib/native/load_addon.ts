import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MbokError } from '../base/errors';

/** Folder of the package. This file lies in lib/native or, compiled, in dist/native. */
const root = resolve(__dirname, '../..');

/** Files in prebuilds/ by target: platform and architecture as Node names them, and `musl` where that is the C library. */
export const PREBUILDS: Readonly<Record<string, string>> = {
  'linux-x64': 'linux-x64/mbok.glibc.node',
  'linux-arm64': 'linux-arm64/mbok.glibc.node',
  'linux-x64-musl': 'linux-x64/mbok.musl.node',
  'linux-arm64-musl': 'linux-arm64/mbok.musl.node',
  'darwin-x64': 'darwin-x64/mbok.node',
  'darwin-arm64': 'darwin-arm64/mbok.node',
  'win32-x64': 'win32-x64/mbok.node',
  'win32-arm64': 'win32-arm64/mbok.node',
};

let provided: ((target: string) => unknown) | undefined;

/**
 * Sets what loads the prebuilt binary of a target, by a `require` whose path bundlers see. Where it returns undefined the
 * file is taken from the package's folder.
 */
export function provideBinary(load: (target: string) => unknown): void {
  provided = load;
}

/**
 * Loads the native add-on: the development build in native/build if there is one, otherwise the prebuilt binary of this
 * platform. The environment variable PREBUILDS_ONLY skips the development build.
 *
 * @throws MbokError MBOK_NATIVE_MISSING with the shipped platforms, this platform and the commands that help
 */
export function loadBinary(): unknown {
  try {
    const development = join(root, 'native');
    if (!process.env.PREBUILDS_ONLY && existsSync(join(development, 'build/Release/mbok.node')))
      return require('node-gyp-build')(development);
    const target = thisTarget();
    const binary = provided?.(target);
    if (binary !== undefined) return binary;
    const file = PREBUILDS[target];
    if (file === undefined) throw new Error(`no binary is made for ${target}`);
    return require(join(root, 'prebuilds', file));
  } catch (cause) {
    throw new MbokError('MBOK_NATIVE_MISSING', explanation(cause), { cause });
  }
}

/** Names the target of this process as {@link PREBUILDS} does; it may be none of them. */
export function thisTarget(): string {
  return `${process.platform}-${process.arch}${process.platform === 'linux' && usesMusl() ? '-musl' : ''}`;
}

/**
 * Returns whether this process runs on musl: by the loader that the running executable names, or, if it names none, by
 * Node's report, which is slower. Files of distributions (/etc/alpine-release) say less: Void and OpenWrt have musl too.
 */
function usesMusl(): boolean {
  const start = Buffer.alloc(4096);
  try {
    const file = openSync(process.execPath, 'r');
    try {
      readSync(file, start);
    } finally {
      closeSync(file);
    }
  } catch {
    // the report knows
  }
  if (start.includes('/ld-musl-')) return true;
  return !start.includes('/ld-linux') && glibcVersion() === undefined;
}

/** Returns the version of glibc in this process, undefined with another C library. */
function glibcVersion(): string | undefined {
  const { report } = process;
  if (report === undefined) return undefined;
  // else the report would ask for the names of all peers of open connections
  const excluded = (report as { excludeNetwork?: boolean }).excludeNetwork;
  Object.assign(report, { excludeNetwork: true });
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  Object.assign(report, { excludeNetwork: excluded });
  return header?.glibcVersionRuntime;
}

function explanation(cause: unknown): string {
  const reason = cause instanceof Error ? cause.message.trim().split('\n')[0] : String(cause);
  const commands = existsSync(join(root, 'native/sources.txt'))
    ? ['npm ci', `npm run ${process.env.PREBUILDS_ONLY ? 'prebuild' : 'build:native'}`]
    : ['npm ci && npm run prebuild && npm pack   (in a checkout of mbok)', 'npm install CHECKOUT/mbok-*.tgz   (here)'];
  const [shipped, libc] = [shippedFiles(), libcName()];
  return [
    `no native binary could be loaded from ${root}: ${reason}`,
    `  shipped: ${shipped.length > 0 ? shipped.join(', ') : 'none'}`,
    `  found:   ${process.platform}-${process.arch}${libc === '' ? '' : `, ${libc}`}, Node ${process.version}`,
    '  if packages were installed on another system: install them on this one, or there for this one by',
    `    npm ci --os=${process.platform} --cpu=${process.arch}${libc === '' ? '' : ` --libc=${libc.split(' ')[0]}`}`,
    '  to build one (g++ or clang++, cmake, make and python3 are needed):',
    ...commands.map((command) => `    ${command}`),
  ].join('\n');
}

/** Names the C library on Linux: `musl`, or `glibc` with its version. Other systems have one of their own. */
function libcName(): string {
  if (process.platform !== 'linux') return '';
  const version = glibcVersion();
  return version === undefined ? 'musl' : `glibc ${version}`;
}

function shippedFiles(): string[] {
  try {
    const folders = readdirSync(join(root, 'prebuilds')).sort();
    return folders.flatMap((folder) =>
      readdirSync(join(root, 'prebuilds', folder))
        .sort()
        .map((file) => `${folder}/${file}`),
    );
  } catch {
    return [];
  }
}
