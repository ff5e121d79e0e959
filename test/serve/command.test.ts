/** The command `mbok serve` as a process: it starts, logs, stops by signals, and survives being killed. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { built } from '../helpers/builds';
import { commandEnvironment, MAIN, runMbok } from '../helpers/command_line';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { parseEvents, until, writeChatModel } from '../helpers/serve';

const folder = temporaryFolder();
const children: ChildProcess[] = [];
const endless = { prompt: 'Once upon a secret', max_tokens: 400, logit_bias: { 0: -100 }, stream: true };
let model: string;
beforeAll(() => {
  built('dist');
  model = writeChatModel(folder, 'chat', 4096);
});
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
  stderr(): string;
  ended: Promise<number | NodeJS.Signals | null>;
}

async function serve(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Served> {
  const env = { ...commandEnvironment(folder), ...environment };
  const child = spawn(process.execPath, [MAIN, 'serve', ...args, '--port', '0'], { cwd: folder, env });
  children.push(child);
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  await until(() => stderr.includes(' at http://') || child.exitCode !== null);
  const [url] = /http:\/\/\S+/.exec(stderr) ?? [''];
  return { child, url, stderr: () => stderr, ended };
}

async function complete({ url }: Served, body: object, headers: Record<string, string> = {}): Promise<Response> {
  const init = {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  };
  return await fetch(`${url}/v1/completions`, init);
}

test('SIGTERM lets running streams end; the process ends with 0, and its log has no texts', async () => {
  const served = await serve([model]);
  const response = await complete(served, endless);
  served.child.kill('SIGTERM');
  await until(() => served.stderr().includes('no others are taken'));
  const refused = complete(served, endless).then(({ status }) => status);
  const events = parseEvents(await response.text());
  expect(events.at(-1)?.data).toBe('[DONE]');
  expect(JSON.parse(events.at(-2)?.data as string).choices[0].finish_reason).toBe('length');
  // a new connection finds nobody, one that is kept alive is told
  expect([503, 'nobody']).toContain(await refused.catch(() => 'nobody'));
  expect(await served.ended).toBe(0);
  const records = served
    .stderr()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  expect(records).toContainEqual(expect.objectContaining({ path: '/v1/completions', status: 200, tokens: 400 }));
  expect(served.stderr()).not.toContain('secret');
});

test('after the grace, streams end with an error', async () => {
  const served = await serve([model, '--grace', '0']);
  const response = await complete(served, { ...endless, max_tokens: 4000 });
  served.child.kill('SIGINT');
  expect(await response.text()).toContain('shutting_down');
  expect(await served.ended).toBe(0);
});

test('a server that is killed leaves nothing behind, and the next one serves the same', async () => {
  const texts: string[] = [];
  const before = readdirSync(model);
  for (let i = 0; i < 2; i++) {
    const served = await serve([model]);
    const answer = await complete(served, { prompt: 'Once', temperature: 0, max_tokens: 10 });
    texts.push(((await answer.json()) as { choices: [{ text: string }] }).choices[0].text);
    const response = await complete(served, { ...endless, max_tokens: 4000 });
    served.child.kill('SIGKILL');
    expect(await served.ended).toBe('SIGKILL');
    await expect(response.text()).rejects.toThrow();
  }
  expect(texts[0]).toBe(texts[1]);
  expect(readdirSync(model)).toEqual(before);
});

test('names, keys and hosts come from the command line and the environment', async () => {
  const served = await serve([model, `tiny=${TINY_STORIES}`, '--allow-host', 'models.example', '--log-texts'], {
    MBOK_API_KEY: 'secret-key',
  });
  const headers = { authorization: 'Bearer secret-key' };
  expect((await complete(served, { prompt: 'Once' })).status).toBe(401);
  const answer = await complete(served, { prompt: 'Once', model: 'tiny', max_tokens: 2 }, headers);
  expect(await answer.json()).toMatchObject({ model: 'tiny' });
  const many = (await (await complete(served, { prompt: 'Once', n: 20, max_tokens: 2 }, headers)).json()) as {
    choices: [];
  };
  expect(many.choices).toHaveLength(20);
  const { data } = (await (await fetch(`${served.url}/v1/models`, { headers })).json()) as { data: { id: string }[] };
  expect(data.map(({ id }) => id)).toEqual(['chat', 'tiny']);
  await until(() => served.stderr().includes('"prompts":["<|endoftext|>Once"]'));
  expect(served.stderr()).not.toContain('secret-key');
  expect(served.stderr()).not.toContain('Warning');
  served.child.kill('SIGTERM');
  expect(await served.ended).toBe(0);
});

test.each<[string, string[], number, RegExp]>([
  ['two models of one name', [TINY_STORIES, TINY_STORIES], 2, /two models are called 'tiny-stories'/],
  ['no model', [], 2, /expected MODEL/],
  ['a model that there is not', ['nowhere'], 1, /nowhere.*MBOK_IO/s],
  ['a size that is none', [TINY_STORIES, '--memory', 'much'], 2, /--memory/],
  ['too little memory', [TINY_STORIES, '--memory', '1MB'], 1, /MBOK_OUT_OF_MEMORY/],
  ['an address of another machine', [TINY_STORIES, '--host', '192.0.2.1'], 1, /no such address.*MBOK_IO/],
])('%s: exit code and message', (_, args, status, message) => {
  const ended = runMbok(folder, ['serve', ...args]);
  expect({ status: ended.status, stderr: ended.stderr }).toEqual({ status, stderr: expect.stringMatching(message) });
});
