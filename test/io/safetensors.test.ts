import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, writeFile } from '../../lib/io/atomic';
import { remove } from '../../lib/io/files';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from '../../lib/io/half';
import { readJson } from '../../lib/io/json';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { DTYPE_BYTES, type Dtype } from '../../lib/io/safetensors_header';
import { runTypeScript } from '../helpers/run_typescript';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mbok-io-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);

describe('half precision', () => {
  const everyBits = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);

  test.each([
    ['f16', f16ToF32, f32ToF16],
    ['bf16', bf16ToF32, f32ToBf16],
  ] as const)('every %s survives the way to f32 and back', (_, toF32, fromF32) => {
    const values = toF32(everyBits);
    const back = fromF32(values);
    for (let bits = 0; bits < 0x10000; bits++) {
      if (Number.isNaN(values[bits])) expect(toF32(back.subarray(bits, bits + 1))[0]).toBeNaN();
      else if (back[bits] !== bits) throw new Error(`${bits} became ${back[bits]}`);
    }
  });

  test.each([
    ['f16', f16ToF32, f32ToF16, 0x7c00],
    ['bf16', bf16ToF32, f32ToBf16, 0x7f80],
  ] as const)('values between two %s go to the nearer, ties to the even one', (_, toF32, fromF32, infinity) => {
    const [values] = [toF32(everyBits.subarray(0, infinity))];
    for (let bits = 0; bits + 1 < infinity; bits++) {
      const low = values[bits] as number;
      const high = values[bits + 1] as number;
      const middle = (low + high) / 2;
      const step = high - low;
      const rounded = fromF32(Float32Array.of(middle - step / 8, middle, middle + step / 8, -middle));
      const even = bits % 2 === 0 ? bits : bits + 1;
      const wanted = [bits, even, bits + 1, even | 0x8000];
      // the smallest bf16 lie near f32's limit, where points between them are not representable
      const representable = Math.fround(middle - step / 8) === middle - step / 8;
      if (representable && rounded.join() !== wanted.join()) throw new Error(`${middle}: ${rounded}, not ${wanted}`);
    }
    expect([...fromF32(Float32Array.of(3.4e38, -3.4e38, Infinity, 1e-45))].map((x) => x & 0x7fff)).toEqual(
      infinity === 0x7c00 ? [infinity, infinity, infinity, 0] : [0x7f80, 0x7f80, 0x7f80, 0],
    );
  });

  test('f16 overflows at 65520, half way to the value after its largest', () => {
    expect([...f32ToF16(Float32Array.of(65504, 65519.996, 65520, -65520))]).toEqual([0x7bff, 0x7bff, 0x7c00, 0xfc00]);
  });
});

describe('safetensors', () => {
  const bytes = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 37 + seed * 11) & 0xff);

  test('every data type survives the way to a file and back', async () => {
    const dtypes = Object.keys(DTYPE_BYTES) as Dtype[];
    const tensors = dtypes.map((dtype, index): TensorSource & { content: Uint8Array } => {
      const content = bytes(20 * DTYPE_BYTES[dtype], index);
      return { name: `tensor.${dtype}`, dtype, shape: [4, 5], bytes: () => content, content };
    });
    await writeSafetensors(at('all.safetensors'), tensors, { format: 'pt', note: 'ü "quoted"' });
    await using file = await SafetensorsFile.open(at('all.safetensors'));
    expect(Object.fromEntries(file.metadata)).toEqual({ format: 'pt', note: 'ü "quoted"' });
    for (const { name, dtype, content } of tensors) {
      expect(file.entry(name)).toMatchObject({ name, dtype, shape: [4, 5] });
      expect(file.entry(name).byteOffset % DTYPE_BYTES[dtype]).toBe(0);
      expect(await file.read(name)).toEqual(content);
    }
  });

  test('scalars, empty tensors and special names are ordinary tensors', async () => {
    const names = ['__proto__', '0', 'constructor', 'ключ "x"'];
    const tensors = names.map(
      (name, index): TensorSource => ({ name, dtype: 'F32', shape: [], bytes: () => bytes(4, index) }),
    );
    tensors.push({ name: 'empty', dtype: 'I64', shape: [4, 0, 2], bytes: () => new Uint8Array() });
    await writeSafetensors(at('odd.safetensors'), tensors);
    await using file = await SafetensorsFile.open(at('odd.safetensors'));
    expect([...file.tensors.keys()].sort()).toEqual([...names, 'empty'].sort());
    for (const [index, name] of names.entries()) expect(await file.read(name)).toEqual(bytes(4, index));
    expect(await file.read('empty')).toHaveLength(0);
  });

  test.each(['F32', 'F16', 'BF16', 'F64'] as const)('%s is read as f32', async (dtype) => {
    const values = Float32Array.of(1, -2.5, 0, -0, 0.15625, Infinity);
    const stored = { F32: values, F16: f32ToF16(values), BF16: f32ToBf16(values), F64: Float64Array.from(values) }[
      dtype
    ];
    const content = new Uint8Array(stored.buffer);
    await writeSafetensors(at('x.safetensors'), [{ name: 'x', dtype, shape: [2, 3], bytes: () => content }]);
    await using file = await SafetensorsFile.open(at('x.safetensors'));
    expect(await file.readF32('x')).toEqual(values);
  });

  test('a tensor longer than a piece is assembled correctly', async () => {
    const values = Uint16Array.from({ length: (1 << 23) + 4321 }, (_, i) => (i * 7) & 0x3fff);
    const content = new Uint8Array(values.buffer);
    await writeSafetensors(at('long.safetensors'), [
      { name: 'long', dtype: 'F16', shape: [values.length], bytes: () => content },
    ]);
    await using file = await SafetensorsFile.open(at('long.safetensors'));
    expect(Buffer.compare(await file.read('long'), content)).toBe(0);
    const read = await file.readF32('long');
    expect(Buffer.compare(new Uint8Array(read.buffer), new Uint8Array(f16ToF32(values).buffer))).toBe(0);
  });

  test('the embedded model is read', async () => {
    await using file = await SafetensorsFile.open(join(__dirname, '../../assets/tiny-stories/model.safetensors'));
    expect(file.entry('model.embed_tokens.weight')).toMatchObject({ dtype: 'F16', shape: [2048, 192] });
    const values = await file.readF32('model.norm.weight');
    expect(values).toHaveLength(192);
    expect(values.every(Number.isFinite)).toBe(true);
  });

  const withHeader = (header: string | Uint8Array, data = 0) => {
    const json = Buffer.from(header);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    return Buffer.concat([length, json, Buffer.alloc(data)]);
  };
  const tensor = (dtype: string, shape: unknown, offsets: unknown) =>
    JSON.stringify({ x: { dtype, shape, data_offsets: offsets } });

  test.each<[string, Uint8Array, string, RegExp]>([
    ['an empty file', Buffer.alloc(0), 'MBOK_FORMAT', /0 bytes, too few/],
    ['a file of five bytes', Buffer.alloc(5), 'MBOK_FORMAT', /5 bytes, too few/],
    [
      'a header length past the file',
      Buffer.from('ff00000000000000', 'hex'),
      'MBOK_FORMAT',
      /255 reaches past the end/,
    ],
    ['a header length of 2^63', Buffer.from('0000000000000080', 'hex'), 'MBOK_FORMAT', /9223372036854775808 is over/],
    ['a header length of 34 MB', Buffer.from('0100000200000000', 'hex'), 'MBOK_FORMAT', /is over 33554432/],
    ['a header that is not UTF-8', withHeader(Buffer.from('7b22ff227d', 'hex')), 'MBOK_FORMAT', /not valid UTF-8/],
    ['a header that is not JSON', withHeader('{"x":'), 'MBOK_FORMAT', /not valid JSON/],
    ['a header that is a list', withHeader('[]'), 'MBOK_FORMAT', /must hold a JSON object/],
    ['a tensor that is not an object', withHeader('{"x":1}'), 'MBOK_FORMAT', /'x'.*not described by an object/],
    ['a tensor without dtype', withHeader('{"x":{"shape":[],"data_offsets":[0,0]}}'), 'MBOK_FORMAT', /'x'.*no dtype/],
    ['an unknown dtype', withHeader(tensor('F3', [2], [0, 1]), 1), 'MBOK_UNSUPPORTED', /unknown dtype 'F3'/],
    ['half a byte', withHeader(tensor('F4', [3], [0, 2]), 2), 'MBOK_FORMAT', /2 bytes, but F4 of shape \[3\] has 1.5/],
    ['a dtype that objects inherit', withHeader(tensor('toString', [], [0, 0])), 'MBOK_UNSUPPORTED', /toString/],
    ['a negative size', withHeader(tensor('U8', [-1], [0, 1]), 1), 'MBOK_FORMAT', /not a list of sizes: \[-1\]/],
    ['a size of one and a half', withHeader(tensor('U8', [1.5], [0, 1]), 1), 'MBOK_FORMAT', /not a list of sizes/],
    ['a shape that is a number', withHeader(tensor('U8', 4, [0, 4]), 4), 'MBOK_FORMAT', /not a list of sizes: 4/],
    ['offsets that go backwards', withHeader(tensor('U8', [4], [4, 0]), 4), 'MBOK_FORMAT', /not \[begin, end\]/],
    ['three offsets', withHeader(tensor('U8', [4], [0, 4, 8]), 4), 'MBOK_FORMAT', /not \[begin, end\]/],
    ['no offsets', withHeader(tensor('U8', [4], undefined), 4), 'MBOK_FORMAT', /not \[begin, end\]/],
    [
      'a length that the shape does not give',
      withHeader(tensor('F32', [3], [0, 8]), 8),
      'MBOK_FORMAT',
      /8 bytes, but F32 of shape \[3\] has 12/,
    ],
    [
      'a shape whose product overflows',
      withHeader(tensor('F32', [2 ** 52, 2 ** 52], [0, 0])),
      'MBOK_FORMAT',
      /0 bytes, but/,
    ],
    ['a truncated tensor', withHeader(tensor('U8', [9], [0, 9]), 5), 'MBOK_FORMAT', /truncated: tensor 'x'/],
    ['bytes of no tensor', withHeader(tensor('U8', [4], [0, 4]), 6), 'MBOK_FORMAT', /2 bytes that belong to no tensor/],
    ['a gap at the start', withHeader(tensor('U8', [4], [2, 6]), 6), 'MBOK_FORMAT', /leaves a gap/],
    [
      'overlapping tensors',
      withHeader(
        '{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
        6,
      ),
      'MBOK_FORMAT',
      /'y'.*overlaps/,
    ],
    [
      'a tensor named twice',
      withHeader(
        '{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0078":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
      ),
      'MBOK_FORMAT',
      /names 'x' twice/,
    ],
    [
      'a dtype given twice',
      withHeader('{"x":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1),
      'MBOK_FORMAT',
      /names 'dtype' twice/,
    ],
    ['metadata that is a list', withHeader('{"__metadata__":[]}'), 'MBOK_FORMAT', /'__metadata__'.*not an object/],
    ['metadata that is a number', withHeader('{"__metadata__":{"a":1}}'), 'MBOK_FORMAT', /not a string: 'a'/],
  ])('%s is refused', async (_, content, code, message) => {
    writeFileSync(at('bad.safetensors'), content);
    const opened = SafetensorsFile.open(at('bad.safetensors'));
    await expect(opened).rejects.toMatchObject({ name: 'MbokError', code, message: expect.stringMatching(message) });
    await expect(opened).rejects.toThrow(at('bad.safetensors'));
  });

  test('a file that shrinks after it was opened gives an error', async () => {
    const content = bytes(4000);
    await writeSafetensors(at('x.safetensors'), [{ name: 'x', dtype: 'F32', shape: [1000], bytes: () => content }]);
    await using file = await SafetensorsFile.open(at('x.safetensors'));
    truncateSync(at('x.safetensors'), 2000);
    await expect(file.read('x')).rejects.toMatchObject({
      code: 'MBOK_FORMAT',
      message: expect.stringContaining('truncated'),
    });
    await expect(file.readF32('x')).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });

  test('missing files, folders, unknown tensors, wrong types and closed files give different errors', async () => {
    await expect(SafetensorsFile.open(at('nothing'))).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringMatching(/no such file/),
    });
    await expect(SafetensorsFile.open(folder)).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringMatching(/it is a folder/),
    });
    await writeSafetensors(at('x.safetensors'), [{ name: 'x', dtype: 'I32', shape: [1], bytes: () => bytes(4) }]);
    const file = await SafetensorsFile.open(at('x.safetensors'));
    await expect(file.read('y')).rejects.toMatchObject({
      code: 'MBOK_FORMAT',
      message: expect.stringMatching(/no tensor 'y'/),
    });
    await expect(file.readF32('x')).rejects.toMatchObject({
      code: 'MBOK_UNSUPPORTED',
      message: expect.stringMatching(/dtype I32/),
    });
    await file.close();
    await file.close();
    await expect(file.read('x')).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });

  test('a source with a wrong number of bytes leaves the old file', async () => {
    writeFileSync(at('x.safetensors'), 'old');
    const short: TensorSource = { name: 'x', dtype: 'F32', shape: [2], bytes: () => bytes(4) };
    await expect(writeSafetensors(at('x.safetensors'), [short])).rejects.toMatchObject({
      code: 'MBOK_SHAPE',
      message: expect.stringMatching(/4 bytes, but F32 of shape \[2\] has 8/),
    });
    await expect(writeSafetensors(at('x.safetensors'), [short, short])).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
    });
    expect(readFileSync(at('x.safetensors'), 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['x.safetensors']);
  });
});

describe('JSON files', () => {
  test.each([
    ['{"a": 1', 'MBOK_FORMAT', /not valid JSON/],
    ['[1]', 'MBOK_FORMAT', /must hold a JSON object/],
    ['null', 'MBOK_FORMAT', /must hold a JSON object/],
    [Buffer.from([0x22, 0xc3, 0x22]), 'MBOK_FORMAT', /not valid UTF-8/],
  ])('%j is refused', async (content, code, message) => {
    writeFileSync(at('bad.json'), content);
    await expect(readJson(at('bad.json'))).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('a byte order mark is skipped and a missing file named', async () => {
    writeFileSync(at('bom.json'), '\ufeff{"a": 1}');
    expect(await readJson(at('bom.json'))).toEqual({ a: 1 });
    await expect(readJson(at('none.json'))).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: `cannot read '${at('none.json')}': no such file or folder (ENOENT)`,
    });
  });
});

test('removing accepts a file or nothing, and a folder gives MBOK_IO', async () => {
  writeFileSync(at('a'), '');
  await remove(at('a'));
  await remove(at('a'));
  mkdirSync(at('folder'));
  await expect(remove(at('folder'))).rejects.toMatchObject({
    code: 'MBOK_IO',
    message: expect.stringContaining(`cannot remove '${at('folder')}'`),
  });
  expect(readdirSync(folder)).toEqual(['folder']);
});

describe('atomic files', () => {
  test('a write that fails half way leaves the old file and no temporary', async () => {
    await writeFile(at('a'), 'old');
    const write = writeFile(at('a'), async (file) => {
      await file.append(Buffer.from('new'));
      throw new Error('half way');
    });
    await expect(write).rejects.toThrow('half way');
    expect(readFileSync(at('a'), 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['a']);
  });

  test('a file over the size limit of the process gives an error, not a signal, and leaves the old one', () => {
    writeFileSync(at('a'), 'old');
    const result = runTypeScript(
      `import { writeFile } from './lib/io/atomic';
       writeFile(${JSON.stringify(at('a'))}, new Uint8Array(1 << 20)).catch((e) => console.log(e.code, e.message));`,
      { limits: '-f 64' },
    );
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout).toBe(
      `MBOK_IO cannot write '${at('a')}': the file would pass the size limit of the process or the file system (EFBIG)\n`,
    );
    expect(readFileSync(at('a'), 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['a']);
  });

  test('a full disk gives an error and leaves the old file', async () => {
    mkdirSync(at('disk'));
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', at('disk')]).status !== 0) {
      console.warn('skipped: mounting a tmpfs is not permitted here; the size limit above covers the same path');
      return;
    }
    try {
      await writeFile(at('disk/a'), 'old');
      const large = new Uint8Array(1 << 20);
      await expect(writeFile(at('disk/a'), large)).rejects.toMatchObject({
        code: 'MBOK_IO',
        message: expect.stringMatching(/no space left.*ENOSPC/),
      });
      expect(readdirSync(at('disk'))).toEqual(['a']);
      expect(readFileSync(at('disk/a'), 'utf8')).toBe('old');
    } finally {
      execFileSync('umount', [at('disk')]);
    }
  });

  test('paths that cannot be written are named with the reason', async () => {
    writeFileSync(at('file'), '');
    await expect(writeFile(at('none/a'), '')).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringMatching(/none\/a.*ENOENT/),
    });
    await expect(writeFile(at('file/a'), '')).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringMatching(/file\/a.*ENOTDIR/),
    });
    await expect(writeFile(folder, '')).rejects.toMatchObject({ code: 'MBOK_IO' });
  });

  test('a folder that cannot be created is an error, also if the system reports its parent as missing', async () => {
    // Linux: /proc refuses new names with ENOENT, and Node's recursive mkdir then never ends
    writeFileSync(at('file'), '');
    const places = [
      [at('file/a'), 'ENOTDIR'],
      [at('file/a/b'), 'ENOTDIR'],
      ...(process.platform === 'linux' ? [['/proc/mbok/model', 'ENOENT']] : []),
    ] as const;
    for (const [place, reason] of places) {
      await expect(makeFolder(place)).rejects.toMatchObject({
        code: 'MBOK_IO',
        message: expect.stringMatching(`${place}.*${reason}`),
      });
    }
  });

  test('a folder without write permission gives an error', () => {
    mkdirSync(at('locked'), { mode: 0o555 });
    const result = runTypeScript(
      `import { makeFolder, writeFile } from './lib/io/atomic';
       // root may write anywhere
       if (process.getuid?.() === 0) { process.setgid?.(65534); process.setuid?.(65534); }
       const show = (e: { code: string; message: string }) => console.log(e.code, e.message.replace(/.*: /, ''));
       writeFile(${JSON.stringify(at('locked/a'))}, 'x').catch(show)
         .then(() => makeFolder(${JSON.stringify(at('locked/b'))}).catch(show));`,
    );
    expect(result.stderr).toBe('');
    expect(result.stdout).toBe('MBOK_IO permission denied (EACCES)\n'.repeat(2));
  });
});
