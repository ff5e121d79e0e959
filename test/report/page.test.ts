/** The page of a report from recorded results: complete, escaped, self-contained. */

import { runTypeScript } from '../helpers/run_typescript';
import { expectWellFormed } from '../helpers/xml';

/**
 * Renders the page of a plan's made-up results in a separate process, where the drawing packages can be loaded.
 *
 * @param failing - pattern of the names of commands that failed
 */
function render(failing: string, settings: object = {}): string {
  const { status, stdout, stderr } = runTypeScript(`
    const { completePlan, commandLine } = require('./lib/report/plan');
    const { Recipes } = require('./lib/report/recipes');
    const { Results } = require('./lib/report/results');
    const { sectionsOf } = require('./lib/report/sections');
    const { drawSection } = require('./lib/report/report');
    const { renderPage } = require('./lib/report/page');

    const settings = {
      steps: 6, window: 8, windows: 2, precision: 'f32', train: 'scales,norms', tasks: ['piqa'],
      parameters: 3200000, vocabulary: 2000,
      texts: ['$TEXT'], evalTexts: ['$EVAL'], ...${JSON.stringify(settings)},
    };
    const modules = [0, 1].flatMap((block) => ['self_attn.q_proj', 'mlp.down_proj'].map((name) => 'model.layers.' + block + '.' + name));
    const formats = [{ format: 'kernels', count: 2 }, { format: 'factors', rank: 48 }, { format: 'int8' }, { format: 'dense' }];
    const training = {
      loss: [6, 5, 4, 3, 2, 1], parts: { kl: [3, 2, 1, 1, 1, 0.5] }, evaluations: [{ step: 3, perplexity: 9 }, { step: 6, perplexity: 8 }],
      flips: Object.fromEntries(modules.map((module, i) => [module, [10 * i, 5, 4, 3, 2, 0]])),
    };
    const rate = { median: 100, least: 90, most: 110 };
    let count = 0;
    const results = {
      binarize: () => ({ bitsPerWeight: 1 + ++count / 20, bytes: 1e6 + 1e5 * count, residual: 0.3 }),
      finetune: () => ({ bitsPerWeight: 2, bytes: 1e6, bestStep: 6, flips: 100, tokensPerSecond: 1000, memory: { state: 1e6, total: 2e6 } }),
      baseline: () => ({ residual: 0.2, packed: { bitsPerWeight: 3, bytes: 2e6 } }),
      'eval perplexity': () => ({ perplexity: 7 + ++count / 10 }),
      'eval speed': () => ({ bytes: 1e6, loadSeconds: 0.1, prompt: 8, tokens: 4, repeats: 5, prefill: rate, decode: rate }),
      'eval tasks': (models) => ({ models: models.map((model) => ({ model, results: [
        { task: 'piqa', questions: 10, metrics: { acc: { value: 0.5, standardError: 0.1 } } },
      ] })) }),
      inspect: () => ({ family: 'llama', parameters: 1e6, linearWeights: 9e5, bitsPerWeight: 16, bytes: 2e6,
        layers: modules.map((module, i) => ({ module, rows: 8, cols: 8, format: formats[i], residual: 0.1 * (i + 1) })) }),
    };
    async function main() {
      const sections = sectionsOf(new Recipes(settings));
      const plan = completePlan(sections.flatMap(({ commands }) => commands));
      const stored = new Map(plan.map((command) => {
        const { name, args, logs } = command;
        const record = { command: commandLine(command), key: '0', date: '2026-01-02T03:04:05Z', seconds: 1.5 };
        if (/${failing}/.test(name)) return [name, { ...record, error: 'no <room> & no "time"' }];
        const kind = args[0] === 'eval' ? args.slice(0, 2).join(' ') : args[0];
        const result = { ...results[kind](args.filter((word) => /^\\$(SRC|WORK)/.test(word))), resources: { seconds: 1, peakMemory: 1e8 } };
        return [name, { ...record, result, ...(logs && { training }) }];
      }));
      const drawn = [];
      for (const section of sections) drawn.push(await drawSection(section, new Results(stored)));
      const page = renderPage({
        name: '<b>&"model"', settings,
        conditions: { mbok: '1.0', node: 'v20', platform: 'linux-x64', cpu: 'A <CPU>', isa: 'avx2', threads: 2, processors: 2, memory: 8e9 },
        variables: new Map([['$SRC', 'my models/a<b'], ['$WORK', 'work'], ['$TEXT', 't.txt'], ['$EVAL', 'e.txt']]),
        sections: drawn, commands: stored,
      });
      process.stdout.write(page);
    }
    main();
  `);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

const SECTIONS = [
  ...['pareto', 'kernels', 'pairs', 'layers', 'training', 'latent', 'allocation', 'embeddings', 'calibration'],
  ...['activations', 'nested', 'tasks', 'speed', 'commands'],
];

describe('a page of all results', () => {
  let page: string;
  beforeAll(() => {
    page = render('^$');
  });

  test('is well-formed', () => {
    expectWellFormed(page.replace('<!doctype html>\n', ''));
  });

  test('has every section, a link to each, and figures with captions and their numbers', () => {
    for (const id of SECTIONS) {
      expect(page).toContain(`<section id="${id}">`);
      expect(page).toContain(`href="#${id}"`);
    }
    const figures = [...page.matchAll(/<figure id="figure-([\w-]+)">/g)].map(([, id]) => id);
    expect(figures.length).toBeGreaterThan(15);
    for (const id of figures) expect(page).toContain(`href="figures/${id}.json"`);
    expect(page.match(/<figcaption>/g)).toHaveLength(figures.length);
    // each chart once for screens and once for phones
    expect(page.match(/<svg/g)?.length).toBe(2 * (page.match(/<div class="wide">/g)?.length ?? 0));
    expect(page).not.toContain('There are no results');
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('shows no invalid number', () => {
    expect(page).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });

  test('escapes names and paths', () => {
    expect(page).toContain('<h1>&lt;b&gt;&amp;&quot;model&quot; made Boolean</h1>');
    expect(page).toContain("SRC='my models/a&lt;b'");
    expect(page).toContain('A &lt;CPU&gt;');
  });

  test('needs no network and no script, and supports dark pages and phones', () => {
    expect(page).not.toMatch(/<script|<link|<img|@import|url\((?!#)|src="|href="(?!#|figures\/|data\/)/);
    expect(page).toContain('prefers-color-scheme:dark');
    expect(page).toContain('name="viewport"');
    expect(page).toContain('@media(max-width:600px)');
  });

  test('shows the form of each layer', () => {
    for (const form of ['K 2', 'r 48', 'int8', 'dense']) expect(page).toContain(`>${form}</text>`);
  });

  test('marks the models on the fronts of bits and of bytes', () => {
    const [, table = ''] = /<figure id="figure-pareto">(.*?)<\/table>/s.exec(page) ?? [];
    const head = [...table.matchAll(/<th [^>]*>([^<]*)</g)].map(([, text]) => text);
    const rows = [...table.matchAll(/<tr><td[^>]*>(.*?)<\/td><\/tr>/gs)].map(([, row = '']) =>
      row.split(/<\/td><td[^>]*>/),
    );
    const value = (name: string) => (row: readonly string[]) => Number(row[head.indexOf(name)]);
    const [x, y] = [value('MB'), value('perplexity')];
    const marked = rows.map((row) => row[head.indexOf('front by MB')] === '●');
    const best = rows.map((row) => !rows.some((other) => x(other) <= x(row) && y(other) < y(row)));
    expect(rows.length).toBeGreaterThan(50);
    expect(marked.filter(Boolean).length).toBeGreaterThan(1);
    expect(marked).toEqual(best);
    // bits of linear layers say nothing about embeddings
    const small = rows.filter(([form]) => form === 'smaller embeddings');
    expect(small.map((row) => row[head.indexOf('front by bits')])).toEqual(small.map(() => ''));
  });

  test('lists every command with its result', () => {
    const rows = page.match(/<td><code>mbok /g) ?? [];
    expect(rows.length).toBeGreaterThan(100);
    expect(page).toContain('mbok eval perplexity $SRC --text $EVAL --window 8 --max-windows 2 --precision f32');
    expect(page).toContain('href="data/original.perplexity.json"');
  });
});

test('a page names the failed commands and shows the existing results', () => {
  const page = render('gptq|latent|nested|layers|tasks|speed');
  expectWellFormed(page.replace('<!doctype html>\n', ''));
  expect(page).toContain('gptq-3bits: no &lt;room&gt; &amp; no &quot;time&quot;');
  expect(page).not.toMatch(/NaN|undefined|Infinity|\[object/);
  for (const id of SECTIONS) expect(page).toContain(`<section id="${id}">`);
});

test('a page without results is valid', () => {
  const page = render('.');
  expectWellFormed(page.replace('<!doctype html>\n', ''));
  expect(page).toContain('There are no results to show');
  expect(page).not.toMatch(/NaN|undefined|Infinity|\[object/);
});

test('a page without training and tasks says so and omits their sections', () => {
  const page = render('^$', { steps: 0, tasks: [] });
  expect(page).toContain('Nothing was finetuned');
  expect(page).toContain('No questions were asked');
  for (const id of ['training', 'latent', 'tasks']) expect(page).not.toContain(`id="${id}"`);
});
