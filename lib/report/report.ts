/** A report: a page about one model, built from the results of mbok's commands. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
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
  /** Path of a dense model. */
  readonly source: string;
  /** Name of the model, for the page. */
  readonly name: string;
  /** Folder of the report: index.html, data/, figures/, and work/ until it is finished. */
  readonly folder: string;
  /** Texts for calibration and training, and texts for evaluation. */
  readonly texts: readonly string[];
  readonly evalTexts: readonly string[];
  /** Folder of task files. */
  readonly tasks: string | undefined;
  /** Tokens of a window. Default 256, or the model's limit if that is smaller. */
  readonly window: number | undefined;
  /** Start of windows. Default 'auto'. */
  readonly startToken: StartToken | undefined;
  readonly settings: Pick<ReportSettings, 'steps' | 'windows' | 'precision' | 'train'>;
}

export interface Report {
  readonly page: string;
  readonly figures: readonly string[];
  /** Names of commands that ran, were up to date, or failed. */
  readonly ran: readonly string[];
  readonly kept: readonly string[];
  readonly failed: readonly string[];
}

const PAGE = 'index.html';
/** Width of a chart in pixels, on a screen and on a phone. */
const WIDE = 800;
const NARROW = 350;
const DEFAULT_WINDOW = 256;

/**
 * Creates a report or continues one. Commands whose results are still valid do not run again. Intermediate models are
 * removed at the end.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT (a Boolean source, a window beyond the model's limit, a text shorter than a
 * window, no task files), MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED, MBOK_NO_TOKENIZER, MBOK_PACKAGE_MISSING (vega,
 * vega-lite), MBOK_BUSY (another process writes the report), MBOK_ABORTED
 */
export async function makeReport(options: ReportOptions): Promise<Report> {
  const { folder, source, name, signal, onCommand, onResult } = options;
  const measures = await measuresOf(options);
  await loadVega();
  const workFolder = join(folder, 'work');
  const { variables, settings } = bind(options, measures, workFolder);
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
      // the first command: without it there is no reference, and its error would stop all others too
      if (command.name === reference && stored.error !== undefined) throw failure(source, stored.error);
    },
  });

  const drawn: DrawnSection[] = [];
  for (const section of sections) drawn.push(await drawSection(section, results));
  const commands = new Map(plan.map((command) => [command.name, results.stored(command) as StoredResult]));
  await write(folder, { name, settings, conditions: circumstances, variables, sections: drawn, commands }, digests);
  await removeModels(workFolder);
  const figures = drawn.flatMap(({ exhibits }) => exhibits.map(({ id }) => id));
  return { page: join(folder, PAGE), figures, ...done };
}

/** Writes the page, the data of its figures, and the marker with settings and conditions. */
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

/** Settings that the model decides or bounds. */
type Measures = Pick<ReportSettings, 'window' | 'startToken' | 'parameters' | 'vocabulary'>;

/**
 * Returns the settings of windows and the size of the model. Throws if the source is not a dense model with a
 * tokenizer, or if windows exceed its limit.
 */
async function measuresOf({ source, window, startToken = 'auto' }: ReportOptions): Promise<Measures> {
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
    parameters: specifications.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
    vocabulary: config.vocabularySize,
  };
}

/** Assigns variables to the inputs, for use in commands. */
function bind(
  { source, texts, evalTexts, tasks, settings }: ReportOptions,
  measures: Measures,
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
      ...measures,
      texts: names(training),
      evalTexts: names(judging),
      tasks: tasks === undefined ? [] : tasksIn(tasks),
    },
  };
}

/** Lists the tasks whose files are in a folder. Throws MBOK_INVALID_ARGUMENT if there are none. */
function tasksIn(folder: string): string[] {
  const found = TASKS.filter(({ files }) => files.some((file) => existsSync(join(folder, file))));
  if (found.length > 0) return found.map(({ name }) => name);
  throw new MbokError('MBOK_INVALID_ARGUMENT', `'${folder}' contains no task files; see mbok eval tasks --help`);
}

/** Creates an error from a command's stderr, which holds its message and, in parentheses, its code. */
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

/** Returns the figures that an earlier run of the report wrote. */
function figuresOf({ figures }: JsonObject): readonly string[] {
  const names: readonly unknown[] = Array.isArray(figures) ? figures : [];
  return names.filter((name): name is string => typeof name === 'string' && /^[\w-]+$/.test(name));
}

/** Writes the data of figures. `earlier` names figures of an earlier run, which are removed. */
async function writeFigures(folder: string, exhibits: readonly Exhibit[], earlier: readonly string[]): Promise<void> {
  await makeFolder(folder);
  for (const id of earlier) await remove(join(folder, `${id}.json`));
  for (const { id, caption, data } of exhibits) {
    await writeFile(join(folder, `${id}.json`), readableJson({ caption, data }));
  }
}
