/** The plan of a report and its execution, which works like make. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandLine, completePlan, type PlannedCommand } from '../../lib/report/plan';
import { readableJson } from '../../lib/report/readable_json';
import { Recipes, type ReportSettings } from '../../lib/report/recipes';
import { type RunOptions, runPlan } from '../../lib/report/run';
import { sectionsOf } from '../../lib/report/sections';
import { temporaryFolder } from '../helpers/folders';

const SETTINGS: ReportSettings = {
  ...{ steps: 3, window: 8, windows: 2, precision: 'f32', train: 'scales,norms', tasks: ['piqa', 'boolq'] },
  ...{ parameters: 3_200_000, vocabulary: 2000 },
  ...{ texts: ['$TEXT1', '$TEXT2'], evalTexts: ['$EVAL'] },
};

const planOf = (settings: ReportSettings) =>
  completePlan(sectionsOf(new Recipes(settings)).flatMap(({ commands }) => commands));

describe('the plan', () => {
  const plan = planOf(SETTINGS);
  const lines = plan.map(commandLine);

  test('has each command once, after its dependencies', () => {
    expect(new Set(plan.map(({ name }) => name)).size).toBe(plan.length);
    expect(new Set(lines).size).toBe(plan.length);
    for (const [i, { needs }] of plan.entries()) {
      for (const need of needs) expect(plan.indexOf(need)).toBeLessThan(i);
    }
  });

  test('has valid file names, and reads only models that it creates', () => {
    for (const { name, args, needs } of plan) {
      expect(name).toMatch(/^[\w.-]+$/);
      const read = args.filter((word) => word.startsWith('$WORK/')).map((word) => word.slice('$WORK/'.length));
      for (const model of read) expect([...needs.map((need) => need.name), name, `${name}.jsonl`]).toContain(model);
    }
  });

  test.each([
    'mbok eval perplexity $SRC --text $EVAL --window 8 --max-windows 2 --precision f32',
    'mbok binarize $SRC $WORK/svid-k1 --kernels 1 --method svid',
    'mbok binarize $SRC $WORK/calibrated-k2 --kernels 2 --calibration $TEXT1 --calibration $TEXT2 --calibration-windows 64 --calibration-window 8',
    'mbok finetune $WORK/calibrated-k3 $WORK/calibrated-k3-finetuned --teacher $SRC --text $TEXT1 --text $TEXT2 --steps 3 --window 8 --precision bf16 --resume --train scales,norms',
    'mbok binarize $SRC $WORK/pairs-0.8bits --factors 0.8 --calibration $TEXT1 --calibration $TEXT2 --calibration-windows 64 --calibration-window 8',
    'mbok finetune $WORK/pairs-0.8bits $WORK/pairs-0.8bits-finetuned --teacher $SRC --text $TEXT1 --text $TEXT2 --steps 3 --window 8 --precision bf16 --resume --train scales,norms',
    'mbok binarize $SRC $WORK/measured-0.8bits --bits 0.8 --allocation measured --calibration $TEXT1 --calibration $TEXT2 --calibration-windows 64 --calibration-window 8',
    // an eighth of the vocabulary, in multiples of 64
    'mbok binarize $SRC $WORK/calibrated-k2-tables-2_256 --kernels 2 --embeddings 2+256 --calibration $TEXT1 --calibration $TEXT2 --calibration-windows 64 --calibration-window 8',
    // 3.2 M parameters in 4 bytes / 32
    'mbok binarize $SRC $WORK/file-32th --size 400000 --calibration $TEXT1 --calibration $TEXT2 --calibration-windows 64 --calibration-window 8',
    'mbok baseline $SRC $WORK/rtn-3bits --method rtn --bits 3',
    'mbok eval perplexity $WORK/nested-k4 --text $EVAL --window 8 --max-windows 2 --precision f32 --kernels 2',
    'mbok eval speed $WORK/calibrated-k4 --precision bf16',
    'mbok eval tasks $SRC $WORK/calibrated-k4-finetuned $WORK/calibrated-k3-finetuned $WORK/calibrated-k2-finetuned $WORK/calibrated-k1-finetuned $WORK/pairs-2.1bits-finetuned $WORK/pairs-1.5bits-finetuned $WORK/pairs-1bits-finetuned $WORK/pairs-0.8bits-finetuned --data $TASKS --tasks piqa,boolq --precision f32',
  ])('has %s', (line) => {
    expect(lines).toContain(line);
  });

  test('has no budgets below one kernel by the method that gives every layer a kernel', () => {
    const budgets = (method: string) =>
      lines.flatMap((line) => (line.includes(`--allocation ${method}`) ? [line] : []));
    expect(budgets('measured').some((line) => line.includes('--bits 0.8'))).toBe(true);
    expect(budgets('paper').some((line) => line.includes('--bits 1.25'))).toBe(true);
    expect(budgets('paper').some((line) => line.includes('--bits 0.8'))).toBe(false);
  });

  test('has no training without steps, and no tasks without files', () => {
    const short = planOf({ ...SETTINGS, steps: 0, tasks: [] }).map(commandLine);
    expect(short.filter((line) => /finetune|latent|tasks/.test(line))).toEqual([]);
    expect(short.length).toBeGreaterThan(50);
  });
});

test('results are written with one line per entry and per list of numbers', () => {
  const value = { a: [1, -2.5e-7, 3], b: { c: ['x [\n 1,\n 2 ]', 'y'], d: [] }, e: [[1, 2], [{ f: 1 }]] };
  const text = readableJson(value);
  expect(JSON.parse(text)).toEqual(value);
  expect(text).toContain('"a": [1, -2.5e-7, 3]');
  expect(text).toContain('[1, 2]');
});

describe('running a plan', () => {
  const root = temporaryFolder();
  const make = (name: string, args: string[], needs: PlannedCommand[] = []): PlannedCommand => {
    return { name, args: ['make', ...args, `$WORK/${name}`], needs, makesModel: true, logs: false };
  };
  const look = (name: string, model: PlannedCommand, args: string[] = []): PlannedCommand => {
    return { name, args: ['look', `$WORK/${model.name}`, ...args], needs: [model], makesModel: false, logs: false };
  };
  const a = make('a', ['$SRC']);
  const b = make('b', ['$TEXT'], [a]);
  const plan = completePlan([look('a.look', a), look('b.look', b)]);
  let calls: string[];
  let folder: string;
  let count = 0;

  beforeEach(() => {
    folder = join(root, String(count++));
    mkdirSync(folder);
    calls = [];
  });

  /** Runs the plan with commands that write what a real one would, and clears the recorded calls. */
  async function run(commands = plan, changes: Partial<RunOptions> & { readonly text?: string } = {}) {
    calls = [];
    const workFolder = join(folder, 'work');
    return await runPlan(commands, {
      ...{ dataFolder: join(folder, 'data'), workFolder, circumstances: ['1.0'] },
      variables: new Map(
        ['$SRC', '$WORK', '$TEXT'].map((name) => [name, name === '$WORK' ? workFolder : `/in${name}`]),
      ),
      digests: new Map([
        ['$SRC', 's'],
        ['$TEXT', changes.text ?? 't'],
      ]),
      signal: new AbortController().signal,
      execute: async (args) => {
        const target = args.at(-1) as string;
        calls.push(args.map((word) => word.replace(workFolder, 'WORK')).join(' '));
        if (args[0] === 'make') {
          mkdirSync(target, { recursive: true });
          writeFileSync(join(target, 'config.json'), '{}');
        }
        return { result: { words: args.length } };
      },
      ...changes,
    });
  }
  const all = ['make /in$SRC WORK/a', 'look WORK/a', 'make /in$TEXT WORK/b', 'look WORK/b'];

  test('runs each command once with its variables replaced, and stores its output and command line', async () => {
    const { results, ran, kept, failed } = await run();
    expect(calls).toEqual(all);
    expect({ ran, kept, failed }).toEqual({ ran: ['a', 'a.look', 'b', 'b.look'], kept: [], failed: [] });
    expect(results.of(a)).toEqual({ words: 3 });
    const stored = JSON.parse(readFileSync(join(folder, 'data/b.look.json'), 'utf8'));
    expect(stored).toMatchObject({ command: 'mbok look $WORK/b', result: { words: 2 }, seconds: expect.any(Number) });
  });

  test('runs no command a second time, even if the models are gone', async () => {
    await run();
    rmSync(join(folder, 'work'), { recursive: true });
    const { results, kept } = await run();
    expect(calls).toEqual([]);
    expect(kept).toHaveLength(4);
    expect(results.of(a)).toEqual({ words: 3 });
  });

  test('creates a model again if a new command needs it', async () => {
    await run();
    rmSync(join(folder, 'work'), { recursive: true });
    await run(completePlan([...plan, look('more', b, ['--more'])]));
    expect(calls).toEqual([...all.filter((call) => call.startsWith('make')), 'look WORK/b --more']);
  });

  test('runs what has changed, and what depends on it', async () => {
    await run();
    await run(plan, { text: 'another text' });
    expect(calls).toEqual(all.slice(2));
    const changed = make('b', ['--better', '$TEXT'], [a]);
    await run(completePlan([look('a.look', a), look('b.look', changed)]), { text: 'another text' });
    expect(calls).toEqual(['make --better /in$TEXT WORK/b', 'look WORK/b']);
    await run(plan, { circumstances: ['2.0'] });
    expect(calls).toEqual(all);
  });

  test('does not use a model of an interrupted run with other options', async () => {
    await run();
    const changed = completePlan([look('a.look', make('a', ['--better', '$SRC']))]);
    const controller = new AbortController();
    const execute: RunOptions['execute'] = async (args) => {
      // the model is written, but its result is not
      writeFileSync(join(args.at(-1) as string, '../made'), '');
      controller.abort();
      throw Object.assign(new Error('aborted'), { code: 'MBOK_ABORTED' });
    };
    await expect(run(changed, { execute, signal: controller.signal })).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    await run();
    expect(calls).toEqual([all[0]]);
  });

  test("continues after an abort from the command's leftovers", async () => {
    const controller = new AbortController();
    const partial = join(folder, 'work/b.partial');
    const execute: RunOptions['execute'] = async (args, signal) => {
      if (args.at(-1)?.endsWith('/b')) {
        mkdirSync(partial);
        controller.abort();
      } else mkdirSync(args.at(-1) as string, { recursive: true });
      if (args[0] === 'make' && !signal.aborted) writeFileSync(join(args.at(-1) as string, 'config.json'), '{}');
      if (signal.aborted) throw Object.assign(new Error('aborted'), { code: 'MBOK_ABORTED' });
      return { result: {} };
    };
    await expect(run(plan, { execute, signal: controller.signal })).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    expect(readdirSync(join(folder, 'data')).sort()).toEqual(['a.json', 'a.look.json']);
    await run();
    expect(calls).toEqual(all.slice(2));
    expect(existsSync(partial)).toBe(true);
    // with another text it would be another command's
    await run(plan, { text: 'another text' });
    expect(existsSync(partial)).toBe(false);
  });

  test('a failed command stores its message, is tried again, and blocks its dependents', async () => {
    const execute: RunOptions['execute'] = async (args) => {
      calls.push(args[0] as string);
      return args.includes('/in$SRC') ? { error: 'too large' } : { result: {} };
    };
    const { failed, results } = await run(plan, { execute });
    expect(calls).toEqual(['make']);
    expect(failed).toEqual(['a', 'a.look', 'b', 'b.look']);
    expect(results.stored(a)?.error).toBe('too large');
    expect(results.stored(b)?.error).toContain("'a'");
    expect(results.of(a)).toBeUndefined();
    expect((await run()).failed).toEqual([]);
    expect(calls).toEqual(all);
  });

  test('a result that is not JSON is named', async () => {
    await run();
    writeFileSync(join(folder, 'data/a.json'), '{"key":');
    await expect(run()).rejects.toMatchObject({ code: 'MBOK_FORMAT', message: expect.stringContaining('a.json') });
  });
});
