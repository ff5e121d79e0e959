import {
  binarize,
  type ConversionReport,
  createServer,
  evaluatePerplexity,
  exportDense,
  finetune,
  type Generation,
  type GenerationResult,
  inspect,
  type Logits,
  Model,
  type ModelConfig,
  type ModelInspection,
  type PerplexityResult,
  type Server,
  type Tokenizer,
} from 'mbok';
import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd';

declare const model: Model;
expectType<Promise<Model>>(Model.load('folder', { kernels: 2, for: 'training', signal: AbortSignal.timeout(1) }));
expectNotAssignable<new () => Model>(Model);
expectError(Model.load('folder', { kernel: 2 }));
expectError(Model.load('folder', { for: 'evaluation' }));

// what it publishes
expectType<ModelConfig>(model.config);
expectType<number>(model.bitsPerWeight);
expectType<ReadonlyMap<string, number>>(model.kernels);
expectType<Tokenizer>(model.tokenizer);
expectType<ConversionReport | undefined>(model.conversion);
expectType<Promise<void>>(model.save('folder', { overwrite: true }));
expectType<Promise<void>>(model.arrangeFor('inference', { signal: AbortSignal.timeout(1) }));
expectAssignable<AsyncDisposable>(model);

// what is inside it is not there
expectError(model.parameters);
expectError(model.family);
expectError(model.holdToRead());
expectError(model.tokenizer.expectWithin(1, 'place'));

expectType<Promise<Logits>>(model.logits([1, 2, 3], { precision: 'bf16', activations: 8 }));

const generation = model.generate('Once', { maxTokens: 8 });
expectType<Generation>(generation);
expectType<Promise<GenerationResult>>(generation.result);
expectAssignable<AsyncIterable<string>>(generation);
expectType<Generation>(model.chat([{ role: 'user', content: 'Hello' }]));
expectType<Promise<GenerationResult[]>>(model.generateBatch(['a', [1, 2]]));
expectError(model.chat([{ content: 'Hello' }]));

// functions take models, and give them
expectType<Promise<Model>>(binarize(model, { kernels: 2, method: 'calibrated', calibration: { data: 'text' } }));
expectError(binarize(model, { kernels: 2, method: 'exact' }));
expectError(binarize({}, { kernels: 2 }));
expectError(finetune(model, {}));
expectType<Promise<PerplexityResult>>(evaluatePerplexity(model, Int32Array.of(1, 2)));
expectType<Promise<void>>(exportDense(model, 'folder', { type: 'f16' }));
expectError(exportDense(model, 'folder', { type: 'F16' }));
expectType<Promise<ModelInspection>>(inspect('folder'));

const server = createServer({ models: { small: 'folder' }, parallel: 2, apiKeys: ['key'] });
expectType<Promise<Server>>(server);
expectError(createServer({ models: ['folder'] }));
declare const served: Server;
expectAssignable<(request: Request) => Promise<Response>>(served.fetch);
expectType<Promise<string>>(served.listen({ port: 0 }));
expectAssignable<AsyncDisposable>(served);
expectError(served.app);

model.generate('Once', {
  logprobs: 2,
  onToken: ({ id, logprob }) => expectType<[number, number | undefined]>([id, logprob]),
});
