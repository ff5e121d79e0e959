/** Tables of rotary embeddings are as long as the context in use, not as the limit in a configuration. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { diskSource } from '../../lib/compress/disk_source';
import { Decoder } from '../../lib/generate/decoder';
import { GrowingPlan } from '../../lib/generate/growing_plan';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { Graph } from '../../lib/graph/graph';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import { ModelSource } from '../../lib/models/source';
import type { Matrix } from '../../lib/native/matrix';
import { rotaryTable } from '../../lib/nn/rotary';
import { changeConfig, copyGolden, GOLDEN, temporaryFolder } from '../helpers/folders';

const temporary = temporaryFolder();

/** Creates a golden model whose configuration claims two billion positions. */
function endless(family: string): string {
  const at = join(temporary, family);
  mkdirSync(at, { recursive: true });
  copyGolden(family, at);
  changeConfig(at, { max_position_embeddings: 2 ** 31 });
  return at;
}

const IDS = Int32Array.from({ length: 40 }, (_, i) => (7 * i) % 160);
const rowsOf = (tables: Readonly<Record<string, Matrix>>) => Object.values(tables).map(({ rows }) => rows);

test.each([
  ['llama', 1],
  ['smollm3', 1],
  ['gemma3', 2],
])('%s: tables have the rows of the longest run, and results are those of a short limit', async (family, tables) => {
  const [model, short] = [await Model.load(endless(family)), await Model.load(join(GOLDEN, family))];
  try {
    const first = await model.logits(IDS.subarray(0, 3));
    expect(rowsOf(coreOf(model).constants(1))).toEqual(Array(tables).fill(3));
    const all = await model.logits(IDS);
    expect(rowsOf(coreOf(model).constants(1))).toEqual(Array(tables).fill(IDS.length));
    expect(await model.logits(IDS.subarray(0, 3))).toEqual(first);
    expect(await short.logits(IDS)).toEqual(all);
    expect(await short.logits(IDS.subarray(0, 3))).toEqual(first);
  } finally {
    model.dispose();
    short.dispose();
  }
});

test('rows of a table do not depend on its length', () => {
  const config = { theta: 10000, dimension: 8, magnitude: 1.25 };
  const all = rotaryTable({ ...config, positions: 9000 }).toFloat32();
  for (const positions of [1, 63, 64, 65, 4095, 4096, 4097, 8200]) {
    expect(rotaryTable({ ...config, positions }).toFloat32()).toEqual(all.subarray(0, 8 * positions));
  }
});

test('a plan continues with its table after a longer one is created, until the model is disposed', async () => {
  const model = await Model.load(endless('llama'));
  const graph = new Graph();
  const builder = coreOf(model).builder(graph);
  const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
  graph.output('finished', coreOf(model).build(builder, ids, 8).finished);
  const before = coreOf(model).constants(8);
  const longer = coreOf(model).constants(100);
  expect(rowsOf(before)).toEqual([8]);
  expect(rowsOf(longer)).toEqual([100]);
  await using plan = new Plan(graph, { maxRows: 16 });
  const run = (rows: number) => plan.run({ inputs: { ids: IDS.subarray(0, rows) }, scalars: { rows } });
  expect((await run(8)).finished).toBeDefined();
  await expect(run(9)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  model.dispose();
  await expect(run(8)).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  expect(longer.rotary?.disposed).toBe(true);
  expect(() => coreOf(model).constants(1)).toThrow(expect.objectContaining({ code: 'MBOK_DISPOSED' }));
});

test('a context too long for a table is refused at once', async () => {
  const model = await Model.load(endless('llama'));
  expect(() => coreOf(model).constants(2 ** 31)).toThrow(
    expect.objectContaining({
      code: 'MBOK_UNSUPPORTED',
      message: expect.stringMatching(/2147483648 tokens.*16777216/),
    }),
  );
  expect(rowsOf(coreOf(model).constants(5))).toEqual([5]);
  model.dispose();
});

test('a conversion from disk has tables as long as its windows', async () => {
  await using model = await ModelSource.open(endless('llama'));
  const source = diskSource(model);
  expect(rowsOf(source.constants(16))).toEqual([16]);
  const tables = source.constants(24);
  expect(rowsOf(tables)).toEqual([24]);
  source[Symbol.dispose]();
  expect(tables.rotary?.disposed).toBe(true);
});

test('a text that outgrows its first table continues as in one run', async () => {
  const model = await Model.load(endless('llama'));
  const ids = Int32Array.from({ length: 4100 }, (_, i) => (11 * i) % 160);
  await using decoder = new Decoder(coreOf(model), { context: 2 ** 20, arithmetic: arithmeticOf({}) });
  await decoder.append(0, ids.subarray(0, 4090), undefined);
  expect(rowsOf(coreOf(model).constants(1))).toEqual([4096]);
  const last = Float32Array.from(await decoder.append(0, ids.subarray(4090), undefined));
  expect(rowsOf(coreOf(model).constants(1))).toEqual([8192]);
  const { data, shape } = await model.logits(ids);
  const expected = data.subarray(data.length - shape[1]);
  expect(Math.max(...last.map((value, i) => Math.abs(value - (expected[i] as number))))).toBeLessThan(1e-4);
  model.dispose();
});

test('a growing plan doubles up to its context and disposes of earlier ones', async () => {
  const made: number[] = [];
  const disposed: number[] = [];
  const make = (positions: number) => {
    made.push(positions);
    return { [Symbol.asyncDispose]: async () => void disposed.push(positions) } as unknown as Plan;
  };
  const plan = new GrowingPlan(20_000, make);
  for (const positions of [1, 4096, 4097, 5000, 8193, 19_999, 20_000]) await plan.upTo(positions);
  expect(made).toEqual([4096, 8192, 16_384, 20_000]);
  expect(disposed).toEqual([4096, 8192, 16_384]);
  await plan[Symbol.asyncDispose]();
  expect(disposed).toEqual(made);
  made.length = 0;
  await using short = new GrowingPlan(100, make);
  await short.upTo(100);
  expect(made).toEqual([100]);
});
