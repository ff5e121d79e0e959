/** The README.md of a model at the hub: metadata that its pages read, and a description. */

import { structureOf } from '../structures/registry';
import { formsOf } from './forms';
import type { ModelInspection } from './inspect';
import { maxPrefix } from './parts';

/** A measured quality of a model. */
export interface CardMetric {
  /** Text or task. */
  readonly dataset: string;
  /** `perplexity`, `acc`, … */
  readonly metric: string;
  readonly value: number;
  /** Conditions of the measurement. */
  readonly conditions: string;
}

/** What the card says besides what the files say. */
export interface CardContent {
  /** `user/repo`. */
  readonly repo: string;
  /** The model that was converted, at the hub; undefined if it is unknown. */
  readonly base: string | undefined;
  readonly metrics: readonly CardMetric[];
  readonly version: string;
}

/** Writes a model card (https://huggingface.co/docs/hub/model-cards). */
export function modelCard(model: ModelInspection, { repo, base, metrics, version }: CardContent): string {
  const { conversion, bitsPerWeight, bytes, parameters, family } = model;
  const isConverted = conversion !== undefined;
  const [user = '', name = ''] = repo.split('/');
  const head = [
    'library_name: mbok',
    'pipeline_tag: text-generation',
    ...(base === undefined
      ? []
      : [`base_model: ${quoted(base)}`, ...(isConverted ? ['base_model_relation: quantized'] : [])]),
    ...(isConverted ? [`quantized_by: ${quoted(user)}`] : []),
    'tags:',
    ...['mbok', ...(isConverted ? ['boolean'] : []), family].map((tag) => `- ${quoted(tag)}`),
    ...(metrics.length === 0 ? [] : modelIndex(name, metrics)),
  ];
  const rows = [
    ['parameters', String(parameters)],
    ['bits per weight of the linear layers, scales included', bitsPerWeight.toFixed(3)],
    ['size of the weights', `${(bytes / 1e6).toFixed(2)} MB`],
    ...(isConverted ? [['linear layers', formsOf(model.layers)], ...tables(model), ...nested(model)] : []),
    ...(isConverted ? [['conversion', `${conversion.method}, mean residual ${conversion.residual.toFixed(4)}`]] : []),
  ];
  const of = base === undefined ? '' : ` of [${base}](https://huggingface.co/${base})`;
  return [
    '---',
    ...head,
    '---',
    '',
    `# ${name}`,
    '',
    isConverted
      ? `A Boolean version${of}: each linear weight consists of ±1 matrices with scales. Written by mbok ${version}.`
      : `A model${of}, written by mbok ${version}.`,
    '',
    '```shell',
    `npx mbok generate hf:${repo} --prompt "Once upon a time"`,
    '```',
    '',
    '| | |',
    '|---|---|',
    ...rows.map(([left, right]) => `| ${left} | ${right} |`),
    '',
    ...(metrics.length === 0 ? [] : metricTable(metrics)),
  ].join('\n');
}

/** A JSON string is a YAML string too, whatever it contains. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Formats of embedding and head that are not dense. */
function tables(model: ModelInspection): string[][] {
  return Object.entries(model.tables).map(([name, format]) => [name, structureOf(format).describe(format)]);
}

function nested({ prefixBytes, layers }: ModelInspection): string[][] {
  if (prefixBytes === undefined) return [];
  const most = maxPrefix(new Map(layers.map(({ module, format }) => [module, format])));
  return [['nested', `${most} models in one file, by \`--kernels 1\` to \`--kernels ${most}\``]];
}

function modelIndex(name: string, metrics: readonly CardMetric[]): string[] {
  return [
    'model-index:',
    `- name: ${quoted(name)}`,
    '  results:',
    ...metrics.flatMap(({ dataset, metric, value, conditions }) => [
      '  - task:',
      '      type: text-generation',
      '    dataset:',
      `      name: ${quoted(dataset)}`,
      `      type: ${quoted(dataset)}`,
      '    metrics:',
      `    - type: ${quoted(metric)}`,
      `      value: ${value}`,
      `      name: ${quoted(conditions === '' ? metric : `${metric}, ${conditions}`)}`,
    ]),
  ];
}

function metricTable(metrics: readonly CardMetric[]): string[] {
  const cell = (text: string) => text.replace(/[|\r\n]/g, ' ');
  return [
    '| text or task | metric | value | conditions |',
    '|---|---|---|---|',
    ...metrics.map(
      ({ dataset, metric, value, conditions }) =>
        `| ${cell(dataset)} | ${cell(metric)} | ${value.toFixed(metric === 'perplexity' ? 3 : 4)} | ${cell(conditions)} |`,
    ),
    '',
  ];
}
