/** Weights in several safetensors files. */

import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../lib/io/safetensors';
import { Model } from '../lib/model';
import { copyGolden, temporaryFolder } from './folders';

const folder = temporaryFolder();
const ids = [1, 2, 3, 4, 5];

/** A copy of the golden llama with its tensors dealt out to `count` files. */
async function sharded(name: string, count: number): Promise<string> {
  const at = join(folder, name);
  mkdirSync(at);
  copyGolden('llama', at);
  await using file = await SafetensorsFile.open(join(at, 'model.safetensors'));
  const shards = Array.from({ length: count }, (): TensorSource[] => []);
  const places: Record<string, string> = {};
  for (const [index, { name: tensor, dtype, shape }] of [...file.tensors.values()].entries()) {
    shards[index % count]?.push({ name: tensor, dtype, shape, bytes: () => file.read(tensor) });
    places[tensor] = `model-${index % count}.safetensors`;
  }
  for (const [index, tensors] of shards.entries())
    await writeSafetensors(join(at, `model-${index}.safetensors`), tensors);
  writeFileSync(join(at, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: places }));
  rmSync(join(at, 'model.safetensors'));
  return at;
}

test('several files hold the same model as one', async () => {
  const whole = join(folder, 'whole');
  mkdirSync(whole);
  await using one = await Model.load(copyGolden('llama', whole));
  await using three = await Model.load(await sharded('three', 3));
  expect((await three.logits(ids)).data).toEqual((await one.logits(ids)).data);
});

test('a missing file is named', async () => {
  const at = await sharded('missing', 2);
  renameSync(join(at, 'model-1.safetensors'), join(at, 'elsewhere'));
  await expect(Model.load(at)).rejects.toMatchObject({ code: 'MBOK_IO', message: expect.stringContaining('model-1') });
});
