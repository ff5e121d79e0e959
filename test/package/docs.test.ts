/**
 * Programs and commands of the documents and examples print what the documents promise; their options and links exist.
 * Needs the compiled package.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { built, root } from '../helpers/builds';
import { temporaryFolder } from '../helpers/folders';
import { readImports } from '../helpers/imports';

/** What a block must print, in this order; or why it is not run. */
type Expectation = { readonly prints: readonly RegExp[] } | { readonly skipped: string };

const PERPLEXITY = /^perplexity \d+\.\d+ /m;
/** A sentence, which no command prints about a model. */
const STORY = /[a-z]+ [a-z]+ [a-z]+[^\d\n]*[.!?]/;

/** A row for every block in `shell` or `js`, by document and the beginning of its first line. */
const BLOCKS: Readonly<Record<string, Expectation>> = {
  'CONTRIBUTING.md: git clone https://github.com/mbok-js/mbok && cd mbok': { skipped: 'clones and builds' },
  'CONTRIBUTING.md: bash .ci/run': { skipped: 'runs this test' },
  'CONTRIBUTING.md: npx jest test/graph/gradients.test.ts': { skipped: 'runs other tests' },
  'CONTRIBUTING.md: cmake -S . -B native/build -DMBOK_TESTS=ON': {
    skipped: 'native/program.test.ts builds and runs it',
  },
  'README.md: git clone https://github.com/mbok-js/mbok && cd mbok': { skipped: 'clones, builds and links' },
  "README.md: import { readFile } from 'node:fs/promises';": { prints: [/^perplexity \d+\.\d\d$/m, STORY] },
  'README.md: mbok inspect MODEL': {
    prints: [
      /^model\.layers\.0\.self_attn\.q_proj .* dense +16\.000$/m,
      /^small: 2\.276 bits/m,
      /^sized: 0\.(800|79\d) bits/m,
      /^forms by measured allocation: /m,
      /^tuned: 2\.276 bits/m,
      PERPLEXITY,
      STORY,
      STORY,
      /^dense: 2755008 parameters in f32/m,
    ],
  },
  'docs/baselines.md: TEXT=assets/tiny-stories/corpus/train.txt': {
    prints: [/^rtn3: 3\.186 bits/m, /^gptq3: 3\.191 bits/m, PERPLEXITY],
  },
  'docs/baselines.md: mbok binarize SRC start --kernels 1 --method svid': {
    prints: [/^start: 1\.138 bits/m, /^OUT: 1\.138 bits/m, /^dense: 2755008 parameters in f32/m],
  },
  'docs/baselines.md: mbok report MODEL.gguf --out report': { skipped: 'takes over an hour and SmolLM2' },
  'docs/converting.md: mbok binarize assets/tiny-stories small --kernels 2': {
    prints: [/^small: 2\.276 bits/m, /^model\.layers\.5\.mlp\.down_proj .* K = 2 /m, STORY],
  },
  'docs/converting.md: mbok binarize assets/tiny-stories half --factors 0.8': {
    prints: [/^half: 0\.8\d\d bits a weight/m, /^model\.layers\.0\.self_attn\.q_proj +192 × 192 +rank \d+/m],
  },
  'docs/converting.md: mbok binarize assets/tiny-stories sized --size 900KB': {
    prints: [/^sized: .* 0\.90 MB/m, /^mixed: 2\.2\d\d bits/m, /^model\.layers\.5\.mlp\.down_proj .* K = 3 /m],
  },
  'docs/converting.md: mbok binarize assets/tiny-stories nested': {
    prints: [/^nested: \d\.\d+ bits/m, /^nested: loads with 1 to 3 kernels/m, STORY],
  },
  'docs/converting.md: mbok binarize assets/tiny-stories sizes': {
    prints: [/^sizes: \d\.\d+ bits/m, /^nested: loads as size 1 to 3 of --kernels/m, STORY],
  },
  'docs/converting.md: mbok export small dense --type f16': { prints: [/^dense: 2755008 parameters in f16/m] },
  'docs/data.md: mbok finetune small tuned': {
    prints: [/^tuned: 2\.276 bits/m, /^2 steps, loss \d/m, PERPLEXITY],
  },
  "docs/data.md: import { finetune, loadDataset, Model } from 'mbok';": { prints: [/^\d+ tokens$/m] },
  'docs/evaluating.md: mbok eval perplexity assets/tiny-stories': {
    prints: [PERPLEXITY, /^prefill .* tokens\/s/m, /^decode .* tokens\/s/m],
  },
  'docs/evaluating.md: mbok eval tasks MODEL.gguf K4 K3 K2': { skipped: 'needs SmolLM2 and the files of the tasks' },
  'docs/evaluating.md: mbok report MODEL --out report': { skipped: 'runs a hundred commands' },
  'docs/finetuning.md: mbok binarize assets/tiny-stories small': {
    prints: [/^small: 2\.276 bits/m, /^tuned: 2\.276 bits/m, /^perplexity \d+\.\d+, best of/m],
  },
  'docs/hub.md: mbok pull hf:HuggingFaceTB/SmolLM2-135M-Instruct': {
    skipped: 'hub/commands.test.ts runs them at a server',
  },
  "docs/hub.md: import { Model } from 'mbok';": { skipped: 'downloads' },
  'docs/quality.md: mbok binarize MODEL.gguf OUT --factors 0.56': { skipped: 'needs SmolLM2, and an hour' },
  'docs/quality.md: mbok binarize MODEL.gguf OUT --kernels K': { skipped: 'needs SmolLM2, and hours' },
  'docs/quality.md: mbok binarize assets/tiny-stories OUT --factors 1.137': { skipped: 'measures for minutes' },
  'docs/quality.md: mbok binarize assets/tiny-stories sizes --factors 0.5': { skipped: 'measures for minutes' },
  'docs/quality.md: mbok binarize assets/tiny-stories OUT --bits 0.8': { skipped: 'measures for minutes' },
  'docs/quality.md: mbok report assets/tiny-stories': { skipped: 'runs a hundred commands on texts of another folder' },
  'docs/quality.md: mbok binarize gemma.gguf OUT --kernels K': { skipped: 'needs Gemma 3' },
  'docs/serving.md: mbok serve assets/tiny-stories': { skipped: 'does not end; serve/command.test.ts runs it' },
  "docs/serving.md: import { createServer } from 'mbok';": { prints: [/^http:\/\/127\.0\.0\.1:\d+$/m, STORY] },
  'docs/serving.md: lm_eval --model local-completions': { skipped: 'needs lm-evaluation-harness' },
  'docs/benchmarks.md: node bench/head.mjs --shapes gemma': { skipped: 'measures for minutes' },
};

/** What an example must print with few steps; the others have tests of their own. */
const EXAMPLES: Readonly<Record<string, Expectation>> = {
  'boolean_network.mjs': { skipped: 'examples.test.ts runs it' },
  'residual_network.mjs': { skipped: 'examples.test.ts runs it' },
  'quickstart.mjs': { prints: [/^perplexity of the Boolean model: \d+\.\d\d$/m, STORY] },
};

const folder = temporaryFolder();
const documents = [
  ...readdirSync(root).filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md'),
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const read = (document: string) => readFileSync(join(root, document), 'utf8');

interface Block {
  readonly document: string;
  readonly language: string;
  readonly text: string;
}
const blocks: readonly Block[] = documents.flatMap((document) =>
  [...read(document).matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({
    document,
    language: language as string,
    text: text as string,
  })),
);
const runnable = blocks.filter(({ language }) => ['shell', 'js'].includes(language));

/** The rows whose key a block begins with. */
const rowsOf = ({ document, text }: Block) =>
  Object.entries(BLOCKS).filter(([key]) => `${document}: ${text}`.startsWith(key));

/** Few steps are enough to see what a command prints. */
const shortened = (text: string) => text.replace(/(--steps |steps: )\d+/g, '$12');

/** Runs a program in the folder of models and texts; returns what it prints on both streams. */
function run(program: string, ...args: string[]): string {
  const env = {
    ...process.env,
    PATH: `${join(folder, 'bin')}${delimiter}${process.env.PATH}`,
    MBOK_CACHE: join(folder, 'cache'),
  };
  const command = ['-c', 'exec "$@" 2>&1', 'sh', program, ...args];
  const { status, stdout } = spawnSync('sh', command, { cwd: folder, encoding: 'utf8', env, input: 'Hi!\n' });
  if (status !== 0) throw new Error(`${args.at(-1)}: ${stdout}`);
  return stdout;
}

/** Expects that each pattern matches after the one before it. */
function expectInOrder(output: string, patterns: readonly RegExp[]): void {
  let rest = output;
  for (const pattern of patterns) {
    expect(rest).toMatch(pattern);
    const { index, 0: match } = pattern.exec(rest) as RegExpExecArray;
    rest = rest.slice(index + match.length);
  }
}

beforeAll(() => {
  built('dist');
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'bin/mbok'), `#!/bin/sh\nexec "${process.execPath}" "${root}/dist/cli/main.js" "$@"\n`);
  chmodSync(join(folder, 'bin/mbok'), 0o755);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/mbok'));
  cpSync(join(root, 'examples'), join(folder, 'examples'), { recursive: true });

  // the embedded model with little text, also under the names that documents have for models and texts
  const model = join(folder, 'assets/tiny-stories');
  cpSync(join(root, 'assets/tiny-stories'), model, { recursive: true });
  for (const text of ['train', 'valid'].map((name) => join(model, `corpus/${name}.txt`)))
    writeFileSync(text, readFileSync(text, 'utf8').slice(0, 6000));
  for (const name of ['MODEL', 'SRC']) cpSync(model, join(folder, name), { recursive: true });
  writeFileSync(join(folder, 'MODEL/chat_template.jinja'), '{% for m in messages %}{{ m.content }}\n{% endfor %}');
  cpSync(join(model, 'corpus/train.txt'), join(folder, 'TEXT'));
  const story = 'Once upon a time there was a cat. '.repeat(60);
  mkdirSync(join(folder, 'texts'));
  writeFileSync(join(folder, 'texts/a.txt'), story);
  writeFileSync(join(folder, 'more.jsonl'), `${JSON.stringify({ story })}\n`);
  run('mbok', 'binarize', 'assets/tiny-stories', 'small', '--method', 'svid');
});

describe('blocks', () => {
  test('each has one row, each row one block', () => {
    const ofBlocks = runnable.map((block) => rowsOf(block).map(([key]) => key));
    expect(runnable.filter((_, i) => ofBlocks[i]?.length !== 1)).toEqual([]);
    expect(ofBlocks.flat().sort()).toEqual(Object.keys(BLOCKS).sort());
  });

  const started = runnable.flatMap((block) =>
    rowsOf(block).flatMap(([key, row]) => ('prints' in row ? [{ key, ...block, ...row }] : [])),
  );
  test.each(started)('$key', ({ language, text, prints }) => {
    if (language === 'shell') {
      expectInOrder(run('sh', '-ec', shortened(text)), prints);
    } else {
      writeFileSync(join(folder, 'program.mjs'), shortened(text));
      expectInOrder(run(process.execPath, 'program.mjs'), prints);
    }
  });

  test.each(blocks.filter(({ language }) => language === 'jsonl'))(
    'an example of lines of JSON is that: %#',
    ({ text }) => {
      for (const line of text.trimEnd().split('\n'))
        expect(Object.keys(JSON.parse(line) as object)[0]).toMatch(/text|messages/);
    },
  );
});

describe('examples', () => {
  test('each has one row', () => {
    expect(Object.keys(EXAMPLES).sort()).toEqual(readdirSync(join(root, 'examples')).sort());
  });

  const started = Object.entries(EXAMPLES).flatMap(([name, row]) => ('prints' in row ? [{ name, ...row }] : []));
  test.each(started)('$name', ({ name, prints }) => {
    const program = join(folder, 'examples', name);
    writeFileSync(program, shortened(readFileSync(program, 'utf8')));
    expectInOrder(run(process.execPath, program), prints);
  });
});

/** Command lines in shell blocks and in the prose, without comments and with continued lines joined. */
const commands = documents.flatMap((document) => {
  const inProse = [
    ...read(document)
      .replace(/^```[\s\S]*?^```$/gm, '')
      .matchAll(/`([^`]+)`/g),
  ].map(([, code]) => (code as string).replace(/\s+/g, ' '));
  const inBlocks = blocks
    .filter((block) => block.document === document && block.language === 'shell')
    .flatMap(({ text }) => text.replace(/\\\n/g, ' ').split('\n'));
  return [...inBlocks, ...inProse]
    .flatMap((line) => line.replace(/\s+#.*/, '').split(' && '))
    .map((command) => ({ document, command: command.trim() }));
});

describe('commands', () => {
  /** The options that `mbok COMMAND --help` lists, by command. */
  const known = new Map<string, ReadonlySet<string>>();
  function optionsOf(command: string): ReadonlySet<string> {
    const help =
      known.get(command) ?? new Set(run('mbok', ...command.split(' '), '--help').match(/--[a-z][a-z0-9-]*/g));
    known.set(command, help);
    return help;
  }

  test('of mbok have the options that --help lists', () => {
    const overview = [...run('mbok', '--help').matchAll(/^ {2}(\S+(?: \S+)?) {2,}/gm)].map(
      ([, name]) => name as string,
    );
    for (const { document, command } of commands) {
      if (!command.startsWith('mbok ') || /^mbok (COMMAND|--)/.test(command)) continue;
      const name = overview.find((known) => `${command} `.startsWith(`mbok ${known} `));
      expect({ document, command, name }).toMatchObject({ name: expect.any(String) });
      const unknown = (command.match(/--[a-z][a-z0-9-]*/g) ?? []).filter(
        (option) => !optionsOf(name as string).has(option),
      );
      expect({ document, command, unknown }).toEqual({ document, command, unknown: [] });
    }
  });

  test('of npm, node, npx and bash name scripts and files that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const missing = commands.filter(({ command }) => {
      const [, script] = /^npm run (?:-s )?([\w:-]+)/.exec(command) ?? [];
      if (script !== undefined) return scripts[script] === undefined;
      const [, file] = /^(?:node|bash|npx jest) ([\w./-]+\.\w+|\.ci\/\w+)/.exec(command) ?? [];
      return file !== undefined && !existsSync(join(root, file));
    });
    expect(missing).toEqual([]);
  });
});

/** The anchor that a heading gets. */
const slug = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');

test.each(documents)('links of %s lead somewhere', (document) => {
  const prose = read(document).replace(/^```[\s\S]*?^```$/gm, '');
  const broken = [...prose.matchAll(/\]\(([^)#]*)#?([^)]*)\)/g)].filter(([, target, anchor]) => {
    if (/^https?:/.test(target as string)) return false;
    const path = target === '' ? join(root, document) : join(root, dirname(document), target as string);
    if (!existsSync(path)) return true;
    const headings = anchor === '' ? [] : readFileSync(path, 'utf8').matchAll(/^#+ (.*)$/gm);
    return anchor !== '' && ![...headings].some(([, heading]) => slug(heading as string) === anchor);
  });
  expect(broken.map(([link]) => link)).toEqual([]);
});

test("ARCHITECTURE's table lists the rooms of lib in an order that imports follow", () => {
  const rows = [...read('ARCHITECTURE.md').matchAll(/^\| (`lib\/[^|]*) \|/gm)].map(([, cell]) => cell as string);
  const rooms = rows.flatMap((cell) => [...cell.matchAll(/`lib\/([\w.]+)/g)].map(([, room]) => room as string));
  expect([...rooms].sort()).toEqual(readdirSync(join(root, 'lib')).sort());
  const roomOf = (file: string) =>
    rooms.findIndex((room) =>
      file
        .replace(/\.ts$/, '')
        .concat('/')
        .startsWith(`${room.replace(/\.ts$/, '')}/`),
    );
  const upwards = [...readImports()].flatMap(([file, targets]) =>
    targets.filter((target) => roomOf(target) > roomOf(file)).map((target) => `${file} imports ${target}`),
  );
  expect(upwards).toEqual([]);
});
