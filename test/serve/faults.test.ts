/** Faults that other servers had, one after the other; the numbers are those of the survey of servers. */

import { Sampler } from '../../lib/generate/sampler';
import { Model } from '../../lib/model';
import { temporaryFolder } from '../helpers/folders';
import { parseEvents, TestServer, until, writeChatModel } from '../helpers/serve';

const CHAT = '/v1/chat/completions';
const TEXT = '/v1/completions';
const ASK = [{ role: 'user', content: 'Tell me of Lily.' }];
const folder = temporaryFolder();
let path: string;
let model: Model;
/** With a context so long that its prompt and its texts take seconds. */
let server: TestServer;
/** Tokens of a prompt that takes a while. */
const long = Array.from({ length: 3500 }, (_, i) => 5 + ((i * 31) % 1900));
const endless = { max_tokens: 3000, logit_bias: { 0: -100 }, temperature: 1, seed: 1 };

beforeAll(async () => {
  path = writeChatModel(folder, 'chat', 4096);
  model = await Model.load(path);
  server = await TestServer.start({ models: { chat: path }, parallel: 2, origins: ['https://page.example'] });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  model.dispose();
});
afterEach(() => jest.restoreAllMocks());

describe('1: a client that leaves ends its text', () => {
  const generated = () => server.metric('mbok_generated_tokens_total');
  /** Nothing runs any more, and nothing comes after. */
  async function expectStopped() {
    await server.idle();
    const before = await generated();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await generated()).toBe(before);
  }

  test.each([true, false])('while it is generated, in a stream: %p', async (stream) => {
    const controller = new AbortController();
    const before = await generated();
    const asked = server.post(TEXT, { prompt: 'Once', ...endless, stream, n: 2 }, { signal: controller.signal });
    asked.catch(() => undefined);
    await until(async () => (await generated()) > before + 20);
    controller.abort();
    await expectStopped();
    expect((await generated()) - before).toBeLessThan(6000);
    const record = server.records.findLast(({ path }) => path === TEXT);
    expect(record).toMatchObject({ status: 499, reasons: [], tokens: (await generated()) - before });
  });

  test('within its prompt', async () => {
    const controller = new AbortController();
    const before = await generated();
    const asked = server.post(TEXT, { prompt: long, ...endless, stream: true }, { signal: controller.signal });
    await asked;
    await until(async () => (await server.metric('mbok_requests_running')) > 0);
    controller.abort();
    await expectStopped();
    expect(await generated()).toBe(before);
  });

  test('while it waits', async () => {
    const controllers = [0, 1, 2].map(() => new AbortController());
    for (const { signal } of controllers)
      void server.post(TEXT, { prompt: 'Once', ...endless }, { signal }).catch(() => 0);
    await until(async () => (await server.metric('mbok_requests_waiting')) === 1);
    controllers[2]?.abort();
    await until(async () => (await server.metric('mbok_requests_waiting')) === 0);
    expect(await server.metric('mbok_requests_running')).toBe(2);
    for (const controller of controllers) controller.abort();
    await expectStopped();
  });
});

test('2: a preflight allows the headers that clients send, for the pages that may call', async () => {
  const headers = 'authorization,content-type,x-stainless-lang,x-stainless-retry-count,openai-beta';
  const preflight = (origin: string) =>
    fetch(server.url + CHAT, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': headers },
    });
  const allowed = await preflight('https://page.example');
  expect(allowed.status).toBe(204);
  expect(allowed.headers.get('access-control-allow-origin')).toBe('https://page.example');
  expect(allowed.headers.get('access-control-allow-headers')).toBe(headers);
  expect((await preflight('https://other.example')).headers.get('access-control-allow-origin')).toBeNull();
  // errors can be read by the page as well
  const failed = await server.post(CHAT, {}, { headers: { origin: 'https://page.example' } });
  expect([failed.status, failed.headers.get('access-control-allow-origin')]).toEqual([400, 'https://page.example']);
  await using closed = await TestServer.start({ models: { chat: path } });
  const none = await fetch(closed.url + CHAT, { method: 'OPTIONS', headers: { origin: 'https://page.example' } });
  expect(none.headers.get('access-control-allow-origin')).toBeNull();
});

test.each([
  ['length', { max_tokens: 5 }],
  ['stop', { stop: ' ', max_tokens: 50 }],
  ['length', { max_tokens: 5, n: 3 }],
  ['stop', { logit_bias: { 0: 100 } }],
])('3: a stream ends with a finish_reason for every text and [DONE]: %s, %j', async (reason, more) => {
  for (const [path, body] of [
    [CHAT, { messages: ASK }],
    [TEXT, { prompt: 'Once upon a time' }],
  ] as const) {
    const chunks = await server.chunks(path, { ...body, ...more });
    const reasons: string[][] = [];
    for (const { index, finish_reason: told } of chunks.flatMap(({ choices }) => choices)) {
      reasons[index] ??= [];
      if (told !== null) reasons[index]?.push(told);
    }
    expect(reasons).toEqual(Array.from({ length: 'n' in more ? 3 : 1 }, () => [reason]));
  }
});

test('4: no part of a stop string is sent, and nothing before it is lost', async () => {
  const body = { prompt: 'Once upon a time', temperature: 0, max_tokens: 30 };
  const whole: string = (await server.ask(TEXT, body)).choices[0].text;
  // beginnings within tokens, at their ends, and over several of them
  for (let start = 3; start < whole.length - 12; start += 7) {
    const stop = whole.slice(start, start + 3 + (start % 8));
    const expected = whole.slice(0, whole.indexOf(stop));
    const others = [`${stop}never`, 'nowhere'];
    const chunks = await server.chunks(TEXT, { ...body, stop: [...others, stop] });
    expect({ stop, text: chunks.map(({ choices }) => choices[0].text).join('') }).toEqual({ stop, text: expected });
    expect(chunks.at(-1).choices[0].finish_reason).toBe('stop');
  }
});

describe('5: tool calls', () => {
  const tools = [{ type: 'function', function: { name: 'clock', parameters: {} } }];
  test.each([true, false])(
    'are refused as long as answers with them cannot be told apart, in a stream: %p',
    async (stream) => {
      const response = await server.post(CHAT, { messages: ASK, tools, stream });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param: 'tools', code: 'unsupported_parameter' } });
    },
  );

  test('are no matter where none may be made', async () => {
    await server.ask(CHAT, { messages: ASK, tools, tool_choice: 'none', max_tokens: 2 });
    await server.ask(CHAT, { messages: ASK, tools: [], max_tokens: 2 });
  });
});

test('6: usage is sent where it is asked for, with choices: [] and its details', async () => {
  for (const [path, body] of [
    [CHAT, { messages: ASK, max_tokens: 3 }],
    [TEXT, { prompt: 'Once', max_tokens: 3 }],
  ] as const) {
    for (const options of [{}, { stream_options: null }, { stream_options: { include_usage: false } }]) {
      for (const chunk of await server.chunks(path, { ...body, ...options })) {
        expect(chunk).not.toHaveProperty('usage');
        expect(chunk.choices).toHaveLength(1);
      }
    }
    const chunks = await server.chunks(path, { ...body, stream_options: { include_usage: true } });
    const details = { prompt_tokens_details: { cached_tokens: 0 }, completion_tokens_details: { reasoning_tokens: 0 } };
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 3, ...details } });
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
  }
  const { usage } = await server.ask('/v1/responses', { input: 'Hi', max_output_tokens: 2 });
  expect(usage).toMatchObject({
    input_tokens_details: { cached_tokens: 0 },
    output_tokens_details: { reasoning_tokens: 0 },
  });
});

test('7: content that is null, absent or in parts, and null ids, are what they mean', async () => {
  const prompt = async (messages: object[]) => (await server.ask('/apply-template', { messages })).prompt;
  expect(
    await prompt([
      {
        role: 'developer',
        content: [
          { type: 'text', text: 'Be ' },
          { type: 'text', text: 'kind.' },
        ],
        name: null,
      },
      { role: 'user', content: 'Hi', tool_calls: null },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: null, type: 'function', function: { name: 'clock', arguments: '{}' } }],
      },
      { role: 'tool', content: 'noon', tool_call_id: null },
      { role: 'assistant', refusal: null },
    ]),
  ).toBe('<|endoftext|>system: Be kind.\nuser: Hi\nassistant: \ntool: noon\nassistant: \nassistant:');
  const image = { role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] };
  const response = await server.post(CHAT, { messages: [image] });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { param: 'messages[0].content' } });
});

test('7: a template gets the arguments of a call as an object', async () => {
  const source =
    '{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments.city }}{% endfor %}{% endfor %}';
  await using other = await TestServer.start({ models: { other: writeChatModel(folder, 'calls', 512, source) } });
  const call = { id: 'a', type: 'function', function: { name: 'weather', arguments: '{"city": "Rome"}' } };
  const messages = [{ role: 'assistant', content: null, tool_calls: [call] }];
  expect(await other.ask('/apply-template', { messages })).toEqual({ prompt: 'Rome' });
});

test('8: characters cut over tokens are sent whole', async () => {
  const text = 'é 日本 🙂🙃 ünd';
  const ids = model.tokenizer.encode(text, { addSpecialTokens: false });
  expect(ids.filter((id) => model.tokenizer.decode([id]).includes('\ufffd')).length).toBeGreaterThan(6);
  const script = () => {
    const rest = [...ids, 0];
    jest.spyOn(Sampler.prototype, 'sample').mockImplementation(() => rest.shift() as number);
  };
  script();
  const events = await server.events(CHAT, { messages: ASK, logprobs: true });
  const chunks = events.slice(0, -1).map(({ data }) => JSON.parse(data));
  const pieces = chunks.map(({ choices }) => choices[0].delta.content ?? '');
  expect(pieces.join('')).toBe(text);
  for (const piece of pieces) expect(piece).not.toContain('\ufffd');
  // bytes of a part of a character are not known
  const scores = chunks.flatMap(({ choices }) => choices[0].logprobs?.content ?? []);
  expect(scores).toHaveLength(ids.length + 1);
  expect(scores.filter(({ bytes }) => bytes === null).length).toBeGreaterThan(6);
  script();
  expect((await server.ask(TEXT, { prompt: 'Once', max_tokens: 100 })).choices[0].text).toBe(text);
});

test.each([
  { type: 'json_object' },
  { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } },
  { type: 'json_schema' },
  { type: 'grammar' },
])('9: a format that cannot be kept is refused, not dropped: %j', async (format) => {
  const response = await server.post(CHAT, { messages: ASK, response_format: format });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { param: 'response_format' } });
  await server.ask(CHAT, { messages: ASK, response_format: { type: 'text' }, max_tokens: 1 });
});

test('10: a stream says at once that it lives, and again while its prompt is computed', async () => {
  await using impatient = await TestServer.start({ models: { chat: path }, keepAliveSeconds: 0.02 });
  const body = { prompt: long, max_tokens: 2, temperature: 0, stream: true };
  const before = performance.now();
  const response = await impatient.post(TEXT, body);
  const head = performance.now() - before;
  const text = await response.text();
  expect(head).toBeLessThan((performance.now() - before) / 2);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const [first = ''] = text.split('data: ');
  expect(first.match(/^: keep-alive$/gm)?.length).toBeGreaterThan(1);
  expect(parseEvents(text).at(-1)?.data).toBe('[DONE]');
  // the first event of a chat does not wait for its prompt
  const chat = await impatient.post(CHAT, {
    messages: [{ role: 'user', content: 'Lily saw. '.repeat(900) }],
    stream: true,
    max_tokens: 1,
  });
  expect(await chat.text()).toMatch(/^data: .*"role":"assistant".*\n\n: keep-alive/);
});

test('11: turns reuse the prompt before, also where the template drops old thoughts', async () => {
  const source =
    "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content.split('</think>')[-1] + '\\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ 'assistant: <think>' }}{% endif %}";
  await using other = await TestServer.start({ models: { other: writeChatModel(folder, 'thinks', 2048, source) } });
  const messages: object[] = [{ role: 'system', content: 'Lily and Tom like to play in the park. '.repeat(20) }];
  const body = { temperature: 0, max_tokens: 20 };
  let known = 0;
  for (const question of ['Who?', 'And then?', 'Where?']) {
    messages.push({ role: 'user', content: question });
    const { usage, choices } = await other.ask(CHAT, { ...body, messages });
    const { prompt_tokens_details: details, prompt_tokens: length } = usage;
    if (known > 0) expect(details.cached_tokens).toBeGreaterThanOrEqual(Math.floor(known / 64) * 64 - 64);
    known = length;
    messages.push({ role: 'assistant', content: `I think.</think>${choices[0].message.content}` });
  }
  expect(known).toBeGreaterThan(200);
});

describe('12: other sites cannot use a server on this machine', () => {
  const ask = async (host: string, to: TestServer = server) => {
    const request = new Request(`http://${host}/v1/models`, { headers: { host } });
    return (await to.server.fetch(request)).status;
  };

  test.each([
    ['localhost:8080', 200],
    ['127.0.0.1', 200],
    ['[::1]:8080', 200],
    ['10.0.0.7:80', 200],
    ['chat.localhost', 200],
    ['rebound.example', 403],
    ['localhost.rebound.example:8080', 403],
    ['127.0.0.1.rebound.example', 403],
    ['xn--localhost-.example', 403],
  ])('whose pages call it %s: %d', async (host, status) => {
    expect(await ask(host)).toBe(status);
  });

  test('unless the name is allowed', async () => {
    await using named = await TestServer.start({ models: { chat: path }, hosts: ['models.example'] });
    expect([await ask('models.example:443', named), await ask('other.example', named)]).toEqual([200, 403]);
    await using open = await TestServer.start({ models: { chat: path }, hosts: ['*'] });
    expect(await ask('other.example', open)).toBe(200);
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/json', ''])(
    'by bodies that need no preflight: %p',
    async (type) => {
      const before = await server.metric('mbok_prompt_tokens_total');
      const body = JSON.stringify({ prompt: 'Once', max_tokens: 2 });
      const response = await server.post(TEXT, body, { headers: { 'content-type': type } });
      expect(response.status).toBe(415);
      expect(await server.metric('mbok_prompt_tokens_total')).toBe(before);
    },
  );
});
