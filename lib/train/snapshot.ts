import type { Matrix } from '../native/matrix';

/** Contents of matrices at one moment, by name, outside native memory. */
export type Snapshot = ReadonlyMap<string, ReturnType<Matrix['raw']>>;

export function takeSnapshot(matrices: ReadonlyMap<string, Matrix>): Snapshot {
  return new Map([...matrices].map(([name, matrix]) => [name, matrix.raw()]));
}

export function restoreSnapshot(matrices: ReadonlyMap<string, Matrix>, snapshot: Snapshot): void {
  for (const [name, matrix] of matrices) matrix.write(snapshot.get(name) as ReturnType<Matrix['raw']>);
}
