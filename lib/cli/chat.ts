import { createInterface, type Interface } from 'node:readline';
import { MbokError } from '../base/errors';
import { fitMessages } from '../generate/conversation';
import { PromptCache } from '../generate/prompt_cache';
import type { GenerateOptions, GenerationResult } from '../generate/request';
import { type JsonObject, parseJsonObject } from '../io/json';
import type { ChatOptions, Model } from '../model';
import type { ChatMessage } from '../text/messages';
import { type Command, type CommandCall, isAbort, type Outcome, UsageError } from './command';
import { LOAD_OPTIONS, loadModel } from './load_model';
import { givenSampling, resultJson, resultLine, samplingOptions } from './sampling';
import { StatusLine, say } from './terminal';

const MAX_TOKENS = 1024;

export const chatCommand: Command = {
  name: 'chat',
  summary: 'Talk with a model that has a chat template.',
  operands: ['MODEL'],
  options: {
    system: { kind: 'text', value: 'TEXT', help: 'what the model is told before the conversation' },
    'chat-template-kwargs': {
      kind: 'text',
      value: 'JSON',
      help: `further variables of the chat template, e.g. '{"enable_thinking": false}'`,
    },
    ...LOAD_OPTIONS,
    ...samplingOptions({
      maxTokens: `${MAX_TOKENS} an answer`,
      temperature: "the model's, or 0",
      other: "the model's",
    }),
  },
  help: `Every line of stdin is a message, every answer appears on stdout as it is made. Ctrl-C ends an answer, at the
prompt the conversation; so does Ctrl-D. Sampling follows the model's generation_config.json where it asks for sampling,
otherwise the likeliest token is taken always. When the conversation outgrows the model's context, its oldest messages
are left out.`,
  examples: [
    'mbok chat MODEL --system "Answer in one sentence." --temperature 0.7 --top-p 0.9',
    'printf "Hi!\\nTell me more.\\n" | mbok chat MODEL --seed 1 --json',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const status = new StatusLine();
  try {
    await using model = await loadModel(call, call.operand(0), status);
    status.clear();
    await using promptCache = new PromptCache();
    const conversation = new Conversation(model, {
      ...model.recommendedSampling,
      maxTokens: MAX_TOKENS,
      ...alone(givenSampling(call)),
      chatTemplateKwargs: templateKwargs(call),
      promptCache,
    });
    const system = call.text('system');
    if (system !== undefined) conversation.messages.push({ role: 'system', content: system });
    const answers = await converse(conversation, call);
    return { json: { messages: conversation.messages, answers: answers.map(resultJson) }, lines: [] };
  } finally {
    status.clear();
  }
}

function templateKwargs(call: CommandCall): JsonObject | undefined {
  const text = call.text('chat-template-kwargs');
  if (text === undefined) return undefined;
  try {
    return parseJsonObject(text, '--chat-template-kwargs');
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Who asks for one of several tokens wants sampling, whatever the model recommends. */
function alone(options: GenerateOptions): GenerateOptions {
  const { temperature, topK, topP, minP } = options;
  const draws = [topK, topP, minP].some((value) => value !== undefined);
  return draws && temperature === undefined ? { temperature: 1, ...options } : options;
}

/** Asks and answers until the input ends. */
async function converse(conversation: Conversation, call: CommandCall): Promise<GenerationResult[]> {
  const quiet = call.flag('json');
  const input = new Input();
  const answers: GenerationResult[] = [];
  // an interrupted command also stops waiting for input
  const close = () => input.close();
  call.signal.addEventListener('abort', close, { once: true });
  try {
    for (;;) {
      const line = await input.next();
      if (call.signal.aborted) throw new MbokError('MBOK_ABORTED', 'interrupted', { cause: call.signal.reason });
      if (line === undefined) break;
      if (line.trim() === '') continue;
      const answer = await input.duringAnswer(call.signal, (signal) =>
        conversation.answer(line, signal, (piece) => {
          if (!quiet) process.stdout.write(piece);
        }),
      );
      if (!quiet) process.stdout.write('\n');
      if (answer === undefined) continue;
      if (!quiet && process.stderr.isTTY) say(resultLine(answer));
      answers.push(answer);
    }
  } finally {
    call.signal.removeEventListener('abort', close);
    input.close();
  }
  return answers;
}

/** What has been said, and who says it next. */
class Conversation {
  readonly messages: ChatMessage[] = [];
  readonly #model: Model;
  readonly #options: ChatOptions;

  constructor(model: Model, options: ChatOptions) {
    this.#model = model;
    this.#options = options;
  }

  /** Adds a message and its answer, of which what there is stays when the signal fires; there is no result then. */
  async answer(
    content: string,
    signal: AbortSignal,
    show: (piece: string) => void,
  ): Promise<GenerationResult | undefined> {
    this.messages.push({ role: 'user', content });
    const generation = this.#model.chat(this.#fitting(), { ...this.#options, signal });
    let text = '';
    try {
      for await (const piece of generation) {
        show(piece);
        text += piece;
      }
    } catch (error) {
      if (!isAbort(error)) throw error;
    }
    this.messages.push({ role: 'assistant', content: text });
    return signal.aborted ? undefined : await generation.result;
  }

  /** Returns the messages that fit into the context, and says how many do not. */
  #fitting(): readonly ChatMessage[] {
    const { maxTokens, chatTemplateKwargs } = this.#options;
    const fitting = fitMessages(this.#model, this.messages, { maxTokens, chatTemplateKwargs });
    const left = this.messages.length - fitting.length;
    if (left > 0) {
      const { maxPositions } = this.#model.config;
      say(`[the conversation outgrows the context of ${maxPositions} tokens: ${left} messages left out]`);
    }
    return fitting;
  }
}

/** Lines of stdin; on a terminal with a prompt, and with Ctrl-C for what is under way. */
class Input {
  readonly #lines: string[] = [];
  readonly #reader: Interface;
  readonly #interactive = process.stdin.isTTY === true && process.stderr.isTTY === true;
  #closed = false;
  #wake: (() => void) | undefined;
  #interrupt: (() => void) | undefined;

  constructor() {
    this.#reader = createInterface({
      input: process.stdin,
      ...(this.#interactive && { output: process.stderr, terminal: true }),
    });
    this.#reader.setPrompt('> ');
    this.#reader.on('line', (line) => {
      this.#lines.push(line);
      this.#wake?.();
    });
    this.#reader.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
    // a terminal's Ctrl-C comes here instead of to the process
    this.#reader.on('SIGINT', () => (this.#interrupt ? this.#interrupt() : this.#reader.close()));
  }

  /** The next line; undefined at the end. */
  async next(): Promise<string | undefined> {
    if (this.#interactive && this.#lines.length === 0 && !this.#closed) this.#reader.prompt();
    while (this.#lines.length === 0 && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#lines.shift();
  }

  /** Does some work that Ctrl-C, or the end of the command, stops. */
  async duringAnswer<T>(outer: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    this.#interrupt = () => controller.abort();
    try {
      return await work(AbortSignal.any([outer, controller.signal]));
    } finally {
      this.#interrupt = undefined;
    }
  }

  close(): void {
    this.#reader.close();
  }
}
