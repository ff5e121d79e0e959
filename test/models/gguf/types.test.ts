/** Every element type of GGUF files against the Python package `gguf`, bit for bit. */

import { Graph } from '../../../lib/graph/graph';
import { dequantize } from '../../../lib/graph/operations/dequantize';
import { Plan } from '../../../lib/graph/plan';
import { f32ToHalf } from '../../../lib/io/half';
import { GGML_TYPES, type GgmlType } from '../../../lib/native/ggml_types';
import { Matrix } from '../../../lib/native/matrix';
import { readGolden } from '../../helpers/golden';

const golden = readGolden('gguf_types.safetensors');

async function run(dtype: GgmlType, type: 'f32' | 'f16' | 'bf16') {
  const { data, shape } = golden(`${dtype}.blocks`);
  const [rows, byteCols] = shape as [number, number];
  const cols = golden(`${dtype}.values`).shape[1] as number;
  const blocks = new Matrix({ rows, cols: byteCols, type: 'u8' });
  blocks.write(Uint8Array.from(data));
  const values = new Matrix({ rows, cols, type });
  const graph = new Graph();
  dequantize(graph.bind(blocks), dtype, graph.bind(values));
  await using plan = new Plan(graph);
  await plan.run();
  return values.raw();
}

const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);

describe.each(Object.keys(GGML_TYPES) as GgmlType[])('%s', (dtype) => {
  const expected = Float32Array.from(golden(`${dtype}.values`).data);

  test('gives the same f32 bits', async () => {
    const got = (await run(dtype, 'f32')) as Float32Array;
    expect(new Set(expected).size).toBeGreaterThan(10);
    expect(Buffer.from(bitsOf(got).buffer).equals(Buffer.from(bitsOf(expected).buffer))).toBe(true);
  });

  test.each([
    ['f16', 'F16'],
    ['bf16', 'BF16'],
  ] as const)('is rounded once to %s', async (type, half) => {
    expect(await run(dtype, type)).toEqual(f32ToHalf(expected, half));
  });
});

test("rows are written from the run's position to the end of the matrix", async () => {
  const blocks = new Matrix({ rows: 3, cols: 34, type: 'u8' });
  blocks.write(Uint8Array.from(golden('Q8_0.blocks').data.slice(0, 3 * 34)));
  const values = new Matrix({ rows: 5, cols: 32 });
  const graph = new Graph();
  dequantize(graph.bind(blocks), 'Q8_0', graph.bind(values));
  await using plan = new Plan(graph);
  await plan.run();
  await plan.run({ scalars: { position: 3 } });
  const three = Array.from(golden('Q8_0.values').data.slice(0, 3 * 32), Number);
  expect([...values.toFloat32()]).toEqual([...three, ...three.slice(0, 2 * 32)]);
  await expect(plan.run({ scalars: { position: 5 } })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
});
