/** Correlations of the first two kernels, by definition and by what successive extraction must give. */

import { join } from 'node:path';
import { inspectCommand } from '../../lib/cli/inspect';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { kernelCorrelations } from '../../lib/eval/kernel_correlations';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import type { BitMatrix } from '../../lib/native/bit_matrix';
import { GOLDEN, temporaryFolder } from '../helpers/folders';
import { learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const LLAMA = join(GOLDEN, 'llama');

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
const correlation = (a: readonly number[], b: readonly number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

test('equal their definition, also in a nested model and beside other formats', async () => {
  const place = join(folder, 'nested');
  const keep = { '*.q_proj': 'dense', '*.k_proj': 1 } as const;
  const calibration = { data: learnableIds(2000), windows: 4, length: 32 };
  await binarizeFolder(LLAMA, place, { kernels: 3, method: 'calibrated', calibration, nested: true, keep });
  const found = new Map((await kernelCorrelations(place, LLAMA)).map((entry) => [entry.module, entry]));
  await using model = await Model.load(place, { for: 'training' });
  await using original = await Model.load(LLAMA);
  const { parameters } = coreOf(model);
  const wide = [...model.formats].filter(([, format]) => 'count' in format && format.count === 3);
  expect([...found.keys()]).toEqual(wide.map(([module]) => module));
  for (const [module, entry] of found) {
    const part = (name: string) => parameters.get(`${module}.${name}`);
    const [sOut, sIn] = [part('s_out')?.toFloat32(), part('s_in')?.toFloat32()] as [Float32Array, Float32Array];
    const [rows, cols] = [sOut.length / 3, sIn.length / 3];
    const signs = (part('boolean_kernels') as BitMatrix).toSigns();
    const kernel = (k: number) =>
      Array.from({ length: rows * cols }, (_, at) => {
        const [i, j] = [Math.floor(at / cols), at % cols];
        return (signs[k * rows * cols + at] as number) * (sOut[k * rows + i] as number) * (sIn[k * cols + j] as number);
      });
    const [first, second] = [kernel(0), kernel(1)];
    const weight = coreOf(original).parameters.get(`${module}.weight`)?.toFloat32() as Float32Array;
    const rest = Array.from(weight, (value, at) => value - (first[at] as number));
    expect(entry.kernels).toBeCloseTo(correlation(first, second), 5);
    expect(entry.residual).toBeCloseTo(correlation(rest, second), 5);
  }
});

test.each(['llama', 'gpt2'])(
  '%s: the second kernel of successive extraction is a projection of the residual',
  async (family) => {
    const original = join(GOLDEN, family);
    const places = [1, 2].map((kernels) => join(folder, `${family}-${kernels}`));
    for (const [i, place] of places.entries())
      await binarizeFolder(original, place, { kernels: i + 1, method: 'svid' });
    const [one, two] = await Promise.all(places.map(async (place) => (await inspect(place)).conversion?.residuals));
    const found = await kernelCorrelations(places[1] as string, original);
    expect(found.map(({ module }) => module)).toEqual(Object.keys(two as object));
    for (const { module, residual } of found) {
      // ‖R − Ŵ₂‖² = ‖R‖² (1 − corr(R, Ŵ₂)²)
      const left = (two?.[module] as number) / (one?.[module] as number);
      expect(residual).toBeCloseTo(Math.sqrt(1 - left * left), 3);
    }
  },
);

test('an original with other layers is refused by name', async () => {
  const place = join(folder, 'llama-2');
  await expect(kernelCorrelations(place, join(GOLDEN, 'gpt2'))).rejects.toMatchObject({
    code: 'MBOK_SHAPE',
    message: expect.stringContaining("has no layer 'model.layers.0.self_attn.q_proj' of 64 × 64 weights"),
  });
});

test('mbok inspect --original shows them', async () => {
  const place = join(folder, 'llama-2');
  const call = { operand: () => place, text: () => LLAMA };
  const { lines, json } = await inspectCommand.run(call as never);
  expect(lines[0]).toMatch(/residual +corr\(y₁, y₂\) +corr\(y − y₁, y₂\)$/);
  expect(lines[1]).toMatch(/K = 2 .*( +-?0\.\d{4}){3}$/);
  expect(lines).toContainEqual(expect.stringMatching(/^mean corr\(y₁, y₂\) -?0\.\d{4}, corr\(y − y₁, y₂\) 0\.\d{4}$/));
  const [{ module, kernels, residual }] = (await kernelCorrelations(place, LLAMA)) as [never];
  expect(json.layers).toContainEqual(expect.objectContaining({ module, correlations: { kernels, residual } }));
});
