/** `mbok chat`, end to end in a shell. Needs the compiled package (`npm run build:ts`). */

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { copyTinyStories, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const MAIN = join(__dirname, '../../dist/cli/main.js');
const TEMPLATE =
  "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}" +
  "{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

const folder = temporaryFolder();
let chatModel: string;
beforeAll(() => {
  chatModel = join(folder, 'chat');
  mkdirSync(chatModel);
  copyTinyStories(chatModel, {
    tokenizer: { chat_template: TEMPLATE },
    generation: { do_sample: true, temperature: 0.5 },
  });
});

function chat(input: string, ...args: string[]) {
  const run = spawnSync(process.execPath, [MAIN, 'chat', ...args], { encoding: 'utf8', input });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

interface Chat {
  readonly messages: { role: string; content: string }[];
  readonly answers: { text: string; reason: string; seed: number; cacheBytes: number; promptTokens: number }[];
}

function chatJson(input: string, ...args: string[]): Chat {
  const { status, stdout, stderr } = chat(input, chatModel, '--json', ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as Chat;
}

test('every line is a message, and answers depend on earlier ones', () => {
  const { messages, answers } = chatJson(
    'Hello.\n\nGo on!\n',
    '--system',
    'Be kind.',
    '--max-tokens',
    '8',
    '--seed',
    '3',
  );
  expect(messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user', 'assistant']);
  expect(messages[1]?.content).toBe('Hello.');
  expect(answers.map(({ text }) => text)).toEqual([messages[2]?.content, messages[4]?.content]);
  expect(answers[1]?.promptTokens).toBeGreaterThan((answers[0]?.promptTokens ?? 0) + 8);
  expect(answers[0]).toMatchObject({ seed: 3, cacheBytes: expect.any(Number) });
});

test('without --json stdout contains only the answers', () => {
  const args = ['--max-tokens', '8', '--temperature', '0'];
  const { answers } = chatJson('Hello.\nGo on!', ...args);
  const { status, stdout, stderr } = chat('Hello.\nGo on!', chatModel, ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toBe(answers.map(({ text }) => `${text}\n`).join(''));
});

test('a conversation that outgrows the context continues without its oldest messages', () => {
  const long = 'One day a girl went to the park. '.repeat(12).trim();
  const args = [chatModel, '--json', '--max-tokens', '40', '--temperature', '0', '--system', 'Be kind.'];
  const { status, stdout, stderr } = chat(`${`${long}\n`.repeat(5)}`, ...args);
  expect(status).toBe(0);
  expect(stderr).toMatch(/outgrows the context of 512 tokens: 2 messages left out/);
  const { answers } = JSON.parse(stdout) as Chat;
  expect(answers).toHaveLength(5);
  for (const { promptTokens } of answers) expect(promptTokens).toBeLessThanOrEqual(512 - 40);
});

test.each<[string, string[], string, number, RegExp]>([
  ['a model without a template', [TINY_STORIES], 'Hi\n', 1, /no chat template.*\(MBOK_UNSUPPORTED\)/],
  ['a message longer than the context', [], `${'a b '.repeat(900)}\n`, 1, /more than the model's context of 512/],
  ['no JSON', ['--chat-template-kwargs', '{'], '', 2, /--chat-template-kwargs is not valid JSON/],
  ['no model', ['--seed', 'x'], '', 2, /--seed must be a whole number/],
])('%s is reported', (_, args, input, code, message) => {
  const operands = args[0]?.startsWith('/') ? args : [chatModel, ...args];
  const { status, stdout, stderr } = chat(input, ...operands);
  expect({ status, stdout }).toEqual({ status: code, stdout: '' });
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/\n\s+at /);
});

test.each<[string, string[], string]>([
  ['it answers', [], ''],
  ['it waits for the next message', ['--max-tokens', '1'], '\n'],
])('Ctrl-C ends it with code 130 and no stack, while %s', async (_, args, sign) => {
  const child = spawn(process.execPath, [MAIN, 'chat', chatModel, '--stop', 'never', ...args]);
  let stderr = '';
  child.stdout.on('data', function interrupt(chunk) {
    if (!String(chunk).includes(sign)) return;
    child.stdout.off('data', interrupt);
    child.kill('SIGINT');
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdin.write('Tell me a story.\n');
  const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
  expect({ status, stderr }).toEqual({ status: 130, stderr: 'mbok: interrupted\n' });
});
