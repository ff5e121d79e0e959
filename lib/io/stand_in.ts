/** What a failed download leaves instead of a model file. */

import { MbokError } from '../base/errors';

/** Bytes at the start of a file that identify such a stand-in. */
export const STAND_IN_BYTES = 256;

const STAND_INS: readonly (readonly [beginning: RegExp, message: string])[] = [
  [
    /^version https:\/\/git-lfs\.github\.com\//,
    "is a Git LFS pointer, not the file that it stands for: fetch that with 'git lfs pull', or download it",
  ],
  [/^<(!doctype html|html|head)\b/i, 'is an HTML page, perhaps of a login or an error, not the expected file'],
  [/^<\?xml\b/i, 'is an XML document, perhaps of an error, not the expected file'],
];

/** Throws MBOK_FORMAT if the file starts like a stand-in; the message says what it is. */
export function expectNoStandIn(start: Uint8Array, path: string): void {
  const text = Buffer.from(start.subarray(0, STAND_IN_BYTES)).toString('utf8').trimStart();
  const found = STAND_INS.find(([beginning]) => beginning.test(text));
  if (found !== undefined) throw new MbokError('MBOK_FORMAT', `'${path}' ${found[1]}`);
}
