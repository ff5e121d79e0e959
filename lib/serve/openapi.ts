/** The OpenAPI document of a server, from the schemas that check its requests. */

import { z } from 'zod';
import { version } from '../base/version';
import { chatBody, completionBody, detokenizeBody, responseBody, templateBody, tokenizeBody } from './schemas';

interface Route {
  readonly summary: string;
  readonly body?: z.ZodType;
  /** Content types of the answer. */
  readonly answers: readonly string[];
  readonly parameters?: readonly object[];
}

const JSON_TYPE = 'application/json';
const STREAM_TYPE = 'text/event-stream';

const ROUTES: Readonly<Record<string, Route>> = {
  'post /v1/chat/completions': {
    summary: 'Answers a conversation',
    body: chatBody,
    answers: [JSON_TYPE, STREAM_TYPE],
  },
  'post /v1/completions': { summary: 'Continues texts', body: completionBody, answers: [JSON_TYPE, STREAM_TYPE] },
  'post /v1/responses': { summary: 'Answers a conversation', body: responseBody, answers: [JSON_TYPE, STREAM_TYPE] },
  'get /v1/models': { summary: 'Lists the models', answers: [JSON_TYPE] },
  'get /v1/models/{name}': {
    summary: 'Describes a model',
    answers: [JSON_TYPE],
    parameters: [{ name: 'name', in: 'path', required: true, schema: { type: 'string' } }],
  },
  'post /tokenize': { summary: 'Encodes a text', body: tokenizeBody, answers: [JSON_TYPE] },
  'post /detokenize': { summary: 'Decodes tokens', body: detokenizeBody, answers: [JSON_TYPE] },
  'post /apply-template': { summary: 'Formats a conversation', body: templateBody, answers: [JSON_TYPE] },
  'get /health': { summary: 'Tells that the process lives', answers: [JSON_TYPE] },
  'get /ready': { summary: 'Tells whether requests are taken', answers: [JSON_TYPE] },
  'get /metrics': { summary: 'Metrics for Prometheus', answers: ['text/plain'] },
  'get /openapi.json': { summary: 'This document', answers: [JSON_TYPE] },
};

const ERROR = {
  description: 'An error',
  content: {
    [JSON_TYPE]: {
      schema: {
        type: 'object',
        required: ['error'],
        properties: {
          error: {
            type: 'object',
            required: ['message', 'type', 'param', 'code'],
            properties: {
              message: { type: 'string' },
              type: { type: 'string' },
              param: { type: ['string', 'null'] },
              code: { type: ['string', 'null'] },
            },
          },
        },
      },
    },
  },
};

let document: object | undefined;

/** Returns the document; the same for all servers. */
export function openApi(): object {
  document ??= {
    openapi: '3.1.0',
    info: { title: 'mbok', version: version(), description: 'An OpenAI-compatible server of Boolean language models.' },
    paths: paths(),
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    security: [{}, { key: [] }],
  };
  return document;
}

function paths(): Record<string, Record<string, object>> {
  const all: Record<string, Record<string, object>> = {};
  for (const [name, { summary, body, answers, parameters }] of Object.entries(ROUTES)) {
    const [method, path] = name.split(' ') as [string, string];
    const content = Object.fromEntries(answers.map((type) => [type, {}]));
    const operation = {
      summary,
      ...(parameters && { parameters }),
      ...(body && { requestBody: { required: true, content: { [JSON_TYPE]: { schema: jsonSchema(body) } } } }),
      responses: { 200: { description: 'The answer', content }, '4XX': ERROR, 503: ERROR },
    };
    all[path] = { ...all[path], [method]: operation };
  }
  return all;
}

function jsonSchema(body: z.ZodType): object {
  const { $schema: _, ...schema } = z.toJSONSchema(body, { io: 'input', unrepresentable: 'any' });
  return schema;
}
