/** The tokenizer and the chat template of a real GGUF file, SmolLM2-135M-Instruct. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ModelSource } from '../../lib/models/source';
import { ChatTemplate, encodeChat, endTokens } from '../../lib/text/chat';
import type { Tokenizer } from '../../lib/text/tokenizer';
import { describeWithShared, sharedPath } from '../helpers/shared';

const FILE = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf';
const GOLDEN = 'golden/smollm2-135m-instruct';
const TEXT = 'data/wikitext2_raw/wiki.test.raw';

const TURNS = 'cases/9-qwen3-several-turns';

describeWithShared('SmolLM2', [FILE, GOLDEN, TEXT], () => {
  let tokenizer: Tokenizer;
  let template: ChatTemplate;
  beforeAll(async () => {
    await using source = await ModelSource.open(sharedPath(FILE));
    tokenizer = source.tokenizer as Tokenizer;
    template = ChatTemplate.fromFiles(source.companions, join(source.place, '..')) as ChatTemplate;
  });

  test('encodes the golden cases', () => {
    const path = sharedPath(`${GOLDEN}/tokenizer_cases.json`);
    const cases = JSON.parse(readFileSync(path, 'utf8')) as { text: string; ids: number[] }[];
    expect(cases.map(({ text }) => ({ text, ids: tokenizer.encode(text) }))).toEqual(cases);
    expect(tokenizer).toMatchObject({ vocabSize: 49152, bosTokenId: 1, eosTokenIds: [2, 0], documentStartId: 0 });
  });

  test('encodes the whole WikiText-2 test', () => {
    const text = readFileSync(sharedPath(TEXT), 'utf8');
    const golden = readFileSync(sharedPath(`${GOLDEN}/window_2048_0_7.u16`));
    const ids = tokenizer.encode(text);
    expect(ids).toHaveLength(303415);
    const first = Array.from({ length: golden.length / 2 }, (_, i) => golden.readUInt16LE(2 * i));
    expect(ids.slice(0, first.length)).toEqual(first);
  });

  test('formats conversations with its special tokens', () => {
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello!' },
    ];
    expect(template.apply(messages.slice(0, 1), { addGenerationPrompt: true })).toBe(
      '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' +
        '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    );
    const { ids, assistant } = encodeChat(tokenizer, template, messages);
    const said = [...ids].filter((_, i) => assistant[i] === 1);
    expect(tokenizer.decode(said)).toBe('Hello!<|im_end|>');
    expect([...ids].filter((id) => id === 1)).toHaveLength(3);
    expect(endTokens(tokenizer, template)).toEqual([2, 0]);
  });
});

describeWithShared('thoughts that are dropped from earlier turns', [FILE, TURNS], () => {
  test("the assistant's tokens are the answers of all turns", async () => {
    await using source = await ModelSource.open(sharedPath(FILE));
    const tokenizer = source.tokenizer as Tokenizer;
    const template = new ChatTemplate(readFileSync(sharedPath(`${TURNS}/template.jinja`), 'utf8'), 'template');
    const lines = readFileSync(sharedPath(`${TURNS}/conversations.jsonl`), 'utf8')
      .trim()
      .split('\n');
    const said = lines.map((line) => {
      const { ids, assistant } = encodeChat(tokenizer, template, JSON.parse(line).messages);
      return Array.from(ids, (id, i) => (assistant[i] === 1 ? tokenizer.decode([id]) : '\0'))
        .join('')
        .split(/\0+/);
    });
    const thoughts = '<think>\n\n</think>\n\n';
    expect(said).toEqual([
      ['', 'Hello you<|im_end|>', `${thoughts}See you<|im_end|>`, ''],
      ['', `${thoughts}    indented code<|im_end|>`, ''],
    ]);
  });
});
