/** The examples run unchanged. Needs the compiled package. */

import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { built, root } from '../helpers/builds';
import { temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();

beforeAll(() => void built('dist'));

describe('examples/boolean_network.mjs', () => {
  let table: string;
  let accuracies: Map<string, number>;
  beforeAll(() => {
    const args = [join(root, 'examples/boolean_network.mjs'), '500'];
    table = execFileSync(process.execPath, args, { encoding: 'utf8' });
    const rows = table.matchAll(/^(\S.*?) {2,}([\d.]+) %/gm);
    accuracies = new Map([...rows].map(([, name, percent]) => [name as string, Number(percent)]));
  });

  test.each([
    ['f32, AdamW, 3 hidden layers', 90],
    ['STE, Adam, 3 hidden layers', 50],
    ['flipped bits, 3 hidden layers', 60],
  ])('%s: more than %d %% of held-out sums after 500 steps', (name, percent) => {
    expect(accuracies.get(name)).toBeGreaterThan(percent);
  });

  test.each([/^f32, no hidden layer +[\d.]+ %/m, /^STE, Adam.* %/m, /^flipped bits, 3 hidden layers +[\d.]+ %/m])(
    'has the row %p',
    (row) => {
      expect(table).toMatch(row);
    },
  );

  test('nothing can be learned without a hidden layer', () => {
    expect(accuracies.get('f32, no hidden layer')).toBeLessThan(15);
  });
});

test('examples/residual_network.mjs learns, and computes the same after it was saved and loaded', () => {
  const file = join(folder, 'network.safetensors');
  const args = [join(root, 'examples/residual_network.mjs'), '60', file];
  const output = execFileSync(process.execPath, args, { encoding: 'utf8' });
  const [, first, last] = /loss ([\d.]+) -> ([\d.]+) nats/.exec(output) ?? [];
  // 70 characters, drawn alike, have ln 70 = 4.25 nats
  expect(Number(first)).toBeGreaterThan(3);
  expect(Number(last)).toBeLessThan(2.5);
  expect(output).toMatch(/^loss [\d.]+ -> [\d.]+ nats per character$/m);
  expect(output).toMatch(/^logits after loading: equal$/m);
  expect(output).toMatch(/^Once upon a time./m);
  expect(statSync(file).size).toBeGreaterThan(1e5);
});
