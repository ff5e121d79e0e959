/** Folder of a report, written by one process at a time. */

import { join } from 'node:path';
import { writeFile } from '../io/atomic';
import { type Claim, claimFolder, type WorkKind } from '../io/claim';
import { isJsonObject } from '../io/json';
import { conditions } from './conditions';
import { readableJson } from './readable_json';

/** Marks the folder as a report's. The finished report stores its settings and conditions in it. */
export const MARKER = 'report.json';

const KIND: WorkKind = {
  what: 'a report',
  marker: MARKER,
  isMarker: (json) => isJsonObject(json.conditions),
  // files are removed by name, so this claim removes none
  owns: () => false,
};

/**
 * Creates the folder if it is missing, and locks it until disposed. Throws MBOK_IO if it holds other files, MBOK_BUSY
 * if another process works in it.
 */
export async function claimReport(folder: string): Promise<Claim> {
  const claim = await claimFolder(folder, KIND);
  if (claim.marker === undefined) await writeFile(join(folder, MARKER), readableJson({ conditions: conditions() }));
  return claim;
}
