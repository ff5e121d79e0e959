/** Endpoints over HTTP: they answer as OpenAI's do, with the texts and probabilities of the model. */

import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { Model } from '../../lib/model';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { TestServer, writeChatModel } from '../helpers/serve';

const folder = temporaryFolder();
const PROMPT = 'Once upon a time';
const ASK = [{ role: 'user', content: 'Tell me of Lily.' }];
const GREEDY = { temperature: 0, max_tokens: 24 };
let model: Model;
let server: TestServer;
beforeAll(async () => {
  const chat = writeChatModel(folder, 'chat');
  model = await Model.load(chat);
  server = await TestServer.start({ models: { chat, plain: TINY_STORIES } });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  model.dispose();
});

async function read(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

/** log softmax of the logits in each place of a text but the last: those of the tokens after the first. */
async function logSoftmax(ids: readonly number[]): Promise<Float64Array[]> {
  const { data, shape } = await model.logits(ids.slice(0, -1));
  return Array.from({ length: shape[0] }, (_, i) => {
    const row = Float64Array.from(data.subarray(i * shape[1], (i + 1) * shape[1]));
    const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
    return row.map((logit) => logit - total);
  });
}

describe('/v1/completions', () => {
  test('has the greedy text of the model, whole and in a stream', async () => {
    const expected = await read(model.generate(PROMPT, { temperature: 0, maxTokens: 24 }));
    const answer = await server.ask('/v1/completions', { ...GREEDY, prompt: PROMPT });
    expect(answer).toMatchObject({
      object: 'text_completion',
      model: 'chat',
      choices: [{ index: 0, text: expected, logprobs: null, finish_reason: 'length' }],
      usage: { prompt_tokens: 5, completion_tokens: 24, total_tokens: 29 },
    });
    const chunks = await server.chunks('/v1/completions', { ...GREEDY, prompt: PROMPT });
    expect(chunks.map(({ choices }) => choices[0].text).join('')).toBe(expected);
  });

  test('takes texts and tokens, one or several, and n texts of each', async () => {
    const ids = model.tokenizer.encode(PROMPT);
    const one = await read(model.generate(PROMPT, { temperature: 0, maxTokens: 8 }));
    const other = await read(model.generate('One day', { temperature: 0, maxTokens: 8 }));
    const texts = async (body: object) =>
      (await server.ask('/v1/completions', { temperature: 0, max_tokens: 8, ...body })).choices.map(
        ({ text }: { text: string }) => text,
      );
    expect(await texts({ prompt: ids })).toEqual([one]);
    expect(await texts({ prompt: [PROMPT, 'One day'] })).toEqual([one, other]);
    expect(await texts({ prompt: [ids, ids], n: 2 })).toEqual([one, one, one, one]);
    expect(await texts({ prompt: '' })).toEqual([await read(model.generate('', { temperature: 0, maxTokens: 8 }))]);
  });

  test('n texts have the seeds that follow one another', async () => {
    const sampled = { temperature: 1, maxTokens: 12 };
    const expected = [];
    for (const seed of [7, 8, 9]) expected.push(await read(model.generate(PROMPT, { ...sampled, seed })));
    const body = { prompt: PROMPT, temperature: 1, max_tokens: 12, seed: 7, n: 3 };
    const answer = await server.ask('/v1/completions', body);
    expect(answer.choices.map(({ text }: { text: string }) => text)).toEqual(expected);
    expect(answer.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 36 });
    const streamed = ['', '', ''];
    for (const { choices } of await server.chunks('/v1/completions', body))
      streamed[choices[0].index] += choices[0].text;
    expect(streamed).toEqual(expected);
  });

  test('sampling parameters mean what those of the model mean', async () => {
    const expected = await read(
      model.generate(PROMPT, {
        maxTokens: 30,
        temperature: 1.3,
        topP: 0.9,
        topK: 40,
        minP: 0.01,
        repetitionPenalty: 1.1,
        presencePenalty: 0.5,
        frequencyPenalty: 0.25,
        logitBias: { 300: 2 },
        seed: 3,
        stop: ['Lily', 'Tom'],
      }),
    );
    const answer = await server.ask('/v1/completions', {
      prompt: PROMPT,
      max_tokens: 30,
      temperature: 1.3,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.01,
      repetition_penalty: 1.1,
      presence_penalty: 0.5,
      frequency_penalty: 0.25,
      logit_bias: { 300: 2 },
      seed: 3,
      stop: ['Lily', 'Tom'],
    });
    expect(answer.choices[0].text).toBe(expected);
  });

  test('echo and logprobs tell the probability of every token of prompt and text', async () => {
    const prompt = model.tokenizer.encode(
      'Lily and Tom went to the park. They saw a big dog and a red ball. '.repeat(5),
    );
    expect(prompt.length).toBeGreaterThan(80);
    const body = { prompt, echo: true, logprobs: 3, max_tokens: 6, temperature: 0 };
    const answer = await server.ask('/v1/completions', body);
    const [{ text, logprobs }] = answer.choices;
    const generated = await read(model.generate(prompt, { temperature: 0, maxTokens: 6 }));
    expect(text).toBe(model.tokenizer.decode(prompt, { skipSpecialTokens: true }) + generated);
    const ids = [...prompt, ...model.tokenizer.encode(generated, { addSpecialTokens: false })];
    const rows = await logSoftmax(ids);
    expect(logprobs.token_logprobs).toHaveLength(prompt.length + 6);
    expect(logprobs.token_logprobs[0]).toBeNull();
    expect(logprobs.tokens.join('')).toBe(`<|endoftext|>${text}`);
    for (const [i, row] of rows.entries()) {
      const [at, id] = [i + 1, ids[i + 1] as number];
      expect(logprobs.token_logprobs[at]).toBeCloseTo(row[id] as number, 3);
      expect(logprobs.tokens[at]).toBe(model.tokenizer.decode([id]));
      expect(text.slice(logprobs.text_offset[at]).startsWith(logprobs.tokens[at])).toBe(true);
      // lm-evaluation-harness takes a token for the likeliest if it equals the largest
      expect(Math.max(...Object.values<number>(logprobs.top_logprobs[at]))).toBeCloseTo(Math.max(...row), 3);
    }
    // what it asks for, with and without a token that it then drops
    for (const max_tokens of [0, 1]) {
      const [choice] = (await server.ask('/v1/completions', { ...body, max_tokens, logprobs: 1 })).choices;
      expect(choice.logprobs.token_logprobs.slice(0, prompt.length)).toEqual(
        logprobs.token_logprobs.slice(0, prompt.length),
      );
      expect(choice.logprobs.token_logprobs).toHaveLength(prompt.length + max_tokens);
    }
    const chunks = await server.chunks('/v1/completions', body);
    const streamed = chunks.flatMap(({ choices }) => choices[0].logprobs?.token_logprobs ?? []);
    expect(streamed).toEqual(logprobs.token_logprobs);
    expect(chunks.flatMap(({ choices }) => choices[0].logprobs?.text_offset ?? [])).toEqual(logprobs.text_offset);
  });
});

describe('/v1/chat/completions', () => {
  test("has the model's answer, whole and in a stream with usage", async () => {
    const generation = model.chat(ASK, { temperature: 0, maxTokens: 24 });
    const expected = await read(generation);
    const { promptTokens } = await generation.result;
    const answer = await server.ask('/v1/chat/completions', { ...GREEDY, messages: ASK });
    expect(answer).toMatchObject({
      object: 'chat.completion',
      model: 'chat',
      choices: [{ index: 0, message: { role: 'assistant', content: expected }, finish_reason: 'length' }],
      usage: { prompt_tokens: promptTokens, completion_tokens: 24, total_tokens: promptTokens + 24 },
    });
    const body = { ...GREEDY, messages: ASK, stream_options: { include_usage: true } };
    const chunks = await server.chunks('/v1/chat/completions', body);
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.flatMap(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(expected);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: answer.usage });
  });

  test('max_completion_tokens replaces max_tokens, and stop ends the text', async () => {
    const short = await server.ask('/v1/chat/completions', {
      messages: ASK,
      temperature: 0,
      max_tokens: 3,
      max_completion_tokens: 9,
    });
    expect(short.usage.completion_tokens).toBe(9);
    const [word] = /\w{3,}/.exec(short.choices[0].message.content) as RegExpExecArray;
    const stopped = await server.ask('/v1/chat/completions', { ...GREEDY, messages: ASK, stop: word });
    expect(stopped.choices[0].finish_reason).toBe('stop');
    expect(stopped.choices[0].message.content).not.toContain(word);
  });

  test("logprobs are the model's, one for each token", async () => {
    const body = { ...GREEDY, temperature: 1.5, seed: 2, messages: ASK, logprobs: true, top_logprobs: 2 };
    const answer = await server.ask('/v1/chat/completions', body);
    const { content } = answer.choices[0].logprobs;
    expect(content).toHaveLength(answer.usage.completion_tokens);
    const prompt = model.tokenizer.encode('<|endoftext|>user: Tell me of Lily.\nassistant:', {
      addSpecialTokens: false,
    });
    const told: number[] = [];
    await read(model.chat(ASK, { temperature: 1.5, seed: 2, maxTokens: 24, onToken: ({ id }) => told.push(id) }));
    const rows = (await logSoftmax([...prompt, ...told])).slice(-told.length);
    for (const [i, id] of told.entries()) {
      const row = rows[i] as Float64Array;
      expect(content[i].token).toBe(model.tokenizer.decode([id]));
      expect(content[i].bytes).toEqual([...Buffer.from(content[i].token)]);
      expect(content[i].logprob).toBeCloseTo(row[id] as number, 3);
      const [first, second] = [...row].sort((a, b) => b - a) as [number, number];
      const top = content[i].top_logprobs.map(({ logprob }: { logprob: number }) => logprob);
      expect(top).toEqual([expect.closeTo(first, 3), expect.closeTo(second, 3)]);
    }
    const chunks = await server.chunks('/v1/chat/completions', body);
    expect(chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? [])).toEqual(content);
  });

  test('a model without a chat template is refused by name', async () => {
    const response = await server.post('/v1/chat/completions', { model: 'plain', messages: ASK });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: 'unsupported', message: /no chat template/ } });
  });
});

describe('/v1/responses', () => {
  const input = 'Tell me of Lily.';
  test('answers a text, and a conversation with instructions', async () => {
    const expected = await read(model.chat(ASK, { temperature: 0, maxTokens: 24 }));
    const body = { input, temperature: 0, max_output_tokens: 24 };
    const answer = await server.ask('/v1/responses', body);
    expect(answer).toMatchObject({
      object: 'response',
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: expected }] }],
      usage: { output_tokens: 24, input_tokens_details: { cached_tokens: expect.any(Number) } },
    });
    const parts = [{ role: 'user', content: [{ type: 'input_text', text: input }] }];
    expect((await server.ask('/v1/responses', { ...body, input: parts })).output[0].content[0].text).toBe(expected);
    const told = [{ role: 'system', content: 'Be kind.' }, ...ASK];
    const kind = await server.ask('/v1/responses', { ...body, instructions: 'Be kind.' });
    expect(kind.output[0].content[0].text).toBe(await read(model.chat(told, { temperature: 0, maxTokens: 24 })));
  });

  test('streams numbered events that end with the response', async () => {
    const body = { input, temperature: 0, max_output_tokens: 12 };
    const events = (await server.events('/v1/responses', body)).map(({ event, data }) => {
      const parsed = JSON.parse(data);
      expect(parsed.type).toBe(event);
      return parsed;
    });
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, i) => i));
    const kinds = [...new Set(events.map(({ type }) => type))];
    expect(kinds).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.incomplete',
    ]);
    const whole = await server.ask('/v1/responses', body);
    const text = events.flatMap(({ delta }) => delta ?? []).join('');
    expect(text).toBe(whole.output[0].content[0].text);
    expect(events.at(-1).response.output[0].content[0].text).toBe(text);
  });

  test.each([
    ['previous_response_id', { previous_response_id: 'resp_1' }],
    ['tools', { tools: [{ type: 'function' }] }],
    ['text.format', { text: { format: { type: 'json_object' } } }],
    ['input[0]', { input: [{ type: 'image', url: 'x' }] }],
  ])('refuses %s', async (param, more) => {
    const response = await server.post('/v1/responses', { input, ...more });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param } });
  });
});

describe('small endpoints', () => {
  test('/tokenize, /detokenize and /apply-template', async () => {
    const { tokens } = await server.ask('/tokenize', { content: PROMPT });
    expect(tokens).toEqual(model.tokenizer.encode(PROMPT, { addSpecialTokens: false }));
    expect(await server.ask('/detokenize', { tokens })).toEqual({ content: PROMPT });
    expect(await server.ask('/apply-template', { messages: ASK })).toEqual({
      prompt: '<|endoftext|>user: Tell me of Lily.\nassistant:',
    });
  });

  test('/v1/models, /health, /ready', async () => {
    const { data } = (await (await server.get('/v1/models')).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(['chat', 'plain']);
    expect(await (await server.get('/v1/models/chat')).json()).toMatchObject({ id: 'chat', max_model_len: 512 });
    expect((await server.get('/v1/models/other')).status).toBe(404);
    expect(await (await server.get('/health')).json()).toEqual({ status: 'ok' });
    expect(await (await server.get('/ready')).json()).toEqual({ status: 'ready' });
  });

  test('/metrics counts tokens and requests', async () => {
    const names = ['mbok_prompt_tokens_total', 'mbok_generated_tokens_total', 'mbok_time_to_first_token_seconds_count'];
    const values = async () => await Promise.all(names.map((name) => server.metric(name, 'model="chat"')));
    const before = await values();
    await server.ask('/v1/completions', { ...GREEDY, prompt: PROMPT });
    expect(await values()).toEqual([(before[0] as number) + 5, (before[1] as number) + 24, (before[2] as number) + 1]);
    expect(await server.metric('mbok_requests_total', 'code="200"')).toBeGreaterThan(0);
    expect(await server.metric('mbok_kv_cache_usage_ratio')).toBe(0);
  });

  test('/openapi.json describes all routes, with the schemas that check bodies', async () => {
    const { openapi, paths } = (await (await server.get('/openapi.json')).json()) as {
      openapi: string;
      paths: Record<string, { post?: { requestBody: { content: Record<string, { schema: Json }> } } }>;
    };
    type Json = { properties: Record<string, unknown>; required: string[] };
    expect(openapi).toBe('3.1.0');
    const schema = (path: string) => paths[path]?.post?.requestBody.content['application/json']?.schema as Json;
    expect(Object.keys(schema('/v1/chat/completions').properties)).toContain('presence_penalty');
    expect(schema('/v1/completions').required).toEqual(['prompt']);
    for (const [path, methods] of Object.entries(paths)) {
      const method = Object.keys(methods)[0] as string;
      const at = server.url + path.replace('{name}', 'chat');
      const body = method === 'post' ? { body: '{', headers: { 'content-type': 'application/json' } } : {};
      expect({ path, status: (await fetch(at, { method, ...body })).status }).toEqual({
        path,
        status: method === 'post' ? 400 : 200,
      });
    }
  });
});

test("a prompt's beginning that a slot holds is not computed again, and is told", async () => {
  const prompt = model.tokenizer.encode('Lily went to the big park with her mom and dad. '.repeat(12));
  const first = await server.ask('/v1/completions', { ...GREEDY, prompt });
  const again = await server.ask('/v1/completions', { ...GREEDY, prompt: [...prompt.slice(0, -1), 300] });
  const { cached_tokens: cached } = again.usage.prompt_tokens_details;
  expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0);
  expect(cached).toBeGreaterThanOrEqual(64);
  expect(cached % 64).toBe(0);
  expect((await server.ask('/v1/completions', { ...GREEDY, prompt })).choices[0].text).toBe(first.choices[0].text);
});

describe('several models', () => {
  test('are loaded when they are asked for and unloaded when their memory is needed, the least recently used first', async () => {
    const names = ['a', 'b', 'c'];
    const places = Object.fromEntries(
      names.map((name) => {
        symlinkSync(TINY_STORIES, join(folder, name));
        return [name, join(folder, name)];
      }),
    );
    await using one = await TestServer.start({ models: { a: places.a as string } });
    const bytes = await one.metric('mbok_model_bytes');
    await using several = await TestServer.start({ models: places, memory: 2.5 * bytes });
    const loaded = async () => {
      const { data } = (await (await several.get('/v1/models')).json()) as { data: { id: string; loaded: boolean }[] };
      return data.filter((model) => model.loaded).map(({ id }) => id);
    };
    const ask = async (model?: string) =>
      (await several.ask('/v1/completions', { model, ...GREEDY, prompt: PROMPT })).choices[0].text;
    expect(await loaded()).toEqual(['a']);
    const expected = await ask();
    expect(await ask('b')).toBe(expected);
    expect(await ask('a')).toBe(expected);
    expect(await loaded()).toEqual(['a', 'b']);
    expect(await ask('c')).toBe(expected);
    expect(await loaded()).toEqual(['a', 'c']);
    // all at once: those in use stay, and what then has no room is told to come back
    const answers = await Promise.all(
      names.map(async (model) => {
        const response = await several.post('/v1/completions', { model, prompt: PROMPT, max_tokens: 400 });
        return { retry: response.headers.get('retry-after'), body: await response.json() };
      }),
    );
    const refused = answers.filter(({ retry }) => retry !== null);
    expect(refused.length).toBeLessThanOrEqual(1);
    for (const { body } of refused) expect(body).toMatchObject({ error: { code: 'no_memory' } });
    expect(answers.filter(({ body }) => 'choices' in (body as object))).toHaveLength(3 - refused.length);
    expect((await loaded()).length).toBeLessThanOrEqual(2);
    expect(await ask('b')).toBe(expected);
  });

  test('a model that never fits is refused when the server is made', async () => {
    await expect(TestServer.start({ models: { a: TINY_STORIES }, memory: 1000 })).rejects.toThrow(
      /more than the limit/,
    );
  });

  test('NAME@K has the text of the first K kernels of a nested model', async () => {
    const nested = join(folder, 'nested');
    await binarizeFolder(TINY_STORIES, nested, {
      kernels: 3,
      nested: true,
      method: 'calibrated',
      calibration: {
        data: Int32Array.from({ length: 600 }, (_, i) => 5 + ((i * i * 7) % 1900)),
        windows: 2,
        length: 32,
      },
    });
    await using of = await TestServer.start({ models: { nested, dense: TINY_STORIES } });
    const sizes: number[] = [];
    for (const kernels of [1, 2, undefined]) {
      const alias = kernels === undefined ? 'nested' : `nested@${kernels}`;
      await using expected = await Model.load(nested, { kernels });
      const answer = await of.ask('/v1/completions', { model: alias, ...GREEDY, prompt: PROMPT });
      expect(answer).toMatchObject({
        model: alias,
        choices: [{ text: await read(expected.generate(PROMPT, { temperature: 0, maxTokens: 24 })) }],
      });
      sizes.push(await of.metric('mbok_model_bytes', `model="${alias}"`));
    }
    expect([...sizes].sort((a, b) => a - b)).toEqual(sizes);
    for (const name of ['nested@9', 'dense@1', 'nested@0', '@1']) {
      const response = await of.post('/v1/completions', { model: name, prompt: PROMPT });
      expect({ name, status: response.status }).toEqual({ name, status: 404 });
    }
  });

  test('one whose files are broken fails alone, and the log says why', async () => {
    const broken = join(folder, 'broken');
    mkdirSync(broken);
    await using of = await TestServer.start({ models: { good: TINY_STORIES, broken } });
    const response = await of.post('/v1/completions', { model: 'broken', prompt: PROMPT });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain(broken);
    expect(of.records.at(-1)?.error).toContain(broken);
    expect((await of.post('/v1/completions', { prompt: PROMPT, max_tokens: 1 })).status).toBe(200);
  });
});
