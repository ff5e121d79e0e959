/** Limits: what is too much or malformed is refused with the right status, and slow clients slow down nobody else. */

import { connect } from 'node:net';
import fc from 'fast-check';
import { Model } from '../../lib/model';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { type Json, TestServer, until, writeChatModel } from '../helpers/serve';

const TEXT = '/v1/completions';
const CHAT = '/v1/chat/completions';
const folder = temporaryFolder();
let path: string;
let server: TestServer;
beforeAll(async () => {
  path = writeChatModel(folder, 'chat', 2048);
  server = await TestServer.start({ models: { chat: path }, parallel: 2, queue: 1, maxBody: 100_000 });
});
afterAll(() => server[Symbol.asyncDispose]());

const endless = { prompt: 'Once', max_tokens: 2000, logit_bias: { 0: -100 } };

async function error(response: Response) {
  const { error: told } = (await response.json()) as { error: Json };
  expect(Object.keys(told)).toEqual(['message', 'type', 'param', 'code']);
  return { status: response.status, ...told };
}

describe('more texts than may wait', () => {
  test('are refused with 429 and Retry-After, and those that wait get their turn', async () => {
    const all = await Promise.all(
      [1, 2, 3, 4, 5].map(async (seed) => {
        const response = await server.post(TEXT, { prompt: 'Once', max_tokens: 200, seed, logit_bias: { 0: -100 } });
        return {
          status: response.status,
          retry: Number(response.headers.get('retry-after')),
          body: await response.json(),
        };
      }),
    );
    const refused = all.filter(({ status }) => status === 429);
    expect(all.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(refused).toHaveLength(2);
    for (const { retry, body } of refused) {
      expect(retry).toBeGreaterThanOrEqual(1);
      expect(body).toMatchObject({ error: { type: 'rate_limit_error', code: 'queue_full' } });
    }
    expect((await server.post(TEXT, { prompt: 'Once', max_tokens: 1 })).status).toBe(200);
  });

  test('in one request are refused for good', async () => {
    expect(await error(await server.post(TEXT, { prompt: 'Once', n: 4 }))).toMatchObject({ status: 400 });
    expect(await error(await server.post(TEXT, { prompt: ['a', 'b', 'c', 'd'], max_tokens: 0 }))).toMatchObject({
      status: 400,
    });
    expect((await server.ask(TEXT, { prompt: 'Once', n: 3, max_tokens: 2 })).choices).toHaveLength(3);
  });
});

test('a body that is too large is refused, with its length told or not', async () => {
  const body = JSON.stringify({ prompt: 'x'.repeat(200_000) });
  expect(await error(await server.post(TEXT, body))).toMatchObject({ status: 413, code: 'body_too_large' });
  const parts = new ReadableStream({
    start(controller) {
      for (let i = 0; i < body.length; i += 10_000)
        controller.enqueue(new TextEncoder().encode(body.slice(i, i + 10_000)));
      controller.close();
    },
  });
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: parts,
    duplex: 'half',
  } as RequestInit;
  const response = await fetch(server.url + TEXT, init);
  expect(response.status).toBe(413);
});

describe('a text longer than the context', () => {
  test.each([
    ['as text', TEXT, { prompt: 'Once upon a time '.repeat(600) }],
    ['as so much text that it is not encoded', TEXT, { prompt: 'x'.repeat(90_000) }],
    ['as tokens', TEXT, { prompt: new Array(2049).fill(5) }],
    ['as a conversation', CHAT, { messages: [{ role: 'user', content: 'Once upon a time '.repeat(600) }] }],
    ['as a response', '/v1/responses', { input: 'Once upon a time '.repeat(600) }],
  ])('is refused %s', async (_, to, body) => {
    expect(await error(await server.post(to, body))).toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });

  test('ends with its context', async () => {
    const prompt = new Array(2040).fill(5);
    const answer = await server.ask(TEXT, { prompt, max_tokens: 50, logit_bias: { 0: -100 } });
    expect(answer).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 9 } });
    await using small = await TestServer.start({ models: { chat: path }, context: 100 });
    const body = { prompt: 'Once upon a time', temperature: 0, max_tokens: 500, logit_bias: { 0: -100 } };
    expect((await small.ask(TEXT, body)).usage).toMatchObject({ total_tokens: 101 });
  });
});

test('requests need one of the keys, but for those who watch the process', async () => {
  await using locked = await TestServer.start({ models: { tiny: TINY_STORIES }, apiKeys: ['first', 'second'] });
  const status = async (authorization?: string) =>
    (await locked.get('/v1/models', authorization === undefined ? {} : { authorization })).status;
  expect(await status('Bearer first')).toBe(200);
  expect(await status('bearer  second')).toBe(200);
  for (const wrong of [undefined, '', 'Bearer', 'Bearer ', 'Bearer firs', 'Bearer first2', 'Basic first', 'first'])
    expect({ wrong, status: await status(wrong) }).toEqual({ wrong, status: 401 });
  expect((await locked.get('/health')).status).toBe(200);
  expect((await locked.get('/ready')).status).toBe(200);
  expect((await locked.get('/metrics')).status).toBe(401);
  expect((await locked.post(TEXT, { prompt: 'Once' })).status).toBe(401);
});

describe('bodies that are no requests', () => {
  test.each<[string, number]>([
    ['', 400],
    ['{', 400],
    ['[]', 400],
    ['null', 400],
    ['{"prompt": "\\ud800"}', 200],
    ['{"prompt": "a", "temperature": NaN}', 400],
    ['{"prompt": "a", "max_tokens": 1e400}', 400],
    ['{"prompt": "a", "seed": 1e300}', 400],
    ['{"prompt": [99999]}', 400],
    ['{"prompt": []}', 400],
    ['{"prompt": "a", "logit_bias": {"2048": 1}}', 400],
    ['{"prompt": "a", "model": "other"}', 404],
    ['{"prompt": "a", "suffix": "b"}', 400],
    ['{"prompt": "a", "best_of": 2}', 400],
  ])('%s: %d', async (body, status) => {
    const response = await server.post(TEXT, body);
    if (status === 200) await response.text();
    else await error(response);
    expect(response.status).toBe(status);
  });

  test('lists that are too deep, or have too many values, are refused', async () => {
    for (const nested of [`${'['.repeat(5000)}${']'.repeat(5000)}`, `[${'[],'.repeat(30_000)}[]]`])
      expect(await error(await server.post(TEXT, `{"prompt": ${nested}}`))).toMatchObject({ status: 400 });
  });

  test('bytes that are no UTF-8 are refused', async () => {
    const body = Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) as never;
    const response = await fetch(server.url + TEXT, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    });
    expect(await error(response)).toMatchObject({ status: 400 });
  });

  test('other routes and methods are 404', async () => {
    expect(await error(await server.get('/v2/models'))).toMatchObject({ status: 404 });
    expect(await error(await server.get(CHAT))).toMatchObject({ status: 404 });
    expect((await fetch(server.url + TEXT, { method: 'PUT' })).status).toBe(404);
  });

  /** Values in place of what a member should be. */
  const anything = fc.oneof(
    { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(-1, 0, 1e21, 2 ** 53, '', 'Once', '\u0000', [], {}, [[]], [null], null, true),
    },
  );
  const members: Record<string, fc.Arbitrary<unknown>> = {
    model: fc.constantFrom('chat', 'chat@1', '@', null),
    prompt: fc.oneof(fc.string({ unit: 'binary' }), fc.array(fc.nat(2100), { maxLength: 5 }), fc.array(fc.string())),
    messages: fc.array(
      fc.record(
        {
          role: fc.constantFrom('system', 'user', 'assistant', 'tool', 'developer', 'x', '__proto__'),
          content: fc.oneof(fc.string(), fc.constant(null), fc.array(fc.record({ type: fc.string(), text: anything }))),
          tool_calls: fc.oneof(
            anything,
            fc.array(fc.record({ id: anything, function: fc.record({ name: fc.string(), arguments: fc.string() }) })),
          ),
        },
        { requiredKeys: ['role'] },
      ),
      { maxLength: 3 },
    ),
    input: fc.oneof(
      fc.string(),
      fc.array(
        fc.record(
          {
            role: fc.string(),
            content: anything,
            type: fc.constantFrom('message', 'reasoning', 'function_call', 'function_call_output'),
          },
          { requiredKeys: [] },
        ),
      ),
    ),
    content: fc.string({ unit: 'binary' }),
    tokens: fc.array(fc.integer({ min: -2, max: 2100 })),
    temperature: fc.double({ min: -1, max: 3 }),
    top_p: fc.double({ min: 0, max: 1 }),
    top_k: fc.integer({ min: -1, max: 3000 }),
    min_p: fc.double({ min: 0, max: 1 }),
    presence_penalty: fc.double({ min: -2, max: 2 }),
    frequency_penalty: fc.double({ min: -2, max: 2 }),
    repetition_penalty: fc.double({ min: 0, max: 2 }),
    logit_bias: fc.dictionary(fc.nat(2100).map(String), fc.integer({ min: -101, max: 101 })),
    seed: fc.integer(),
    stop: fc.oneof(fc.string(), fc.array(fc.string())),
    n: fc.integer({ min: 0, max: 4 }),
    echo: fc.boolean(),
    stream: fc.boolean(),
    stream_options: fc.record({ include_usage: fc.boolean() }),
    chat_template_kwargs: fc.oneof(fc.dictionary(fc.string(), anything), fc.constant({ messages: 1 })),
    documents: fc.array(fc.dictionary(fc.string(), anything)),
    reasoning_effort: fc.string(),
    response_format: fc.record({ type: fc.constantFrom('text', 'json_object') }),
    tool_choice: fc.constantFrom('none', 'auto'),
    tools: fc.array(anything),
    top_logprobs: fc.integer({ min: 0, max: 21 }),
  };
  const needed = ['prompt', 'messages', 'input', 'content', 'tokens'];
  const others = Object.keys(members).filter((name) => !needed.includes(name));
  /** What the endpoints need and some more, a few of them nonsense. */
  const body = fc.shuffledSubarray(others, { maxLength: 5 }).chain((names) =>
    fc.record({
      ...Object.fromEntries(
        [...needed, ...names].map((name) => [
          name,
          fc.oneof(
            { weight: 19, arbitrary: members[name] as fc.Arbitrary<unknown> },
            { weight: 1, arbitrary: anything },
          ),
        ]),
      ),
      logprobs: fc.oneof(fc.boolean(), fc.nat(21), fc.constant(null)),
      max_tokens: fc.integer({ min: 0, max: 3 }),
      max_completion_tokens: fc.constant(2),
      max_output_tokens: fc.constant(2),
    }),
  );
  const paths = [TEXT, CHAT, '/v1/responses', '/tokenize', '/detokenize', '/apply-template'];

  test('random bodies never give a 5xx, nor a stream that fails', async () => {
    const seen = new Map<number, number>();
    const accepted = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), body, async (to, given) => {
        const response = await server.post(to, given);
        const text = await response.text();
        seen.set(response.status, (seen.get(response.status) ?? 0) + 1);
        if (response.status === 200) accepted.add(to);
        expect({ text, fails: response.status >= 500 || text.includes('"server_error"') }).toEqual({
          text,
          fails: false,
        });
      }),
      { numRuns: 600, seed: 5 },
    );
    // most are refused, but not all, by any endpoint
    expect([...accepted].sort()).toEqual([...paths].sort());
    expect([...seen.keys()].sort()).toEqual(expect.arrayContaining([200, 400]));
    await server.idle();
  });
});

describe('slow readers', () => {
  const open = async (of: TestServer, body: Json) => {
    const request = new Request('http://localhost/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, stream: true }),
    });
    return ((await of.server.fetch(request)).body as ReadableStream<Uint8Array>).getReader();
  };

  test('get their text at their pace; others do not wait for them', async () => {
    const before = await server.metric('mbok_generated_tokens_total');
    const reader = await open(server, endless);
    for (let i = 0; i < 5; i++) await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 200));
    // one token is computed and one event written ahead
    expect((await server.metric('mbok_generated_tokens_total')) - before).toBeLessThanOrEqual(8);
    expect((await server.ask(TEXT, { ...endless, max_tokens: 100 })).usage.completion_tokens).toBe(100);
    expect(await server.metric('mbok_requests_running')).toBe(1);
    await reader.cancel();
    await server.idle();
  });

  test('that leave before they have read anything hold nothing', async () => {
    for (let i = 0; i < 6; i++) await (await open(server, endless)).cancel();
    await server.idle();
    await until(async () => (await server.post(TEXT, { prompt: 'Once', n: 3, max_tokens: 1 })).status === 200);
  });

  test('that read nothing any more are left', async () => {
    await using strict = await TestServer.start({ models: { chat: path }, stallSeconds: 0.1 });
    for (const events of [0, 3]) {
      const reader = await open(strict, endless);
      for (let i = 0; i < events; i++) await reader.read();
      await until(() => strict.records.findLast(({ path }) => path === TEXT)?.status === 499);
      await strict.idle();
      await expect(reader.read().then(() => reader.read())).rejects.toThrow(/read nothing/);
      strict.records.length = 0;
    }
  });

  test('over a connection whose buffers are full hold back their text as well', async () => {
    await using of = await TestServer.start({ models: { chat: path }, stallSeconds: 1 });
    // probabilities of a long prompt are megabytes, which fill any buffer before a token is generated
    const prompt = Array.from({ length: 1500 }, (_, i) => 5 + ((i * 31) % 1900));
    const body = JSON.stringify({ ...endless, prompt, stream: true, echo: true, n: 16, logprobs: 20 });
    const socket = connect(Number(new URL(of.url).port), '127.0.0.1');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(
      `POST ${TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await until(() => of.records.some(({ status }) => status === 499));
    expect(await of.metric('mbok_generated_tokens_total')).toBe(0);
    await of.idle();
    socket.resume();
    await closed;
  });
});

test('many streams at once have the texts that they have alone', async () => {
  await using many = await TestServer.start({ models: { chat: path }, parallel: 8 });
  await using model = await Model.load(path);
  const texts = await Promise.all(
    Array.from({ length: 24 }, async (_, seed) => {
      const chunks = await many.chunks(TEXT, { prompt: `Once ${seed}`, max_tokens: 20, seed, temperature: 1 });
      return chunks.map(({ choices }) => choices[0].text).join('');
    }),
  );
  for (const [seed, text] of texts.entries()) {
    let alone = '';
    for await (const piece of model.generate(`Once ${seed}`, { maxTokens: 20, seed })) alone += piece;
    expect(text).toBe(alone);
  }
  expect(await many.metric('mbok_generated_tokens_total')).toBeLessThanOrEqual(24 * 20);
});

test('requests are told without their texts, unless these are asked for', async () => {
  const response = await server.post(TEXT, { prompt: 'Once upon a secret', max_tokens: 3, temperature: 0 });
  await response.text();
  await until(() => server.records.at(-1)?.path === TEXT);
  const record = server.records.at(-1);
  expect(record).toMatchObject({
    id: response.headers.get('x-request-id'),
    method: 'POST',
    status: 200,
    model: 'chat',
    tokens: 3,
    reasons: ['max-tokens'],
    firstTokenSeconds: expect.any(Number),
  });
  expect(JSON.stringify(record)).not.toContain('secret');
  await using telling = await TestServer.start({ models: { chat: path }, logTexts: true });
  const { choices } = await telling.ask(TEXT, { prompt: 'Once upon a secret', max_tokens: 3, temperature: 0 });
  expect(telling.records.at(-1)).toMatchObject({
    prompts: ['<|endoftext|>Once upon a secret'],
    answers: [choices[0].text],
  });
});

test('a server that closes lets running texts end, within the grace', async () => {
  for (const graceSeconds of [30, 0]) {
    const closing = await TestServer.start({ models: { chat: path } });
    const response = await closing.post(TEXT, { ...endless, max_tokens: graceSeconds > 0 ? 300 : 2000, stream: true });
    await until(async () => (await closing.metric('mbok_generated_tokens_total')) > 5);
    const closed = closing.server.close({ graceSeconds });
    const request = (path: string, init: RequestInit = {}) =>
      closing.server.fetch(new Request(`http://localhost${path}`, init)).then(({ status }) => status);
    expect(await request('/ready')).toBe(503);
    expect(await request('/health')).toBe(200);
    const headers = { 'content-type': 'application/json' };
    expect(await request(TEXT, { method: 'POST', body: '{}', headers })).toBe(503);
    const text = await response.text();
    if (graceSeconds > 0) expect(text).toMatch(/"finish_reason":"length".*\n\ndata: \[DONE\]\n\n$/);
    else expect(text).toMatch(/"code":"shutting_down"\}\}\n\n$/);
    await closed;
    await expect(closing.get('/health')).rejects.toThrow();
    await expect(closing.server.listen({ port: 0 })).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  }
});

test('an address that is taken is told', async () => {
  const port = Number(new URL(server.url).port);
  await using other = await TestServer.start({ models: { chat: path } });
  await expect(other.server.listen({ port })).rejects.toMatchObject({
    code: 'MBOK_IO',
    message: expect.stringContaining('another program listens there'),
  });
});
