import { readImports } from '../helpers/imports';

/** Finds an import cycle; undefined if there is none. */
function findCircle(imports: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>();
  const follow = (name: string, path: readonly string[]): readonly string[] | undefined => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return undefined;
    for (const next of imports.get(name) ?? []) {
      const circle = follow(next, [...path, name]);
      if (circle !== undefined) return circle;
    }
    done.add(name);
    return undefined;
  };
  for (const name of imports.keys()) {
    const circle = follow(name, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test('no file of the library is in an import cycle', () => {
  const imports = readImports();
  expect(imports.size).toBeGreaterThan(100);
  for (const place of [...imports.values()].flat()) expect([place, imports.has(place)]).toEqual([place, true]);
  expect(findCircle(imports)).toBeUndefined();
});

test('a cycle is found', () => {
  const circle = new Map([
    ['a', ['b', 'c']],
    ['b', ['c']],
    ['c', ['d']],
    ['d', ['b']],
  ]);
  expect(findCircle(circle)).toEqual(['b', 'c', 'd', 'b']);
});
