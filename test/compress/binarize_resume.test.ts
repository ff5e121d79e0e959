/** Conversion from disk to disk: its output, and the same output after it was stopped or killed. */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../../lib/compress/binarize_folder';
import { planConversion } from '../../lib/compress/memory_plan';
import { Model } from '../../lib/model';
import { Random } from '../helpers/random';
import { typeScriptArguments } from '../helpers/run_typescript';

const TINY_STORIES = join(__dirname, '../../assets/tiny-stories');
const folder = mkdtempSync(join(tmpdir(), 'mbok-binarize-'));
afterAll(() => rmSync(folder, { recursive: true }));
let outputs = 0;
const newOutput = () => join(folder, `output-${++outputs}`);

const ids = Array.from({ length: 4000 }, (_, i) => (i * i * 7 + i) % 2048);
const CALIBRATED = {
  kernels: 2,
  method: 'calibrated',
  calibration: { data: ids, windows: 40, length: 64, rounds: 2 },
} as const;

const contents = (output: string) =>
  Object.fromEntries(readdirSync(output).map((name) => [name, readFileSync(join(output, name)).toString('base64')]));
const blocks = (output: string) => readdirSync(`${output}.partial`).filter((name) => /^block-\d+[.]json/.test(name));

/** Converts and aborts before module number `stopAt`; resolves to whether it was aborted. */
async function convert(output: string, options: BinarizeFolderOptions, stopAt = Infinity): Promise<boolean> {
  const controller = new AbortController();
  let modules = 0;
  const onProgress = () => {
    if (++modules === stopAt) controller.abort();
  };
  try {
    await binarizeFolder(TINY_STORIES, output, { ...options, signal: controller.signal, onProgress });
    return false;
  } catch (error) {
    if ((error as { code?: string }).code !== 'MBOK_ABORTED') throw error;
    return true;
  }
}

let calibrated: ReturnType<typeof contents>;
beforeAll(async () => {
  const output = newOutput();
  await convert(output, CALIBRATED);
  calibrated = contents(output);
});

test.each<[string, BinarizeOptions]>([
  ['svid', { kernels: 1, method: 'svid' }],
  ['refit', { kernels: 2 }],
  ['calibrated', CALIBRATED],
])('a model converted from disk by %s is the one converted in memory, file by file', async (_, options) => {
  const [fromDisk, inMemory] = [newOutput(), newOutput()];
  const report = await binarizeFolder(TINY_STORIES, fromDisk, options);
  await using model = await Model.load(TINY_STORIES);
  await using small = await binarize(model, options);
  await small.save(inMemory);
  expect(report).toEqual(small.conversion);
  expect(contents(fromDisk)).toEqual(contents(inMemory));
  expect(existsSync(`${fromDisk}.partial`)).toBe(false);
});

test.each<[string, BinarizeOptions]>([
  ['refit', { kernels: 2 }],
  ['calibrated', CALIBRATED],
])('a conversion by %s that is stopped time and again loses one block at most', async (_, options) => {
  const [stopped, straight] = [newOutput(), newOutput()];
  await convert(straight, options);
  for (const finished of [1, 2, 3]) {
    // stops inside the block after the newly finished one
    expect(await convert(stopped, options, 7 + 3)).toBe(true);
    expect(blocks(stopped)).toHaveLength(finished);
    expect(existsSync(stopped)).toBe(false);
  }
  expect(await convert(stopped, options)).toBe(false);
  expect(contents(stopped)).toEqual(contents(straight));
});

test('a conversion that is killed at any moment goes on to the same bits', async () => {
  const output = newOutput();
  const program = `
    import { binarizeFolder } from './lib/compress/binarize_folder';
    const ids = Array.from({ length: 4000 }, (_, i) => (i * i * 7 + i) % 2048);
    void binarizeFolder('assets/tiny-stories', ${JSON.stringify(output)}, {
      kernels: 2,
      method: 'calibrated',
      calibration: { data: ids, windows: 40, length: 64, rounds: 2 },
      onProgress: () => process.stdout.write('.'),
    }).then(() => process.stdout.write('done'));`;
  const random = new Random(Date.now());
  let kills = 0;
  /** Kills the process some time after its first module; resolves to whether it ended by itself. */
  const attempt = () =>
    new Promise<boolean>((resolve, reject) => {
      const child = spawn(process.execPath, typeScriptArguments(program), { cwd: join(__dirname, '../..') });
      let [said, complaints] = ['', ''];
      child.stderr.on('data', (data) => {
        complaints += data;
      });
      child.stdout.on('data', (data) => {
        // the last attempts are not killed
        if (said === '' && kills < 6) setTimeout(() => child.kill('SIGKILL'), random.integer(0, 500));
        said += data;
      });
      child.on('exit', (code, signal) => {
        if (signal === 'SIGKILL') kills++;
        else if (code !== 0) reject(new Error(complaints));
        resolve(said.endsWith('done'));
      });
    });
  while (!(await attempt()));
  expect(contents(output)).toEqual(calibrated);
  expect(existsSync(`${output}.partial`)).toBe(false);
});

test('an unfinished conversion with other options or of another source is refused, or forgotten on demand', async () => {
  const output = newOutput();
  expect(await convert(output, CALIBRATED, 10)).toBe(true);
  const { calibration } = CALIBRATED;
  const others: BinarizeFolderOptions[] = [
    { ...CALIBRATED, kernels: 3 },
    { ...CALIBRATED, rounds: 5 },
    { ...CALIBRATED, calibration: { ...calibration, targetMix: 0.25 } },
    { ...CALIBRATED, calibration: { ...calibration, data: ids.map((id) => id ^ 1) } },
    { kernels: 2 },
  ];
  const refused = { code: 'MBOK_INVALID_ARGUMENT', message: expect.stringContaining(`${output}.partial`) };
  for (const options of others) await expect(convert(output, options)).rejects.toMatchObject(refused);
  const golden = join(__dirname, '../golden/llama');
  await expect(binarizeFolder(golden, output, { kernels: 2 })).rejects.toMatchObject(refused);
  expect(blocks(output)).toHaveLength(1);
  expect(await convert(output, { kernels: 1, restart: true })).toBe(false);
  await using small = await Model.load(output);
  expect(small.conversion?.method).toBe('refit');
});

test('a folder of somebody else is not worked in', async () => {
  const output = newOutput();
  mkdirSync(`${output}.partial`);
  writeFileSync(join(`${output}.partial`, 'diary.txt'), 'today');
  await expect(convert(output, { kernels: 1 })).rejects.toMatchObject({ code: 'MBOK_IO' });
  expect(readFileSync(join(`${output}.partial`, 'diary.txt'), 'utf8')).toBe('today');
});

test('hidden states that got lost give an error that names the file', async () => {
  const output = newOutput();
  expect(await convert(output, CALIBRATED, 10)).toBe(true);
  const states = join(`${output}.partial`, 'student-1.f32');
  writeFileSync(states, readFileSync(states).subarray(0, 1000));
  await expect(convert(output, CALIBRATED)).rejects.toMatchObject({
    code: 'MBOK_FORMAT',
    message: expect.stringContaining('student-1.f32'),
  });
  rmSync(states);
  const missing = { code: 'MBOK_IO', message: expect.stringContaining('student-1.f32') };
  await expect(convert(output, CALIBRATED)).rejects.toMatchObject(missing);
});

test('a Boolean model is refused before anything is written', async () => {
  const output = newOutput();
  await binarizeFolder(TINY_STORIES, output, { kernels: 1, method: 'svid' });
  const again = newOutput();
  await expect(binarizeFolder(output, again, { kernels: 1 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  expect(existsSync(`${again}.partial`)).toBe(false);
});

test('a plan tells the bytes of the output and the largest moment, and needs more for calibration', async () => {
  const output = newOutput();
  await binarizeFolder(TINY_STORIES, output, { kernels: 3 });
  const dataFree = await planConversion(TINY_STORIES, { kernels: 3 });
  const file = readFileSync(join(output, 'model.safetensors'));
  expect(dataFree.outputBytes).toBe(file.length - 8 - Number(file.readBigUInt64LE()));
  // 512 × 192 weights in f16, in f32, and their residual
  expect(dataFree.peakBytes).toBeGreaterThan(512 * 192 * 10);
  const calibrated = await planConversion(TINY_STORIES, { ...CALIBRATED, kernels: 3 });
  expect(calibrated.outputBytes).toBe(dataFree.outputBytes);
  expect(calibrated.peakBytes).toBeGreaterThan(dataFree.peakBytes);
  expect(calibrated.largest).toContain('model.layers.0.');
});
