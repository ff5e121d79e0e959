/** A report: a page about one model, made of the results of mbok's own commands. */

import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { MbokError, MbokErrorCode } from '../base/errors';
import type { StartToken } from '../data/windows';
import { TASKS } from '../eval/tasks/registry';
import { makeFolder, writeFile } from '../io/atomic';
import { remove } from '../io/files';
import { type JsonObject, readJson } from '../io/json';
import { isBoolean } from '../models/parts';
import { ModelSource } from '../models/source';
import { loadVega } from '../plot/draw';
import { runMbok } from './child';
import { conditions } from './conditions';
import { claimReport, MARKER } from './folder';
import { digestOf, type Variables } from './inputs';
import { type Drawing, type DrawnSection, type PageContent, renderPage } from './page';
import { completePlan } from './plan';
import { readableJson } from './readable_json';
import { Recipes, type ReportSettings } from './recipes';
import type { Results, StoredResult } from './results';
import { type RunOptions, removeModels, runPlan } from './run';
import type { Exhibit, Section } from './section';
import { sectionsOf } from './sections';

export interface ReportOptions extends Pick<RunOptions, 'signal' | 'onCommand' | 'onResult'> {
  /** A dense model. */
  readonly source: string;
  /** The report's folder: index.html, data/, figures/, and work/ until it is done. */
  readonly folder: string;
  /** Text to calibrate and train on, and text to judge by. */
  readonly texts: readonly string[];
  readonly evalTexts: readonly string[];
  /** Folder of the tasks' files. */
  readonly tasks: string | undefined;
  /** Default 256, or the model's limit. */
  readonly window: number | undefined;
  /** How windows begin. Default 'auto'. */
  readonly startToken: StartToken | undefined;
  readonly settings: Pick<ReportSettings, 'steps' | 'windows' | 'precision' | 'train'>;
}

export interface Report {
  readonly page: string;
  readonly figures: readonly string[];
  /** Names of commands. */
  readonly ran: readonly string[];
  readonly kept: readonly string[];
  readonly failed: readonly string[];
}

const PAGE = 'index.html';
/** Pixels of a chart on a screen and on a phone. */
const WIDE = 800;
const NARROW = 350;
const DEFAULT_WINDOW = 256;

/**
 * Makes the report, or goes on with one: commands whose results are there and still hold are not run again. Models made on
 * the way are removed in the end.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT (a Boolean source, a window beyond the model's limit, text that is shorter than a
 *   window, no files of tasks), MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED, MBOK_NO_TOKENIZER, MBOK_PACKAGE_MISSING (vega,
 *   vega-lite), MBOK_BUSY (another process makes it), MBOK_ABORTED
 */
export async function makeReport(options: ReportOptions): Promise<Report> {
  const { folder, source, signal, onCommand, onResult } = options;
  const windows = await checkedWindows(options);
  await loadVega();
  const workFolder = join(folder, 'work');
  const { variables, settings } = bind(options, windows, workFolder);
  await using _ = await claimReport(folder);
  const digests = new Map<string, string>();
  for (const [name, path] of variables) if (name !== '$WORK') digests.set(name, await digestOf(path, signal));

  const recipes = new Recipes(settings);
  const reference = recipes.perplexity(recipes.original).name;
  const sections = sectionsOf(recipes);
  const plan = completePlan(sections.flatMap(({ commands }) => commands));
  const circumstances = conditions();
  const { mbok, node, cpu, isa, threads } = circumstances;
  const { results, ...done } = await runPlan(plan, {
    ...{ dataFolder: join(folder, 'data'), workFolder, variables, digests },
    ...{ circumstances: [mbok, node, cpu, isa, String(threads)], execute: runMbok, signal, onCommand },
    onResult: (command, stored) => {
      onResult?.(command, stored);
      // the first command: without it there is nothing to compare with, and what ails it ails all others
      if (command.name === reference && stored.error !== undefined) throw failure(source, stored.error);
    },
  });

  const drawn: DrawnSection[] = [];
  for (const section of sections) drawn.push(await drawSection(section, results));
  const commands = new Map(plan.map((command) => [command.name, results.stored(command) as StoredResult]));
  const name = basename(resolve(source)).replace(/\.gguf$/i, '');
  await write(folder, { name, settings, conditions: circumstances, variables, sections: drawn, commands }, digests);
  await removeModels(workFolder);
  const figures = drawn.flatMap(({ exhibits }) => exhibits.map(({ id }) => id));
  return { page: join(folder, PAGE), figures, ...done };
}

/** Writes the page, the numbers behind its figures, and what it was made with. */
async function write(folder: string, content: PageContent, digests: ReadonlyMap<string, string>): Promise<void> {
  const { name, settings, conditions: circumstances, variables, sections } = content;
  const exhibits = sections.flatMap((section) => section.exhibits);
  const marker = join(folder, MARKER);
  await writeFigures(join(folder, 'figures'), exhibits, figuresOf(await readJson(marker)));
  await writeFile(join(folder, PAGE), renderPage(content));
  const inputs = { variables: Object.fromEntries(variables), digests: Object.fromEntries(digests) };
  const figures = exhibits.map(({ id }) => id);
  await writeFile(marker, readableJson({ name, settings, conditions: circumstances, ...inputs, figures }));
}

/** Throws where the source is no dense model with a tokenizer, or windows are longer than it can read. */
async function checkedWindows({
  source,
  window,
  startToken = 'auto',
}: ReportOptions): Promise<Pick<ReportSettings, 'window' | 'startToken'>> {
  await using model = await ModelSource.open(source);
  const { specifications, formats, tokenizer, config } = model;
  if (isBoolean(specifications, formats)) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', `'${source}' is Boolean already: a report begins with a dense model`);
  }
  if (tokenizer === undefined) throw new MbokError('MBOK_NO_TOKENIZER', `'${source}' has no tokenizer`);
  const { maxPositions } = config;
  if (window !== undefined && window > maxPositions) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'window' is ${window}, longer than the model's limit of ${maxPositions}`,
    );
  }
  return {
    window: window ?? Math.min(DEFAULT_WINDOW, maxPositions),
    startToken: tokenizer.startTokenId === undefined ? undefined : startToken,
  };
}

/** Gives the inputs their names in commands. */
function bind(
  { source, texts, evalTexts, tasks, settings }: ReportOptions,
  windows: Pick<ReportSettings, 'window' | 'startToken'>,
  workFolder: string,
): { variables: Variables; settings: ReportSettings } {
  const numbered = (name: string, paths: readonly string[]) =>
    paths.map((path, i) => [paths.length === 1 ? `$${name}` : `$${name}${i + 1}`, path] as const);
  const [training, judging] = [numbered('TEXT', texts), numbered('EVAL', evalTexts)];
  const variables = new Map([
    ...([
      ['$SRC', source],
      ['$WORK', workFolder],
    ] as const),
    ...training,
    ...judging,
    ...(tasks === undefined ? [] : [['$TASKS', tasks] as const]),
  ]);
  const names = (pairs: readonly (readonly [string, string])[]) => pairs.map(([name]) => name);
  return {
    variables,
    settings: {
      ...settings,
      ...windows,
      texts: names(training),
      evalTexts: names(judging),
      tasks: tasks === undefined ? [] : tasksIn(tasks),
    },
  };
}

/** Names of the tasks whose files a folder has. Throws MBOK_INVALID_ARGUMENT where there are none. */
function tasksIn(folder: string): string[] {
  const found = TASKS.filter(({ files }) => files.some((file) => existsSync(join(folder, file))));
  if (found.length > 0) return found.map(({ name }) => name);
  throw new MbokError('MBOK_INVALID_ARGUMENT', `'${folder}' holds no file of a task: see mbok eval tasks --help`);
}

/** From what a command said on stderr: its message and, in parentheses, its code. */
function failure(source: string, message: string): MbokError {
  const [, text = message, code = ''] = /^(.*) \((MBOK_\w+)\)$/s.exec(message) ?? [];
  const known = Object.values(MbokErrorCode).find((name) => name === code);
  return new MbokError(known ?? 'MBOK_INTERNAL', `'${source}' cannot be evaluated: ${text}`);
}

/** Draws the charts of a section, for screens and for phones. Throws MBOK_PACKAGE_MISSING. */
export async function drawSection({ id, title, show }: Section, results: Results): Promise<DrawnSection> {
  const content = show(results);
  const drawings = new Map<string, Drawing>();
  for (const { id: figure, chart } of content.exhibits) {
    if (chart === undefined) continue;
    const [wide, narrow] = [
      await chart({ embedded: true, width: WIDE }),
      await chart({ embedded: true, width: NARROW }),
    ];
    drawings.set(figure, { wide, narrow });
  }
  return { id, title, ...content, drawings };
}

/** Names of the figures that the report had when it was made before. */
function figuresOf({ figures }: JsonObject): readonly string[] {
  const names: readonly unknown[] = Array.isArray(figures) ? figures : [];
  return names.filter((name): name is string => typeof name === 'string' && /^[\w-]+$/.test(name));
}

/** `earlier`: names of figures that there may be of other settings. */
async function writeFigures(folder: string, exhibits: readonly Exhibit[], earlier: readonly string[]): Promise<void> {
  await makeFolder(folder);
  for (const id of earlier) await remove(join(folder, `${id}.json`));
  for (const { id, caption, data } of exhibits) {
    await writeFile(join(folder, `${id}.json`), readableJson({ caption, data }));
  }
}
