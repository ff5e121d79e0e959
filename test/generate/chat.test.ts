/** Conversations with a model: its prompt is the template's text, and its answers end where messages end. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fitMessages } from '../../lib/generate/conversation';
import { Decoder } from '../../lib/generate/decoder';
import { PromptCache } from '../../lib/generate/prompt_cache';
import { recommendedSampling } from '../../lib/generate/recommended';
import type { GenerateOptions } from '../../lib/generate/request';
import { type ChatOptions, Model } from '../../lib/model';
import type { ChatMessage } from '../../lib/text/messages';
import { copyTinyStories, TINY_STORIES, temporaryFolder } from '../helpers/folders';

/** Formats a conversation as a story; the tag is not special to the tokenizer. */
const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
const ASK: readonly ChatMessage[] = [{ role: 'user', content: 'Tell me of Lily.' }];

const folder = temporaryFolder();
let model: Model;
beforeAll(async () => {
  const place = join(folder, 'chat');
  mkdirSync(place);
  model = await Model.load(copyTinyStories(place, { tokenizer: { chat_template: TEMPLATE } }));
});
afterAll(() => model.dispose());

async function answer(messages: readonly ChatMessage[], options: GenerateOptions) {
  const generation = model.chat(messages, options);
  let text = '';
  for await (const piece of generation) text += piece;
  return { ...(await generation.result), text };
}

test("an answer continues the template's text, with one begin-of-text token", async () => {
  const options = { temperature: 0, maxTokens: 12 };
  const result = await answer(ASK, options);
  const prompt = model.tokenizer.encode('<|endoftext|>user: Tell me of Lily.\nassistant:', { addSpecialTokens: false });
  expect(prompt.filter((id) => id === 0)).toHaveLength(1);
  expect(result.promptTokens).toBe(prompt.length);
  const generation = model.generate(prompt, options);
  let text = '';
  for await (const piece of generation) text += piece;
  expect(result.text).toBe(text);
  expect(text.length).toBeGreaterThan(10);
});

test('tools and further arguments reach the template, and a message can be continued', async () => {
  const source =
    '{{ tools[0].name }} {{ documents[0].text }} {{ mood }}{% for m in messages %} {{ m.content }}.{% endfor %}';
  const place = join(folder, 'told');
  mkdirSync(place);
  await using told = await Model.load(copyTinyStories(place, { tokenizer: { chat_template: source } }));
  const options = { tools: [{ name: 'clock' }], documents: [{ text: 'doc' }], chatTemplateKwargs: { mood: 'calm' } };
  const promptTokens = async (given: ChatOptions) => {
    const generation = told.chat(ASK, { ...options, maxTokens: 1, ...given });
    for await (const _ of generation);
    return (await generation.result).promptTokens;
  };
  const tokens = (text: string) => told.tokenizer.encode(text, { addSpecialTokens: false }).length;
  expect(await promptTokens({})).toBe(tokens('clock doc calm Tell me of Lily..'));
  expect(await promptTokens({ continueFinalMessage: true })).toBe(tokens('clock doc calm Tell me of Lily.'));
});

test('an answer ends at the token that ends messages', async () => {
  const { text } = await answer(ASK, { temperature: 0, maxTokens: 12 });
  const place = join(folder, 'ends');
  mkdirSync(place);
  // the fourth word of every answer ends a message
  const ids = model.tokenizer.encode(text, { addSpecialTokens: false });
  const end = ids[4] as number;
  await using other = await Model.load(
    copyTinyStories(place, { tokenizer: { chat_template: TEMPLATE }, generation: { eos_token_id: [0, end] } }),
  );
  const generation = other.chat(ASK, { temperature: 0, maxTokens: 12 });
  let got = '';
  for await (const piece of generation) got += piece;
  expect(await generation.result).toMatchObject({ reason: 'end-of-text', text: got });
  expect(text.startsWith(got)).toBe(true);
  expect(got.length).toBeLessThan(text.length);
});

test('the size of the key-value cache is known in advance', async () => {
  const generation = model.chat(ASK, { temperature: 0, maxTokens: 5 });
  const { cacheBytes } = generation;
  for await (const _ of generation);
  const { promptTokens, ...result } = await generation.result;
  // 6 layers, keys and values of 2 heads of 32 f32; nothing is computed after the last token
  expect(cacheBytes).toBe(6 * 2 * 64 * 4 * (promptTokens + 4));
  expect(result.cacheBytes).toBe(cacheBytes);
});

describe('a prompt cache', () => {
  const options = { temperature: 0, maxTokens: 12 };
  /** Runs three turns; returns the answers and the computed tokens of their prompts. */
  async function converse(promptCache?: PromptCache) {
    const messages = [...ASK];
    const computed: number[] = [];
    const prefill = jest.spyOn(Decoder.prototype, 'prefill');
    for (const question of ['And then?', 'Why?', '']) {
      prefill.mockClear();
      const { text } = await answer(messages, { ...options, promptCache });
      computed.push(prefill.mock.calls[0]?.[0][0]?.ids.length ?? 0);
      messages.push({ role: 'assistant', content: text }, { role: 'user', content: question });
    }
    prefill.mockRestore();
    return { messages, computed };
  }

  test('gives the same answers and computes only new tokens', async () => {
    const fresh = await converse();
    await using promptCache = new PromptCache();
    const kept = await converse(promptCache);
    expect(kept.messages).toEqual(fresh.messages);
    expect(kept.computed[0]).toBe(fresh.computed[0]);
    // an answer may be encoded differently than it was generated, but not the question before it
    expect(kept.computed[1]).toBeLessThan(fresh.computed[1] as number);
    expect(kept.computed[2]).toBeLessThan((fresh.computed[2] as number) / 2);
    // for the same prompt again, only the logits of its last token are computed
    const again = await answer(ASK, { ...options, promptCache });
    expect(again.text).toBe(fresh.messages[1]?.content);
  });

  test('accepts another model, grows, and reports its size', async () => {
    await using promptCache = new PromptCache();
    const first = await answer(ASK, { ...options, promptCache });
    await using other = await Model.load(TINY_STORIES);
    for (const user of [other, model]) {
      const generation = user.generate('Once upon a time', { temperature: 0, maxTokens: 60, promptCache });
      for await (const _ of generation);
      const { cacheBytes, text } = await generation.result;
      expect(cacheBytes).toBe(generation.cacheBytes);
      expect(text.startsWith(', there was')).toBe(true);
    }
    const last = await answer(ASK, { ...options, promptCache });
    expect(last.text).toBe(first.text);
    expect(last.cacheBytes).toBeGreaterThan(first.cacheBytes);
  });

  test('serves one generation at a time, and none when disposed', async () => {
    const promptCache = new PromptCache();
    const generation = model.chat(ASK, { ...options, promptCache });
    await generation.next();
    await expect(answer(ASK, { ...options, promptCache })).rejects.toMatchObject({ code: 'MBOK_BUSY' });
    await promptCache[Symbol.asyncDispose]();
    for await (const _ of generation);
    expect(await generation.result).toMatchObject({ tokens: 12 });
    await expect(answer(ASK, { ...options, promptCache })).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
    expect(() => model.chat(ASK, { promptCache: {} as PromptCache })).toThrow(/'promptCache' must be a PromptCache/);
  });
});

test.each<[string, readonly ChatMessage[], RegExp]>([
  ['no messages', [], /'messages' must be a list of at least one message/],
  [
    'a conversation that does not fit',
    [{ role: 'user', content: 'a b '.repeat(500) }],
    /\d{3,} tokens.*context of 512/,
  ],
])('%s is refused', (_, messages, message) => {
  expect(() => model.chat(messages)).toThrow(
    expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
  );
});

test('a model without a template says so', async () => {
  await using plain = await Model.load(TINY_STORIES);
  expect(() => plain.chat(ASK)).toThrow(
    expect.objectContaining({
      code: 'MBOK_UNSUPPORTED',
      message: expect.stringMatching(/tiny-stories.*no chat template/),
    }),
  );
});

describe('generation_config.json', () => {
  const read = (content: unknown) =>
    recommendedSampling(new Map([['generation_config.json', Buffer.from(JSON.stringify(content))]]), 'm');
  test.each<[unknown, object]>([
    [{}, { temperature: 0, repetitionPenalty: 1 }],
    [
      { temperature: 0.6, top_p: 0.9 },
      { temperature: 0, repetitionPenalty: 1 },
    ],
    [
      { do_sample: true, temperature: 0.6, top_p: 0.9, top_k: 20, repetition_penalty: 1.1, min_p: 0.1 },
      { temperature: 0.6, topP: 0.9, topK: 20, minP: 0.1, repetitionPenalty: 1.1 },
    ],
    [{ do_sample: true }, { temperature: 1, topP: 1, repetitionPenalty: 1 }],
  ])('%j', (content, sampling) => {
    expect(read(content)).toEqual(sampling);
  });

  test('holds the recommended sampling, and its absence means greedy', async () => {
    expect(model.recommendedSampling).toEqual({ temperature: 0, repetitionPenalty: 1 });
    expect(() => read({ do_sample: 'yes' })).toThrow(expect.objectContaining({ code: 'MBOK_FORMAT' }));
    const place = join(folder, 'broken');
    mkdirSync(place);
    copyTinyStories(place);
    writeFileSync(join(place, 'generation_config.json'), '[]');
    await expect(Model.load(place)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });
});

describe('messages that outgrow the context', () => {
  const system: ChatMessage = { role: 'system', content: 'Be kind.' };
  const turn = (i: number): ChatMessage[] => [
    { role: 'user', content: `Tell me of ${'Lily and Tom and the sun and '.repeat(6)} ${i}.` },
    { role: 'assistant', content: `There was ${'a ball and a dog and a tree and '.repeat(6)} ${i}.` },
  ];
  const question: ChatMessage = { role: 'user', content: 'And then?' };
  const turns = [0, 1, 2, 3, 4, 5].flatMap(turn);

  test.each([
    ['after the system message', [system], 1],
    ['from the beginning where there is none', [], 0],
  ])('are left out %s, a question with its answer', async (_, first, kept) => {
    const messages = [...first, ...turns, question];
    const fitting = fitMessages(model, messages, { maxTokens: 60 });
    const left = messages.length - fitting.length;
    expect(left).toBeGreaterThan(0);
    expect(left % 2).toBe(0);
    expect(fitting).toEqual([...messages.slice(0, kept), ...messages.slice(kept + left)]);
    const { promptTokens } = await answer(fitting, { temperature: 0, maxTokens: 1 });
    expect(promptTokens + 60).toBeLessThanOrEqual(512);
    // one turn more does not fit
    const more = [...messages.slice(0, kept), ...messages.slice(kept + left - 2)];
    expect((await answer(more, { temperature: 0, maxTokens: 1 })).promptTokens + 60).toBeGreaterThan(512);
  });

  test('leave room for an answer of a quarter of the context at most', () => {
    const messages = [...turns, question];
    const most = fitMessages(model, messages, { maxTokens: 128 });
    expect(fitMessages(model, messages, { maxTokens: 10_000 })).toEqual(most);
    expect(fitMessages(model, messages).length).toBeGreaterThan(most.length);
  });

  test('stay where they fit, and the last question always stays', () => {
    expect(fitMessages(model, ASK)).toEqual(ASK);
    const long: ChatMessage = { role: 'user', content: 'a b '.repeat(500) };
    expect(fitMessages(model, [...turns, long])).toEqual([...turns, long].slice(-1));
    expect(() => fitMessages(model, ASK, { maxTokens: 0 })).toThrow(/'maxTokens' must be an integer of at least 1/);
  });
});
