import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { built, nativeTestProgram } from '../helpers/builds';
import { runTypeScript } from '../helpers/run_typescript';
import { misplacedInstructions, wideFunctions } from '../helpers/wide_registers';

describe('the plain C++ test program', () => {
  let program: string;
  beforeAll(() => {
    program = nativeTestProgram();
  }, 900_000);

  // the cases themselves call every candidate that the machine supports; MBOK_ISA chooses the others
  test.each(['', 'scalar'])(
    'passes with MBOK_ISA=%j',
    (isa) => {
      const env = { ...process.env, ...(isa === '' ? {} : { MBOK_ISA: isa }) };
      const { stdout, stderr, status } = spawnSync(program, { encoding: 'utf8', env, maxBuffer: 1 << 26 });
      const failed = stdout.split('\n').filter((line) => /^(FAIL| {2})/.test(line));
      expect(failed).toEqual([]);
      expect(stderr).toBe('');
      const counts = /(\d+) passed, (\d+) failed\n$/.exec(stdout);
      expect(counts?.[2]).toBe('0');
      expect(Number(counts?.[1])).toBeGreaterThan(30);
      expect(status).toBe(0);
    },
    900_000,
  );
});

test.each(['sse9', process.arch === 'x64' ? 'neon' : 'avx2'])('the instruction set %s is refused', (isa) => {
  const source = `import { Model } from './lib/model';
    Model.load('assets/tiny-stories').then((model) => model.logits([0]))
      .catch((error) => console.log(error.code, error.message));`;
  const { stdout } = runTypeScript(source, { env: { MBOK_ISA: isa } });
  expect(stdout).toMatch(new RegExp(`^MBOK_INVALID_ARGUMENT .*scalar.*'${isa}'`));
});

test.each(['-1', '33', 'many'])('%s rows for look-up are refused', (rows) => {
  const source = `import { addon, guarded } from './lib/native/addon';
    try { guarded(() => addon().info()); } catch (error) { console.log(error.code, error.message); }`;
  const { stdout } = runTypeScript(source, { env: { MBOK_DECODE_ROWS: rows } });
  expect(stdout).toMatch(new RegExp(`^MBOK_INVALID_ARGUMENT MBOK_DECODE_ROWS .*'${rows}'`));
});

test('the number of rows for look-up can be set', () => {
  const source = `import { addon } from './lib/native/addon'; console.log(addon().info().decodedRows.int8[3]);`;
  for (const rows of ['0', '7']) {
    expect(runTypeScript(source, { env: { MBOK_DECODE_ROWS: rows } }).stdout).toBe(`${rows}\n`);
  }
});

const describeOnX64 = process.arch === 'x64' && process.platform === 'linux' ? describe : describe.skip;

describeOnX64('wide registers', () => {
  test.each(['native', 'prebuild'] as const)(
    'the %s build uses them only where the CPU has been asked',
    (kind) => {
      const binary = built(kind);
      expect(wideFunctions(binary)).toBeGreaterThan(10);
      expect(misplacedInstructions(binary)).toEqual([]);
    },
    900_000,
  );

  test('an inline function that was compiled for AVX-512 is found', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mbok-wide-'));
    try {
      const source = `
        #pragma GCC target("avx512f,bmi2")
        inline __attribute__((noinline)) void leaked(float* x) { for (int i = 0; i < 64; ++i) x[i] *= 3; }
        namespace mbok::avx512 { void kernel(float* x) { leaked(x); for (int i = 0; i < 64; ++i) x[i] += 1; } }`;
      writeFileSync(join(folder, 'leak.cc'), source);
      const object = join(folder, 'leak.o');
      const compile = spawnSync('g++', ['-std=c++17', '-O3', '-c', join(folder, 'leak.cc'), '-o', object], {
        encoding: 'utf8',
      });
      expect(compile.stderr).toBe('');
      expect(misplacedInstructions(object)).toEqual([expect.stringMatching(/^leaked\(float\*\): v/)]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
