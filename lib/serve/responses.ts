/** POST /v1/responses, without state: nothing is stored, and nothing stored can be referred to. */

import type { GenerationResult } from '../generate/request';
import { type Answer, collect, countTokens, finishReason } from './answer';
import { HttpError } from './errors';
import { event } from './event_stream';
import type { Exchange } from './exchange';
import type { ServedModel } from './models';
import { chatPrompt, textRequest, unsupported } from './requests';
import type { Message, ResponseBody } from './schemas';
import type { Delta } from './texts';

export function responseAnswer(served: ServedModel, body: ResponseBody, exchange: Exchange): Answer {
  expectSupported(body);
  const prompt = chatPrompt(served, { messages: messagesOf(body), reasoning_effort: body.reasoning?.effort });
  const maxTokens = body.max_output_tokens ?? undefined;
  const { signal } = exchange;
  const itemId = `msg_${exchange.id}`;
  const part = (text: string) => ({ type: 'output_text', text, annotations: [], logprobs: [] });
  const item = (status: string, text?: string) => {
    const content = text === undefined ? [] : [part(text)];
    return { id: itemId, type: 'message', role: 'assistant', status, content };
  };
  /** The response as far as it has come. */
  const response = (done?: { readonly text: string; readonly result: GenerationResult }) => {
    const isCut = done !== undefined && finishReason(done.result.reason) === 'length';
    const status = done === undefined ? 'in_progress' : isCut ? 'incomplete' : 'completed';
    return {
      id: `resp_${exchange.id}`,
      object: 'response',
      created_at: exchange.created,
      status,
      error: null,
      incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
      instructions: body.instructions ?? null,
      max_output_tokens: maxTokens ?? null,
      metadata: body.metadata ?? {},
      model: served.name,
      output: done === undefined ? [] : [item(status, done.text)],
      parallel_tool_calls: false,
      previous_response_id: null,
      reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
      store: false,
      temperature: body.temperature ?? null,
      text: { format: { type: 'text' } },
      tool_choice: 'none',
      tools: [],
      top_p: body.top_p ?? null,
      truncation: 'disabled',
      usage: done === undefined ? null : usage(done.result),
    };
  };
  const usage = (result: GenerationResult) => {
    const counts = countTokens([prompt], [result], 1);
    return {
      input_tokens: counts.prompt,
      input_tokens_details: { cached_tokens: counts.cached },
      output_tokens: counts.generated,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: counts.prompt + counts.generated,
    };
  };
  return {
    prompts: [prompt],
    makers: [(onToken) => textRequest(served, body, prompt, 0, { maxTokens, logprobs: undefined, signal, onToken })],
    async whole(deltas) {
      const [done] = await collect(deltas);
      return response(done);
    },
    async *events(deltas: AsyncIterable<Delta>) {
      let count = 0;
      const send = (type: string, data: object) => event({ type, sequence_number: count++, ...data }, type);
      const place = { item_id: itemId, output_index: 0, content_index: 0 };
      yield send('response.created', { response: response() });
      yield send('response.in_progress', { response: response() });
      yield send('response.output_item.added', { output_index: 0, item: item('in_progress') });
      yield send('response.content_part.added', { ...place, part: part('') });
      let text = '';
      for await (const { text: delta, result } of deltas) {
        text += delta;
        if (delta !== '') yield send('response.output_text.delta', { ...place, delta, logprobs: [] });
        if (result === undefined) continue;
        const done = response({ text, result });
        yield send('response.output_text.done', { ...place, text, logprobs: [] });
        yield send('response.content_part.done', { ...place, part: part(text) });
        yield send('response.output_item.done', { output_index: 0, item: item(done.status, text) });
        yield send(`response.${done.status}`, { response: done });
      }
    },
  };
}

function expectSupported(body: ResponseBody): void {
  const { tools, tool_choice: choice, text } = body;
  if (body.previous_response_id) throw unsupported('previous_response_id', ': nothing is stored');
  if (body.background === true) throw unsupported('background', '');
  if (tools && tools.length > 0 && choice !== 'none') throw unsupported('tools', ' yet, unless tool_choice is none');
  const format = text?.format?.type ?? 'text';
  if (format !== 'text') throw unsupported('text.format', ` yet with type '${format}'`);
}

/** The conversation of a body. */
function messagesOf({ input, instructions }: ResponseBody): Message[] {
  const first: Message[] = instructions ? [{ role: 'system', content: instructions }] : [];
  if (typeof input === 'string') return [...first, { role: 'user', content: input }];
  return [...first, ...input.flatMap(messageOf)];
}

function messageOf(item: Exclude<ResponseBody['input'], string>[number], index: number): Message[] {
  const { type = 'message', role, content } = item;
  if (type === 'message' && role) return [{ role, content: content ?? '' }];
  if (type === 'reasoning') return [];
  const { call_id: id, name, arguments: args, output } = item;
  if (type === 'function_call' && typeof name === 'string' && typeof args === 'string')
    return [
      {
        role: 'assistant',
        content: '',
        tool_calls: [{ id: String(id), type: 'function', function: { name, arguments: args } }],
      },
    ];
  if (type === 'function_call_output' && typeof output === 'string')
    return [{ role: 'tool', content: output, tool_call_id: String(id) }];
  throw new HttpError(400, `'input[${index}]' is no message that can be read`, { param: `input[${index}]` });
}
