/** The folder of a report: one report's, made by one process at a time. */

import { join } from 'node:path';
import { writeFile } from '../io/atomic';
import { type Claim, claimFolder, type WorkKind } from '../io/claim';
import { isJsonObject } from '../io/json';
import { conditions } from './conditions';
import { readableJson } from './readable_json';

/** Tells the folder of a report from other people's folders; in the end it says what the report was made with. */
export const MARKER = 'report.json';

const KIND: WorkKind = {
  what: 'a report',
  marker: MARKER,
  isMarker: (json) => isJsonObject(json.conditions),
  // whatever is replaced in it is removed by name
  owns: () => false,
};

/**
 * Makes the folder if it is not there, and takes it until disposed. Throws MBOK_IO where it holds something else than a
 * report, MBOK_BUSY where another process makes it.
 */
export async function claimReport(folder: string): Promise<Claim> {
  const claim = await claimFolder(folder, KIND);
  if (claim.marker === undefined) await writeFile(join(folder, MARKER), readableJson({ conditions: conditions() }));
  return claim;
}
