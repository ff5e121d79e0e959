/** Conversations as formatted by the model's template, and the tokens of the assistant. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChatTemplate, encodeChat, endTokens } from '../../lib/text/chat';
import type { ChatMessage } from '../../lib/text/messages';
import { Tokenizer } from '../../lib/text/tokenizer';
import { GOLDEN } from '../helpers/folders';
import { byteLevelMetadata, pieceMetadata, tokenizerFiles } from '../helpers/gguf_tokenizers';

const golden = JSON.parse(readFileSync(join(GOLDEN, 'chat_templates.json'), 'utf8')) as {
  templates: Record<string, string>;
  conversations: ChatMessage[][];
  cases: { template: string; messages: number; addGenerationPrompt: boolean; text: string | null }[];
};
const variables = { bos_token: '<s>', eos_token: '</s>' };
const templateNamed = (name: string) => new ChatTemplate(golden.templates[name] as string, name, variables);
const conversation = (index: number) => golden.conversations[index] as ChatMessage[];
const files = (contents: Record<string, unknown>) =>
  new Map(
    Object.entries(contents).map(([name, content]) => [
      name,
      Buffer.from(typeof content === 'string' ? content : JSON.stringify(content)),
    ]),
  );

/** Creates a tokenizer of the fixtures: byte-level with ChatML's tokens, or SentencePiece's with LLaMA 2's. */
function tokenizerOf(kind: 'byte_level' | 'sentence_piece'): Tokenizer {
  const { tokenizer, config, generation } = tokenizerFiles(
    kind === 'byte_level' ? byteLevelMetadata({ pre: 'smollm', eos_token_id: 3 }) : pieceMetadata(),
  );
  return Tokenizer.fromFiles(
    files({ 'tokenizer.json': tokenizer, 'tokenizer_config.json': config, 'generation_config.json': generation }),
    kind,
  );
}

describe('rendering', () => {
  test.each(golden.cases)('$template, conversation $messages, prompt $addGenerationPrompt', (row) => {
    const apply = () =>
      templateNamed(row.template).apply(conversation(row.messages), { addGenerationPrompt: row.addGenerationPrompt });
    if (row.text !== null) expect(apply()).toBe(row.text);
    else {
      expect(apply).toThrow(
        expect.objectContaining({
          code: 'MBOK_INVALID_ARGUMENT',
          message: expect.stringMatching(/the chat template of 'gemma' failed: System role not supported/),
        }),
      );
    }
  });

  test.each<[string, Record<string, unknown>, string | undefined]>([
    ['a string', { 'tokenizer_config.json': { chat_template: 'a{{ bos_token }}', bos_token: '<s>' } }, 'a<s>'],
    [
      'a token with settings',
      { 'tokenizer_config.json': { chat_template: '{{ eos_token }}', eos_token: { content: '<e>' } } },
      '<e>',
    ],
    [
      'the default of several',
      {
        'tokenizer_config.json': {
          chat_template: [
            { name: 'tools', template: 't' },
            { name: 'default', template: 'd' },
          ],
        },
      },
      'd',
    ],
    ['the first of several', { 'tokenizer_config.json': { chat_template: [{ name: 'rag', template: 'r' }] } }, 'r'],
    [
      'a file of its own',
      {
        'tokenizer_config.json': { chat_template: 'old', bos_token: '<s>' },
        'chat_template.jinja': 'new{{ bos_token }}',
      },
      'new<s>',
    ],
    ['none', { 'tokenizer_config.json': {} }, undefined],
    ['no files', {}, undefined],
  ])('the template is %s', (_, contents, text) => {
    expect(ChatTemplate.fromFiles(files(contents), 'model')?.apply(conversation(0))).toBe(text);
  });

  test('templates of the same text and tokens have one fingerprint', () => {
    expect(templateNamed('gemma').fingerprint).toBe(templateNamed('gemma').fingerprint);
    expect(templateNamed('gemma').fingerprint).not.toBe(templateNamed('llama2').fingerprint);
    expect(new ChatTemplate('a', '').fingerprint).not.toBe(new ChatTemplate('a', '', variables).fingerprint);
  });

  test.each<[string, () => unknown, string, RegExp]>([
    [
      'an empty conversation',
      () => templateNamed('chatml').apply([]),
      'MBOK_INVALID_ARGUMENT',
      /'messages'.*at least one/,
    ],
    ['no conversation', () => templateNamed('chatml').apply('Hi' as never), 'MBOK_INVALID_ARGUMENT', /got "Hi"/],
    [
      'a message without content',
      () => templateNamed('chatml').apply([{ role: 'user', content: 'a' }, { role: 'user' } as never]),
      'MBOK_INVALID_ARGUMENT',
      /'messages\[1\]' must have a 'role' and a 'content'.*got \{"role":"user"\}/,
    ],
    [
      'roles out of order',
      () => templateNamed('llama2').apply([{ role: 'assistant', content: 'a' }]),
      'MBOK_INVALID_ARGUMENT',
      /'llama2' failed: Conversation roles must alternate/,
    ],
    [
      'a template that calls what is not there',
      () => new ChatTemplate('{{ nothing() }}', 'm').apply(conversation(0)),
      'MBOK_INVALID_ARGUMENT',
      /the chat template of 'm' failed/,
    ],
    [
      'a template that is none',
      () => new ChatTemplate('{% for %}', 'm').apply(conversation(0)),
      'MBOK_FORMAT',
      /'m' has a chat template that cannot be parsed/,
    ],
    [
      'a template of numbers',
      () => ChatTemplate.fromFiles(files({ 'tokenizer_config.json': { chat_template: 7 } }), 'm'),
      'MBOK_FORMAT',
      /'chat_template' must be a string or a list of named templates, got 7/,
    ],
    [
      'a configuration that is no JSON',
      () => ChatTemplate.fromFiles(files({ 'tokenizer_config.json': '{' }), 'm'),
      'MBOK_FORMAT',
      /tokenizer_config\.json' is not valid JSON/,
    ],
  ])('%s is refused', (_, call, code, message) => {
    expect(call).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});

describe("the assistant's tokens", () => {
  const CHAT: readonly ChatMessage[] = [
    { role: 'user', content: 'Who are you?' },
    { role: 'assistant', content: 'A little model.' },
    { role: 'user', content: 'Sing!' },
    { role: 'assistant', content: 'La la la\n' },
  ];
  /** Decodes the runs of marked tokens. */
  function said(kind: 'byte_level' | 'sentence_piece', template: string | ChatTemplate, messages = CHAT): string[] {
    const tokenizer = tokenizerOf(kind);
    const chosen = typeof template === 'string' ? templateNamed(template) : template;
    const { ids, assistant } = encodeChat(tokenizer, chosen, messages);
    expect(assistant.length).toBe(ids.length);
    const runs: number[][] = [];
    for (const [i, id] of ids.entries()) {
      if (assistant[i] === 1)
        (assistant[i - 1] === 1 ? (runs.at(-1) as number[]) : (runs[runs.push([]) - 1] as number[])).push(id);
    }
    return runs.map((run) => tokenizer.decode(run));
  }

  test('include the content and its end token, not the line break after it', () => {
    expect(said('byte_level', 'chatml')).toEqual(['A little model.<|im_end|>', 'La la la\n<|im_end|>']);
  });

  test('are correct if spaces belong to words', () => {
    expect(said('sentence_piece', 'llama2')).toEqual(['A little model. </s>', 'La la la </s>']);
  });

  test('include all that the template adds if there is no end token', () => {
    expect(said('byte_level', 'blocks', CHAT.slice(0, 2))).toEqual(['<a>A little model.</s>\n']);
  });

  test('are empty without the assistant, and start at 0 if it begins', () => {
    expect(said('byte_level', 'chatml', CHAT.slice(0, 1))).toEqual([]);
    expect(said('byte_level', 'blocks', CHAT.slice(1, 2))).toEqual(['<a>A little model.</s>\n']);
  });

  test('are those of the whole text, without a second begin-of-text token', () => {
    const tokenizer = tokenizerOf('sentence_piece');
    const { ids } = encodeChat(tokenizer, templateNamed('llama2'), CHAT);
    expect([...ids]).toEqual(tokenizer.encode(templateNamed('llama2').apply(CHAT), { addSpecialTokens: false }));
    expect([...ids].filter((id) => id === 1)).toHaveLength(2);
    expect(ids[0]).toBe(1);
  });

  test.each([
    ['content twice', '{{ messages[1].content }}{% for m in messages %}{{ m.content }}{% endfor %}', /one place/],
    [
      'content in another order',
      '{% for m in messages | reverse %}{{ m.content }}{% endfor %}',
      /overlaps with message 0/,
    ],
  ])('a template that writes %s cannot tell', (_, source, why) => {
    const hiding = new ChatTemplate(source, 'm');
    expect(() => encodeChat(tokenizerOf('byte_level'), hiding, CHAT)).toThrow(
      expect.objectContaining({ code: 'MBOK_UNSUPPORTED', message: expect.stringMatching(why) }),
    );
  });

  describe('with a template that rewrites earlier messages', () => {
    /** A template like Qwen 3's: it writes thoughts only for messages after the last question. */
    const THINKING = `{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\n' }}
{%- if m.role == 'assistant' and loop.index0 > ns.last %}
{{- '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}
{%- endif %}
{{- m.content or '' }}
{%- for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + '</call>' }}{% endfor %}
{{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`;
    const text = (messages: readonly ChatMessage[], source = THINKING) =>
      said('byte_level', new ChatTemplate(source, 'm'), messages);
    const ask = { role: 'user', content: 'Who?' };
    const answer = { role: 'assistant', content: 'I.', reasoning_content: 'Hm.' };

    test('several answers', () => {
      expect(text([ask, answer, ask, answer])).toEqual(['I.<|im_end|>', '<think>\nHm.\n</think>\n\nI.<|im_end|>']);
    });

    test('calls of tools and their results', () => {
      const tool_calls = [{ function: { name: 'clock', arguments: {} } }];
      const call = { role: 'assistant', content: null, tool_calls, reasoning_content: 'The time?' };
      const result = { role: 'tool', content: '7' };
      const turn = [ask, call, result, answer];
      expect(text([...turn, ...turn])).toEqual([
        '<call>clock</call><|im_end|>',
        'I.<|im_end|>',
        '<think>\nThe time?\n</think>\n\n<call>clock</call><|im_end|>',
        '<think>\nHm.\n</think>\n\nI.<|im_end|>',
      ]);
    });

    test('a number of the messages at the beginning', () => {
      const counted = `{{ messages | length }}${THINKING}`;
      expect(text([ask, answer, ask, { ...answer, reasoning_content: null }], counted)).toEqual([
        'I.<|im_end|>',
        '<think>\n\n</think>\n\nI.<|im_end|>',
      ]);
    });

    test('an answer that looks like the question', () => {
      const same = { role: 'assistant', content: 'Who?' };
      expect(text([ask, same, ask, same])).toEqual(['Who?<|im_end|>', '<think>\n\n</think>\n\nWho?<|im_end|>']);
    });

    test('an answer of nothing, and one that the template does not write', () => {
      expect(text([ask, { role: 'assistant', content: '' }, ask, answer])[0]).toBe('<|im_end|>');
      const dropping = "{% for m in messages if m.role != 'assistant' or loop.last %}{{ m.content }}{% endfor %}";
      expect(text([ask, answer, ask], dropping.replace(' or loop.last', ''))).toEqual([]);
    });
  });

  test('are the contents of generation blocks', () => {
    const source =
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}<|im_end|>{% else %}" +
      '<|im_start|>{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}{% endif %}{% endfor %}';
    expect(said('byte_level', new ChatTemplate(source, 'm'), CHAT)).toEqual([
      'A little model.<|im_end|>\n',
      'La la la\n<|im_end|>\n',
    ]);
  });

  test('exclude generation blocks in macros, whose text may stand anywhere', () => {
    const source =
      '{% macro say(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}' +
      "{% for m in messages %}<|im_start|>{% if m.role == 'user' %}{{ m.content }}{% else %}{{ say(m) }}{% endif %}<|im_end|>{% endfor %}" +
      '{% if add_generation_prompt %}<|im_start|>{% endif %}';
    expect(said('byte_level', new ChatTemplate(source, 'm'), CHAT)).toEqual([
      'A little model.<|im_end|>',
      'La la la\n<|im_end|>',
    ]);
  });

  test.each<['byte_level' | 'sentence_piece', string, string[]]>([
    ['byte_level', 'chatml', ['<|im_end|>', '<|endoftext|>']],
    ['sentence_piece', 'llama2', ['</s>']],
    ['byte_level', 'gemma', ['<|im_end|>', '<|endoftext|>']],
  ])('%s and %s: answers end with %j', (kind, template, ends) => {
    const tokenizer = tokenizerOf(kind);
    expect(endTokens(tokenizer, templateNamed(template)).map((id) => tokenizer.decode([id]))).toEqual(ends);
  });

  test('an end token may be known only from the template', () => {
    const other = new ChatTemplate("{% for m in messages %}{{ m.content + '<|begin|>' }}{% endfor %}", 'm');
    expect(endTokens(tokenizerOf('byte_level'), other)).toEqual([3, 1, 0]);
    const strict = new ChatTemplate("{{ raise_exception('no') }}", 'm');
    expect(endTokens(tokenizerOf('byte_level'), strict)).toEqual([3, 1]);
  });
});
