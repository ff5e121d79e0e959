/**
 * Generator of chat templates: programs of a grammar, expensive programs, and changed templates of well-known kinds.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChatTemplate, encodeChat, endTokens } from '../../lib/text/chat';
import { Tokenizer } from '../../lib/text/tokenizer';
import { GOLDEN } from '../helpers/folders';
import type { Draw } from './draw';
import { changeJson, changeText, hostileString, hostileValue, jsonMap, writeJson } from './hostile';
import { body, DANGERS, expression } from './template_grammar';
import { smallTokenizer } from './tokenizer_parts';
import type { FuzzCase, Generator, Trial } from './trial';

const HONEST = Object.values(
  (JSON.parse(readFileSync(join(GOLDEN, 'chat_templates.json'), 'utf8')) as { templates: Record<string, string> })
    .templates,
);
/** Pieces that are inserted into a changed template. */
const PIECES = HONEST.flatMap((template) => template.match(/\{[{%].*?[}%]\}/gs) ?? []).concat(
  [
    '{{',
    '}}',
    '{%',
    '%}',
    '{#',
    '#}',
    '{%-',
    '-%}',
    "'",
    '"',
    '\\',
    '(',
    '[',
    '|',
    '~',
    'range(10**9)',
    'loop',
    'messages',
  ],
  ['endfor', 'endif', 'else', 'endmacro', 'endset'].map((end) => `{% ${end} %}`),
);
const CONFIG = { bos_token: '<s>', eos_token: { content: '</s>' }, unk_token: null, pad_token: 3 };

export const templates: Generator = {
  make(draw) {
    const [label, source] = draw.pick([
      program,
      program,
      program,
      danger,
      danger,
      changed,
      changedValues,
      changedValues,
    ])(draw);
    const messages = conversation(draw);
    return caseOf(draw, { label, source, messages });
  },
};

type Labeled = [label: string, source: string];

function program(draw: Draw): Labeled {
  return ['program', `{% set ns = namespace(s='a', x=1) %}${body(draw, draw.integer(1, 5))}`];
}

function danger(draw: Draw): Labeled {
  const label = draw.pick(Object.keys(DANGERS));
  return [label, (DANGERS[label] as (draw: Draw) => string)(draw)];
}

function changed(draw: Draw): Labeled {
  return ['changed text', changeText(draw, draw.pick(HONEST), PIECES)];
}

/** Replaces some literals and names of a template by other expressions; it stays well formed. */
function changedValues(draw: Draw): Labeled {
  const share = draw.uniform() / 4;
  const source = draw
    .pick(HONEST)
    .replace(/'[^'{}%]*'|\b(?:messages|message|content|role|\d+)\b(?!['\]])/g, (value) =>
      draw.chance(share) ? `(${expression(draw, draw.integer(0, 3))})` : value,
    );
  return ['changed values', source];
}

function conversation(draw: Draw): { role: string; content: string }[] {
  const content = () =>
    draw.pick([
      () => 'Why is the sky blue?',
      () => 'a b\n\nc  ',
      () => '{{ messages }}{% raw %}',
      () => hostileString(draw),
    ])();
  const turns = draw.several(1, 4, (index) => ({ role: index % 2 === 0 ? 'user' : 'assistant', content: content() }));
  if (draw.chance(0.2)) turns.unshift({ role: 'system', content: content() });
  if (draw.chance(0.05)) turns.push({ role: hostileString(draw), content: content() });
  return turns;
}

interface Parts {
  readonly label: string;
  readonly source: string;
  readonly messages: { role: string; content: string }[];
}

function caseOf(draw: Draw, { label, source, messages }: Parts): FuzzCase {
  const where = draw.integer(0, 19);
  const config = jsonMap(CONFIG);
  if (where === 0) config.set('chat_template', [jsonMap({ name: 'default', template: source })]);
  else if (where === 1) config.set('chat_template', hostileValue(draw));
  else if (where < 6) config.set('chat_template', source);
  const text = writeJson(draw.chance(0.1) ? changeJson(draw, config) : config);
  const files = {
    'tokenizer_config.json': text,
    ...(where >= 6 && { 'chat_template.jinja': source }),
    'messages.json': JSON.stringify(messages),
  };
  const addGenerationPrompt = draw.chance(0.5);
  const calls = draw.chance(0.2) ? ['apply', 'apply again'] : ['apply'];
  const withTokens = draw.chance(0.2);
  return {
    label: where === 1 ? 'chat_template of another type' : label,
    files,
    try: async (trial) => {
      const { 'messages.json': _, ...read } = files;
      const contents = new Map(Object.entries(read).map(([name, content]) => [name, Buffer.from(content)]));
      const bytes = Object.values(files).reduce((sum, content) => sum + content.length, 0);
      const template = await trial.call('fromFiles', bytes, () => ChatTemplate.fromFiles(contents, 'model'));
      if (template === undefined) return;
      for (const name of calls) {
        const result = await trial.call(name, bytes, () => template.apply(messages, { addGenerationPrompt }));
        if (result !== undefined && typeof result !== 'string') trial.wrong(name, `gave a ${typeof result}`);
      }
      if (withTokens) await tryTokens(trial, template, { messages, bytes });
    },
  };
}

let tokenizer: Tokenizer | undefined;

async function tryTokens(
  trial: Trial,
  template: ChatTemplate,
  { messages, bytes }: { messages: Parts['messages']; bytes: number },
): Promise<void> {
  tokenizer ??= Tokenizer.fromFiles(smallTokenizer(), 'tokenizer');
  const known = tokenizer;
  await trial.call('endTokens', bytes, () => endTokens(known, template));
  // each assistant's message is rendered three times and encoded twice
  await trial.call('encodeChat', bytes * (1 + messages.length), () => encodeChat(known, template, messages));
}
