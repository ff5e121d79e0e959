import { MbokError } from '../base/errors';

const REASONS: Record<string, string> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'it exists already',
  EFBIG: 'the file would pass the size limit of the process or the file system',
  EIO: 'input/output error',
  EISDIR: 'it is a folder',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'no such file or folder',
  ENOSPC: 'no space left on the device',
  ENOTDIR: 'a part of the path is not a folder',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ERR_INVALID_ARG_VALUE: 'no path has a zero byte',
};

/**
 * Returns true for errors of the operating system (code such as ENOENT) and for paths that Node rejects before asking
 * it.
 */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  const code: unknown = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^(E[A-Z0-9]+|ERR_INVALID_ARG_VALUE)$/.test(code);
}

/** Returns true if the error means "no such file", be it the system's error or an MbokError caused by it. */
export function isAbsence(error: unknown): boolean {
  const origin = error instanceof MbokError ? error.cause : error;
  return isSystemError(origin) && origin.code === 'ENOENT';
}

/**
 * Converts an error of the operating system to an MbokError MBOK_IO; returns every other error unchanged.
 *
 * @param action - the attempted action, e.g. `write`
 * @param path - the path as the caller knows it (not a temporary name)
 */
export function ioFailure(action: string, path: string, error: unknown): unknown {
  if (!isSystemError(error)) return error;
  const code = error.code as string;
  const reason = REASONS[code] ?? error.message;
  return new MbokError('MBOK_IO', `cannot ${action} '${path}': ${reason} (${code})`, { cause: error });
}
