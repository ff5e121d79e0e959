/** The command line, end to end in a shell. Needs the compiled package (`npm run build:ts`). */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandEnvironment, MAIN, runMbok } from '../helpers/command_line';
import { copyGolden, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const VALID = join(TINY_STORIES, 'corpus/valid.txt');
const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

const mbok = (...args: string[]) => runMbok(folder, args);

/** Runs a command that must succeed quietly; parses the last line of its output. */
function json(...args: string[]): Record<string, unknown> {
  const { status, stdout, stderr } = mbok(...args, '--json');
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: '' });
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) as string);
}

let text: string;
beforeAll(() => {
  text = at('short.txt');
  writeFileSync(text, readFileSync(VALID, 'utf8').slice(0, 40_000));
});

describe('the way from a dense model to a Boolean one that tells a story', () => {
  test('binarize', () => {
    const svid = json('binarize', TINY_STORIES, at('svid'), '--kernels', '1', '--method', 'svid');
    expect(Object.keys(svid)).toEqual(expect.arrayContaining(['bitsPerWeight', 'bytes', 'residual']));
    expect(svid.bitsPerWeight).toBeCloseTo(1.138, 3);
    expect(svid.residual).toBeCloseTo(0.597, 3);
    const refit = json('binarize', TINY_STORIES, at('small'), '--kernels', '2', '--method', 'refit');
    expect(refit.bitsPerWeight).toBeCloseTo(2.276, 3);
    expect(refit.residual).toBeCloseTo(0.332, 3);
  });

  test('binarize with calibration and settings', () => {
    const args = ['--calibration', text, '--calibration-windows', '4', '--target-mix', '0.5', '--rounds', '1'];
    const result = json(
      'binarize',
      TINY_STORIES,
      at('calibrated'),
      '--kernels',
      '2',
      '--method',
      'calibrated',
      ...args,
    );
    expect(result).toMatchObject({ method: 'calibrated', calibration: { targetMix: 0.5, rounds: 1, windows: 4 } });
  });

  test('binarize with text written by the model, the same for the same seed', () => {
    const convert = (name: string, seed: string) => {
      const windows = ['--calibration-windows', '3', '--calibration-window', '40'];
      const args = ['--kernels', '1', '--calibration', 'self', '--seed', seed, ...windows];
      const result = json('binarize', TINY_STORIES, at(name), ...args);
      expect(result).toMatchObject({ method: 'calibrated', calibration: { windows: 3, length: 40 } });
      return readFileSync(join(at(name), 'model.safetensors'));
    };
    const first = convert('self-1', '1');
    expect(convert('self-1-again', '1').equals(first)).toBe(true);
    expect(convert('self-2', '2').equals(first)).toBe(false);
  });

  test('eval perplexity', () => {
    const args = ['--text', text, '--window', '128', '--max-windows', '8'];
    const dense = json('eval', 'perplexity', TINY_STORIES, ...args);
    expect(dense).toMatchObject({ tokens: 8 * 127, windows: 8 });
    expect(json('eval', 'perplexity', at('small'), ...args).perplexity).toBeGreaterThan(dense.perplexity as number);
  });

  test('finetune, with evaluation and a log', () => {
    const result = json(
      ...['finetune', at('small'), at('tuned'), '--teacher', TINY_STORIES, '--text', text, '--steps', '3'],
      ...[
        '--batch',
        '2',
        '--window',
        '64',
        '--train',
        'scales,norms,embeddings',
        '--lr',
        '0.001',
        '--flip-rate',
        '0.03',
      ],
      ...['--seed', '2', '--eval-text', text, '--eval-every', '2', '--eval-windows', '4', '--save-every', '2'],
      ...['--log', at('log.jsonl')],
    );
    expect(result).toMatchObject({ steps: 3, bitsPerWeight: expect.closeTo(2.276, 3) });
    expect(result.perplexity).toBeGreaterThan(1);
    const lines = readFileSync(at('log.jsonl'), 'utf8').trim().split('\n');
    expect(lines.length).toBeGreaterThanOrEqual(4);
    expect(readdirSync(folder)).not.toContain('tuned.checkpoint');
  });

  test('finetune on the text itself, with latent weights', () => {
    const args = ['--text', text, '--steps', '2', '--batch', '1', '--window', '32', '--latent'];
    expect(json('finetune', at('small'), at('latent'), ...args)).toMatchObject({ steps: 2 });
  });

  test('generate', () => {
    const args = ['--prompt', 'Once upon a time', '--max-tokens', '12', '--temperature', '0'];
    const result = json('generate', at('tuned'), ...args);
    expect(result).toMatchObject({ reason: 'max-tokens', tokens: 12 });
    // without --json it prints only the text
    const { stdout, stderr, status } = mbok('generate', at('tuned'), ...args);
    expect({ stdout, stderr, status }).toEqual({ stdout: `${result.text}\n`, stderr: '', status: 0 });
  });

  test('inspect', () => {
    const result = json('inspect', at('tuned'));
    expect(result).toMatchObject({ family: 'llama', linearWeights: 2359296, bitsPerWeight: expect.closeTo(2.276, 3) });
    const layers = result.layers as { kernels: number; bytes: number }[];
    expect(layers).toHaveLength(42);
    expect(layers.every(({ kernels }) => kernels === 2)).toBe(true);
    // strict: computed from the bytes of the file's tensors
    const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
    expect(result.bitsPerWeight).toBe((bytes * 8) / 2359296);
    expect(mbok('inspect', at('tuned')).stdout).toContain('2.276 bits a weight');
  });

  test('export gives a dense folder with the same perplexity', () => {
    const args = ['--text', text, '--window', '64', '--max-windows', '4'];
    const own = json('eval', 'perplexity', at('tuned'), ...args).perplexity as number;
    json('export', at('tuned'), at('dense32'));
    json('export', at('tuned'), at('dense16'), '--type', 'f16');
    const f32 = json('eval', 'perplexity', at('dense32'), ...args).perplexity as number;
    const f16 = json('eval', 'perplexity', at('dense16'), ...args).perplexity as number;
    expect(Math.abs(f32 / own - 1)).toBeLessThan(1e-6);
    expect(Math.abs(f16 / own - 1)).toBeLessThan(1e-3);
    const config = JSON.parse(readFileSync(join(at('dense16'), 'config.json'), 'utf8'));
    expect(config).toMatchObject({ dtype: 'float16', torch_dtype: 'float16' });
    expect(config).not.toHaveProperty('quantization_config');
  });

  test('info', () => {
    const result = json('info');
    expect(result).toMatchObject({ cpu: expect.any(String), threads: expect.any(Number) });
    expect(Object.keys(result.kernels as object).length).toBeGreaterThan(20);
    for (const rows of Object.values(result.decodedRows as Record<string, number[]>)) {
      expect(rows).toHaveLength(8);
      expect(rows).toEqual(rows.toSorted((a, b) => b - a));
    }
  });

  test('demo', () => {
    const {
      models,
      plot,
      story,
      folder: place,
    } = json('demo', '--steps', '2', '--out', at('demo')) as {
      models: { model: string; perplexity: number }[];
      plot: string;
      story: string;
      folder: string;
    };
    expect(models.map(({ model }) => model)).toEqual(['original', 'converted', 'calibrated', 'finetuned']);
    expect(readFileSync(plot, 'utf8')).toMatch(/^<svg[\s\S]*<\/svg>\n$/);
    expect(story.length).toBeGreaterThan(100);
    expect(readdirSync(place).sort()).toEqual(['calibrated', 'converted', 'finetuned', 'training.svg']);
  });
});

describe('mistakes end with code 2 and an explanation', () => {
  const cases: [string, string[], RegExp][] = [
    ['no command', [], /mbok COMMAND/],
    ['an unknown command', ['fly'], /no command 'fly'/],
    ['half a command', ['eval', 'taste'], /did you mean 'mbok eval perplexity'/],
    ['an unknown option', ['binarize', 'a', 'b', '--kernel', '2'], /--kernel/],
    ['too few operands', ['binarize', 'a', '--kernels', '2'], /expected SRC OUT/],
    ['too many operands', ['inspect', 'a', 'b'], /expected MODEL/],
    ['no kernels', ['binarize', 'a', 'b', '--kernels', '0'], /--kernels must be a whole number from 1 to 8/],
    ['17 kernels', ['binarize', 'a', 'b', '--kernels', '17'], /--kernels must be a whole number from 1 to 8/],
    ['no number', ['binarize', 'a', 'b', '--kernels', 'two'], /--kernels must be a whole number/],
    ['a negative rate', ['finetune', 'a', 'b', '--text', 'c', '--lr', '-1'], /--lr must be a number from 0/],
    [
      'an unknown method',
      ['binarize', 'a', 'b', '--method', 'magic'],
      /--method must be one of svid, refit, calibrated/,
    ],
    ['calibration without text', ['binarize', 'a', 'b', '--method', 'calibrated'], /--calibration PATH/],
    ['an unknown group', ['finetune', 'a', 'b', '--text', MAIN, '--train', 'scales,bits'], /--train .*'bits'/],
    ['no text', ['eval', 'perplexity', 'a'], /--text is needed/],
    ['no prompt', ['generate', 'a'], /--prompt is needed/],
    ['one folder twice', ['binarize', TINY_STORIES, `${TINY_STORIES}/`], /output must be another place than the input/],
  ];
  test.each(cases)('%s', (_, args, expected) => {
    const { status, stdout, stderr } = mbok(...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(expected);
  });
});

test.each<[string, () => string[]]>([
  ['binarize', () => []],
  ['finetune', () => ['--text', text]],
  ['export', () => []],
  ['baseline', () => ['--method', 'rtn', '--bits', '3']],
])('%s fails before it starts if it cannot write', (command, args) => {
  mkdirSync(at('photos'), { recursive: true });
  writeFileSync(join(at('photos'), 'cat.jpg'), '');
  // the model does not exist, which shows that nothing has been read yet
  const { status, stdout, stderr } = mbok(command, at('nothing-here'), at('photos'), ...args());
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/will not replace the folder .*photos.*\(MBOK_IO\)/);
  expect(readdirSync(at('photos'))).toEqual(['cat.jpg']);
});

test('-h is --help', () => {
  for (const command of [[], ['inspect']]) {
    expect(mbok(...command, '-h')).toEqual(mbok(...command, '--help'));
  }
});

test('failures end with code 1, the message and its code', () => {
  const { status, stdout, stderr } = mbok('inspect', at('nothing-here'), '--json');
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/nothing-here.*\(MBOK_IO\)\n$/);
  for (const place of [join(text, 'below'), ...(process.platform === 'linux' ? ['/proc/mbok/demo'] : [])]) {
    const demo = mbok('demo', '--steps', '1', '--out', place);
    expect({ status: demo.status, stdout: demo.stdout }).toEqual({ status: 1, stdout: '' });
    expect(demo.stderr).toContain(`cannot create '${place}'`);
  }
  // stdout on a full disk
  if (existsSync('/dev/full')) {
    const full = spawnSync('sh', ['-c', `"$0" "$1" info --json > /dev/full`, process.execPath, MAIN], {
      encoding: 'utf8',
    });
    expect({ status: full.status, stderr: full.stderr }).toEqual({
      status: 1,
      stderr: "mbok: cannot write 'stdout': no space left on the device (ENOSPC) (MBOK_IO)\n",
    });
  }
  // a model without a tokenizer
  mkdirSync(at('plain'));
  const plain = copyGolden('llama', at('plain'));
  const generated = mbok('generate', plain, '--prompt', 'Once');
  expect(generated.status).toBe(1);
  expect(generated.stderr).toContain('MBOK_NO_TOKENIZER');
});

test.each([
  'binarize',
  'finetune',
  'eval perplexity',
  'eval speed',
  'generate',
  'serve',
  'inspect',
  'export',
  'baseline',
  'report',
  'info',
  'demo',
])('%s --help explains the command', (name) => {
  const { status, stdout, stderr } = mbok(...name.split(' '), '--help');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toContain(`mbok ${name}`);
  expect(stdout).toContain('Examples:');
  expect(stdout).toContain('--json');
  for (const line of stdout.split('\n')) expect(line.length).toBeLessThan(160);
});

describe('Ctrl-C', () => {
  /** Starts a command and interrupts it when `ready` says so, twice at once if `twice`. */
  async function interrupt(args: string[], ready: () => boolean, { twice = false } = {}) {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, env: commandEnvironment(folder) });
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const timer = setInterval(() => {
      if (!ready()) return;
      clearInterval(timer);
      child.kill('SIGINT');
      // a terminal and npm send both at once; a later second signal would end the process at once
      if (twice) setTimeout(() => child.kill('SIGINT'), 5);
    }, 10);
    const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
    clearInterval(timer);
    return { status, stderr };
  }

  test('stops a finetuning run, which --resume continues with the bits of an uninterrupted one', async () => {
    const options = ['--text', text, '--steps', '12', '--batch', '2', '--window', '64', '--save-every', '100'];
    const log = at('interrupted.jsonl');
    const steps = () => (existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 2 : 0);
    const args = ['finetune', at('small'), at('interrupted'), '--teacher', TINY_STORIES, ...options, '--log', log];
    const { status, stderr } = await interrupt(args, () => steps() >= 3, { twice: true });
    expect({ status, resumable: stderr.includes('--resume') }).toEqual({ status: 130, resumable: true });
    expect(existsSync(at('interrupted'))).toBe(false);
    expect(existsSync(at('interrupted.checkpoint'))).toBe(true);
    const before = steps();
    expect(before).toBeLessThan(12);

    expect(json(...args, '--resume')).toMatchObject({ steps: 12 });
    expect(existsSync(at('interrupted.checkpoint'))).toBe(false);
    json('finetune', at('small'), at('uninterrupted'), '--teacher', TINY_STORIES, ...options);
    const weights = (name: string) => readFileSync(join(at(name), 'model.safetensors'));
    expect(weights('interrupted').equals(weights('uninterrupted'))).toBe(true);
  });

  test('during a conversion leaves the unfinished work for the next run, and no output', async () => {
    const args = ['binarize', TINY_STORIES, at('halfway'), '--kernels', '8', '--rounds', '1000'];
    const { status } = await interrupt(args, () => existsSync(at('halfway.partial')));
    expect(status).toBe(130);
    expect(readdirSync(folder).filter((name) => name.includes('halfway'))).toEqual(['halfway.partial']);
  });
});
