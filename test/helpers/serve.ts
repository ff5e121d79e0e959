/** Servers of the embedded model, on loopback, and what their clients see. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createServer, type Server } from '../../lib/serve/create_server';
import type { RequestRecord, ServerOptions } from '../../lib/serve/options';
import { changeConfig, copyTinyStories } from './folders';

/** Formats a conversation as a story, and refuses what many templates do: content that is no text. */
export const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

/** Writes the embedded model with a chat template, and perhaps with a longer context, to a new folder. */
export function writeChatModel(folder: string, name: string, context = 512, template = TEMPLATE): string {
  const place = join(folder, name);
  mkdirSync(place, { recursive: true });
  copyTinyStories(place, { tokenizer: { chat_template: template } });
  changeConfig(place, { max_position_embeddings: context });
  return place;
}

export type Json = Record<string, unknown>;

/** An event of a stream. */
export interface ServerEvent {
  readonly event: string | undefined;
  readonly data: string;
}

/** A server and a client of it. Close it. */
export class TestServer implements AsyncDisposable {
  readonly records: RequestRecord[] = [];

  private constructor(
    readonly server: Server,
    readonly url: string,
    records: RequestRecord[],
  ) {
    this.records = records;
  }

  static async start(options: ServerOptions): Promise<TestServer> {
    const records: RequestRecord[] = [];
    const server = await createServer({ ...options, onRequest: (record) => records.push(record) });
    return new TestServer(server, await server.listen({ port: 0 }), records);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close({ graceSeconds: 0 });
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return await fetch(this.url + path, { headers });
  }

  async post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    return await fetch(this.url + path, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
      headers: { 'content-type': 'application/json', ...init.headers },
    });
  }

  /** Posts a body and returns the answer, which must have status 200. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
  async ask(path: string, body: unknown): Promise<any> {
    const response = await this.post(path, body);
    const answer: unknown = await response.json();
    if (response.status !== 200) throw new Error(`${response.status}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Posts a body that asks for a stream, and returns its events. */
  async events(path: string, body: Json): Promise<ServerEvent[]> {
    const response = await this.post(path, { ...body, stream: true });
    if (response.status !== 200) throw new Error(await response.text());
    return parseEvents(await response.text());
  }

  /** As `events`, parsed; the stream must end with [DONE]. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
  async chunks(path: string, body: Json): Promise<any[]> {
    const events = await this.events(path, body);
    expect(events.at(-1)?.data).toBe('[DONE]');
    return events.slice(0, -1).map(({ data }) => JSON.parse(data));
  }

  /** The value of a metric; the sum over models. */
  async metric(name: string, labels = ''): Promise<number> {
    const text = await (await this.get('/metrics')).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) && line.includes(labels));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  /** Waits until nothing is computed. */
  async idle(): Promise<void> {
    await until(
      async () => (await this.metric('mbok_requests_running')) + (await this.metric('mbok_requests_waiting')) === 0,
    );
  }
}

export function parseEvents(text: string): ServerEvent[] {
  return text.split('\n\n').flatMap((block) => {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
    const data = field('data');
    return data === undefined ? [] : [{ event: field('event'), data }];
  });
}

/** Waits until something holds; a minute at most. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error('it has not come to hold in a minute');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
