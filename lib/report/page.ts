/** HTML page of a report: one file, without scripts and without network resources. */

import { escapeXml } from '../plot/draw';
import { chartStyle } from '../plot/style';
import type { Conditions } from './conditions';
import { megabytes, NOT_KNOWN, seconds } from './format';
import type { Variables } from './inputs';
import type { ReportSettings } from './recipes';
import type { StoredResult } from './results';
import type { Content, Exhibit, Table } from './section';

/** A chart, drawn for screens and for phones. */
export interface Drawing {
  readonly wide: string;
  readonly narrow: string;
}

export interface DrawnSection extends Content {
  readonly id: string;
  readonly title: string;
  /** Charts by exhibit. */
  readonly drawings: ReadonlyMap<string, Drawing>;
}

export interface PageContent {
  /** Name of the model. */
  readonly name: string;
  readonly settings: ReportSettings;
  readonly conditions: Conditions;
  readonly variables: Variables;
  readonly sections: readonly DrawnSection[];
  /** By name, in the order of execution. */
  readonly commands: ReadonlyMap<string, StoredResult>;
}

const STYLE = `
:root{color-scheme:light dark;--page:#fff;--text:#24292f;--strong:#111;--faint:#5b636c;--line:#d9dee3;--code:#f4f6f8;--link:#0b5fce}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--text:#c3ccd5;--strong:#f0f6fc;--faint:#8d96a0;--line:#2b3138;--code:#161b22;--link:#6cb0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,sans-serif}
main{max-width:860px;margin:0 auto;padding:24px 20px 80px}
h1,h2{color:var(--strong);line-height:1.2}
h1{font-size:1.9rem;margin:.5em 0 .2em}
h2{font-size:1.35rem;margin:2.6em 0 .6em;padding-top:.8em;border-top:1px solid var(--line)}
a{color:var(--link)}
nav ul{columns:2;padding-left:1.2em}
figure{margin:1.6em 0}
figcaption{color:var(--faint);font-size:.875rem;margin-top:.5em}
svg{display:block;max-width:100%;height:auto}
.narrow{display:none}
@media(max-width:600px){main{padding:16px 14px 60px}.wide{display:none}.narrow{display:block}nav ul{columns:1}}
.scroll{overflow-x:auto;margin-top:.8em}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.3em .7em;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left;padding-left:0}
th.word,td.word{text-align:left}
th{color:var(--strong);font-weight:600;white-space:normal;vertical-align:bottom}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em;margin:1em 0}
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
pre,code{font:.8125rem/1.5 ui-monospace,monospace}
pre{background:var(--code);padding:.8em 1em;overflow-x:auto;border-radius:6px}
summary{cursor:pointer;color:var(--link)}
.commands td:last-child,.commands th:last-child{text-align:left}
`;

/** Renders the page. It links the data of figures as `figures/<id>.json` and results as `data/<name>.json`. */
export function renderPage(content: PageContent): string {
  const { name, sections, commands } = content;
  const links = [...sections.map(({ id, title }) => [id, title]), ['commands', 'Commands']];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>${escapeXml(`${name} made Boolean: a report of mbok`)}</title>
<style>${STYLE}${chartStyle()}</style>
</head>
<body>
<main>
<h1>${escapeXml(name)} made Boolean</h1>
<p>A report of <code>mbok report</code>: the size, quality, speed and memory of this model in each compressed form, measured by one program on one machine. Every number on this page is the result of a command that is <a href="#commands">listed below</a>.</p>
${conditionList(content)}
${notRun(content)}
<nav aria-label="Sections"><ul>
${links.map(([id, title]) => `<li><a href="#${id}">${escapeXml(title as string)}</a></li>`).join('\n')}
</ul></nav>
${sections.map(renderSection).join('\n')}
${commandSection(content.variables, commands)}
</main>
</body>
</html>
`;
}

function conditionList({ settings, conditions, commands, variables }: PageContent): string {
  const { window, windows, precision, steps, train, evalTexts, texts } = settings;
  const { cpu, isa, threads, processors, memory, platform, node, mbok } = conditions;
  const paths = (names: readonly string[]) => names.map((name) => variables.get(name) ?? name).join(', ');
  const dates = [...commands.values()].map(({ date }) => date.slice(0, 10)).sort();
  const [first = '', last = first] = [dates[0], dates.at(-1)];
  const total = [...commands.values()].reduce((sum, own) => sum + own.seconds, 0);
  const rows: readonly (readonly [string, string])[] = [
    ['Machine', `${cpu}, ${isa}, ${threads} of ${processors} processors used, ${(memory / 1e9).toFixed(1)} GB`],
    ['Programs', `mbok ${mbok}, Node ${node}, ${platform}`],
    ['Measured', `${first === last ? first : `${first} to ${last}`}, ${(total / 60).toFixed(0)} minutes in total`],
    [
      'Perplexity',
      `of at most ${windows} windows of ${window} tokens from the start of ${paths(evalTexts)}, the same for every model; matrix products in ${precision}`,
    ],
    ...windowRows(settings),
    ['Calibration', `on windows of ${window} tokens spread over ${paths(texts)}; matrix products in bf16`],
    [
      'Finetuning',
      steps === 0
        ? 'none was requested'
        : `${steps} steps on ${paths(texts)}, the original as teacher; trains bits and ${train}; matrix products in bf16`,
    ],
  ];
  const entries = rows.map(([term, text]) => `<dt>${term}</dt><dd>${escapeXml(text)}</dd>`);
  return `<dl>\n${entries.join('\n')}\n</dl>`;
}

/** Describes how all commands cut the text. */
function windowRows({ window, startToken }: ReportSettings): readonly (readonly [string, string])[] {
  if (startToken === undefined) return [];
  const cut = startToken === 'auto' ? "each beginning with the tokenizer's start token" : 'cut as a stream';
  return [['Windows', `of ${window} tokens, ${cut}`]];
}

/** Lists what was not done, and the limits of the figures. */
function notRun({ settings, commands }: PageContent): string {
  const missing = [
    ...(settings.steps === 0 ? ['Nothing was finetuned (--steps 0).'] : []),
    ...(settings.tasks.length > 0 ? [] : ['No questions were asked (--tasks).']),
    ...[...commands].flatMap(([name, { error }]) => (error === undefined ? [] : [`${name}: ${error}`])),
    'Each training run was made once, with one seed, unless a table says otherwise. Speed was measured while no other command of this report ran, but other programs may have used the machine.',
  ];
  return `<p>What was not done, and limits of the figures:</p>\n<ul>\n${missing.map((text) => `<li>${escapeXml(text)}</li>`).join('\n')}\n</ul>`;
}

function renderSection({ id, title, text, exhibits, drawings }: DrawnSection): string {
  return [
    `<section id="${id}">`,
    `<h2>${escapeXml(title)}</h2>`,
    ...text.map((paragraph) => `<p>${escapeXml(paragraph)}</p>`),
    ...exhibits.map((exhibit) => renderExhibit(exhibit, drawings.get(exhibit.id))),
    '</section>',
  ].join('\n');
}

function renderExhibit({ id, caption, table }: Exhibit, drawing: Drawing | undefined): string {
  const nothing = drawing === undefined && (table === undefined || table.rows.length === 0);
  return [
    `<figure id="figure-${id}">`,
    ...(drawing ? [`<div class="wide">${drawing.wide}</div>`, `<div class="narrow">${drawing.narrow}</div>`] : []),
    ...(table && table.rows.length > 0 ? [renderTable(table)] : []),
    ...(nothing ? ['<p>There are no results to show.</p>'] : []),
    `<figcaption>${escapeXml(caption)} <a href="figures/${id}.json">The numbers</a>.</figcaption>`,
    '</figure>',
  ].join('\n');
}

function renderTable({ head, rows }: Table): string {
  // text columns are aligned left, number columns right
  const isWord = head.map((_, i) => i > 0 && /^[a-z]/i.test(rows[0]?.[i] ?? ''));
  const cell = (kind: 'th scope="col"' | 'td') => (text: string, i: number) =>
    `<${kind}${isWord[i] ? ' class="word"' : ''}>${escapeXml(text)}</${kind.slice(0, 2)}>`;
  return [
    '<div class="scroll"><table>',
    `<thead><tr>${head.map(cell('th scope="col"')).join('')}</tr></thead>`,
    '<tbody>',
    ...rows.map((row) => `<tr>${row.map(cell('td')).join('')}</tr>`),
    '</tbody></table></div>',
  ].join('\n');
}

function commandSection(variables: Variables, commands: ReadonlyMap<string, StoredResult>): string {
  const rows = [...commands].map(([name, stored]) => {
    const { resources } = (stored.result ?? {}) as { readonly resources?: { readonly peakMemory: number } };
    const link = `<a href="data/${escapeXml(encodeURIComponent(name))}.json">${escapeXml(name)}</a>`;
    const command = `<code>${escapeXml(stored.command)}</code>`;
    const cells = [link, seconds(stored.seconds), resources ? megabytes(resources.peakMemory) : NOT_KNOWN, command];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  const assignments = [...variables].map(([name, path]) => `${name.slice(1)}=${quoted(path)}`);
  return `<section id="commands">
<h2>Commands</h2>
<p>These were run, each a process of its own and one after the other, with these variables:</p>
<pre>${escapeXml(assignments.join('\n'))}</pre>
<details><summary>${commands.size} commands, their seconds and the most memory of each</summary>
<div class="scroll"><table class="commands">
<thead><tr><th scope="col">result</th><th scope="col">seconds</th><th scope="col">peak MB</th><th scope="col">command</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody></table></div></details>
</section>`;
}

/** Quotes a path for a shell. */
function quoted(path: string): string {
  return /^[\w./~+-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
