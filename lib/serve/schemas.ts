/**
 * Bodies of requests. Members that are not listed are ignored, as clients send many that concern a provider's accounts.
 * Members that would change the answer and are not supported are refused, not ignored.
 */

import { z } from 'zod';

const MOST_ALTERNATIVES = 20;
const MOST_STOPS = 16;
/** Seeds of a request's texts are this one and its successors. */
const LARGEST_SEED = Number.MAX_SAFE_INTEGER - 2 ** 20;

const optional = <T extends z.ZodType>(schema: T) => schema.nullish();

/** Sampling that all endpoints share. What a request leaves out is as the model's generation_config.json recommends. */
const sampling = {
  model: optional(
    z.string().describe('Name of the model, or NAME@K for its first K kernels; the first one by default'),
  ),
  temperature: optional(z.number().min(0).max(100).describe('0: always the likeliest token')),
  top_p: optional(z.number().min(0).max(1)),
  top_k: optional(z.int().min(-1).describe('0 or -1: all tokens')),
  min_p: optional(z.number().min(0).max(1)),
  repetition_penalty: optional(z.number().min(0.01).max(100)),
  presence_penalty: optional(z.number().min(-2).max(2)),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  logit_bias: optional(
    z.record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100)).describe('Added to logits, by token id'),
  ),
  seed: optional(z.int().max(LARGEST_SEED).describe('Repeats a text; negative: random')),
  stop: optional(z.union([z.string().min(1), z.array(z.string().min(1)).max(MOST_STOPS)])),
  stream: optional(z.boolean()),
};

const streamOptions = optional(z.object({ include_usage: optional(z.boolean()) }));
const texts = optional(z.int().min(1).max(1024).describe('Number of texts'));
const tokenLimit = optional(z.int().min(1));

const functionCall = z.looseObject({
  name: z.string(),
  arguments: z.union([z.string(), z.record(z.string(), z.unknown())]),
});

/** Parts of a message. Only text is read. */
const contentPart = z.looseObject({ type: z.string(), text: optional(z.string()) });

const message = z.looseObject({
  role: z.string().min(1),
  content: optional(z.union([z.string(), z.array(contentPart)])),
  reasoning_content: optional(z.string()),
  tool_calls: optional(z.array(z.looseObject({ id: optional(z.string()), function: functionCall }))),
  tool_call_id: optional(z.string()),
  name: optional(z.string()),
});

export type Message = z.infer<typeof message>;

/** What a chat template is given. */
const conversation = {
  messages: z.array(message).min(1),
  documents: optional(z.array(z.record(z.string(), z.unknown()))),
  chat_template_kwargs: optional(z.record(z.string(), z.unknown())),
  reasoning_effort: optional(z.string().describe('A variable of the chat template')),
};

export const chatBody = z.object({
  ...sampling,
  ...conversation,
  max_tokens: tokenLimit,
  max_completion_tokens: tokenLimit.describe('Replaces max_tokens'),
  n: texts,
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(MOST_ALTERNATIVES)),
  stream_options: streamOptions,
  tools: optional(z.array(z.unknown()).describe('Not supported yet, unless tool_choice is none')),
  tool_choice: optional(z.unknown()),
  response_format: optional(z.looseObject({ type: z.string() }).describe('Only type text')),
});

export type ChatBody = z.infer<typeof chatBody>;

const tokens = z.array(z.int().min(0)).min(1);

export const completionBody = z.object({
  ...sampling,
  prompt: z.union([z.string(), z.array(z.string()).min(1), tokens, z.array(tokens).min(1)]),
  max_tokens: optional(z.int().min(0).describe('16 by default')),
  n: texts,
  best_of: optional(z.int().describe('Only equal to n')),
  echo: optional(z.boolean().describe('The prompt is part of the text, and of logprobs')),
  logprobs: optional(z.int().min(0).max(MOST_ALTERNATIVES)),
  suffix: optional(z.string().describe('Not supported')),
  stream_options: streamOptions,
});

export type CompletionBody = z.infer<typeof completionBody>;

const inputPart = z.looseObject({ type: z.string(), text: optional(z.string()) });

export const responseBody = z.object({
  ...sampling,
  input: z.union([
    z.string(),
    z
      .array(
        z.looseObject({
          type: optional(z.string()),
          role: optional(z.string()),
          content: optional(z.union([z.string(), z.array(inputPart)])),
        }),
      )
      .min(1),
  ]),
  instructions: optional(z.string()),
  max_output_tokens: tokenLimit,
  metadata: optional(z.record(z.string(), z.unknown())),
  previous_response_id: optional(z.string().describe('Not supported: nothing is stored')),
  background: optional(z.boolean().describe('Not supported')),
  tools: optional(z.array(z.unknown()).describe('Not supported yet, unless tool_choice is none')),
  tool_choice: optional(z.unknown()),
  text: optional(z.looseObject({ format: optional(z.looseObject({ type: z.string() })) }).describe('Only format text')),
  reasoning: optional(z.looseObject({ effort: optional(z.string()) })),
});

export type ResponseBody = z.infer<typeof responseBody>;

const { model } = sampling;

export const tokenizeBody = z.object({ model, content: z.string(), add_special: optional(z.boolean()) });

export const detokenizeBody = z.object({ model, tokens: z.array(z.int().min(0)) });

export const templateBody = z.object({ model, ...conversation });
