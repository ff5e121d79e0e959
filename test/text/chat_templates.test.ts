/** Chat templates of many kinds, against transformers and Jinja2. */

import { readFileSync } from 'node:fs';
import { ChatTemplate, type TemplateOptions } from '../../lib/text/chat';
import { JinjaTemplate } from '../../lib/text/jinja/template';
import { describeWithShared, sharedPath } from '../helpers/shared';

interface Failure {
  type: string;
  message: string;
  raised_by_template?: boolean;
}

interface Golden {
  now: string;
  special_tokens: Record<string, string>;
  templates: Record<string, string>;
  cases: {
    template: string;
    name: string;
    messages: [];
    tools?: [];
    documents?: [];
    kwargs: Record<string, unknown>;
    expected?: string;
    error?: Failure;
    plain_expected?: string;
    plain_error?: Failure;
    generation_spans?: [number, number][];
  }[];
  expressions: { template: string; payload?: unknown; expected?: string; error?: Failure }[];
}

const GOLDEN = 'golden3/chat_templates.json';

describeWithShared('chat templates', [GOLDEN], () => {
  const golden = JSON.parse(readFileSync(sharedPath(GOLDEN), 'utf8')) as Golden;
  beforeAll(() => {
    jest.useFakeTimers({ now: new Date(golden.now) });
  });
  afterAll(() => {
    jest.useRealTimers();
  });

  test.each(golden.expressions)('$template', ({ template, payload, expected, error }) => {
    const render = () => new JinjaTemplate(template, 'it').render(JSON.stringify({ payload, messages: [] }), 0).text;
    if (error === undefined) expect(render()).toBe(expected);
    else expect(render).toThrow();
  });

  test.each(golden.cases)('$template: $name', (row) => {
    const template = new ChatTemplate(golden.templates[row.template] as string, row.template, golden.special_tokens);
    const { add_generation_prompt, continue_final_message, return_assistant_tokens_mask: _, ...kwargs } = row.kwargs;
    const options = {
      tools: row.tools,
      documents: row.documents,
      chatTemplateKwargs: kwargs,
      addGenerationPrompt: add_generation_prompt,
      ...(continue_final_message !== undefined && { continueFinalMessage: continue_final_message }),
    } as TemplateOptions;
    const apply = () => template.apply(row.messages, options);
    if (row.error === undefined) {
      expect(apply()).toBe(row.expected);
      if (row.generation_spans !== undefined) {
        const { text, generations } = template.render(row.messages, options);
        const length = (end: number) => Array.from(text.slice(0, end)).length;
        expect(generations.map((span) => span.map(length))).toEqual(row.generation_spans);
      }
    } else {
      const { message, raised_by_template: isRaised } = row.error;
      expect(apply).toThrow(
        expect.objectContaining({
          code: 'MBOK_INVALID_ARGUMENT',
          ...(isRaised && { message: `the chat template of '${row.template}' failed: ${message}` }),
        }),
      );
    }
  });
});

test.each([
  ["'a b c '.split(None, 1)", "['a', 'b c ']"],
  ["' a  b c '.split(None, 1)", "['a', 'b c ']"],
  ["' a b c '.rsplit(None, 1)", "[' a b', 'c']"],
])('%s is as in Python', (expression, expected) => {
  expect(new JinjaTemplate(`{{ ${expression} }}`, 'it').render('{"messages":[]}', 0).text).toBe(expected);
});
