/**
 * The public API, without a choice of binaries: index.ts adds those of all targets, `mbok/TARGET` that of one.
 *
 * The names above the line are what most programs need; those below are the pieces, for those who build on them.
 */

export { MbokError, MbokErrorCode } from './base/errors';
export type { PackedBytes } from './baselines/packed_bytes';
export { type BaselineCalibration, type BaselineReport, quantizeFolder } from './baselines/quantize_folder';
export type { BaselineMethod, QuantizeOptions } from './baselines/quantize_options';
export type { AllocationMethod, AllocationOptions } from './compress/allocation/allocation_options';
export type { FixedFormat } from './compress/allocation/keep';
export { type BinarizeOptions, binarize, type ConversionMethod } from './compress/binarize';
export { type BinarizeFolderOptions, binarizeFolder } from './compress/binarize_folder';
export type { CalibrationOptions } from './compress/calibration';
export type { BooleanEmbeddings, EmbeddingBudget, EmbeddingChoice } from './compress/embeddings';
export { type ExportOptions, type ExportType, exportDense } from './compress/export_dense';
export { type ConversionPlan, planConversion } from './compress/memory_plan';
export type { ConversationCount, Dataset, LabeledTokens } from './data/dataset';
export { type DatasetOptions, loadDataset, type TextData } from './data/load_dataset';
export {
  evaluateTasks,
  type Metric,
  TASK_NAMES,
  type TaskOptions,
  type TaskResult,
} from './eval/evaluate_tasks';
export { type KernelCorrelation, kernelCorrelations } from './eval/kernel_correlations';
export {
  evaluatePerplexity,
  type PerplexityOptions,
  type PerplexityProgress,
  type PerplexityResult,
  type ScoredTokens,
} from './eval/perplexity';
export { measureSpeed, type Rate, type SpeedOptions, type SpeedResult } from './eval/speed';
export type { Measurement } from './eval/statistics';
export { type ChatModel, type FitOptions, fitMessages } from './generate/conversation';
export type { Generation } from './generate/generation';
export type { ScoredToken, TokenProbability } from './generate/logprobs';
export { PromptCache } from './generate/prompt_cache';
export type {
  BatchOptions,
  EndReason,
  GeneratedToken,
  GenerateOptions,
  GenerationResult,
} from './generate/request';
export type { SamplingOptions } from './generate/sampler';
export { type CachedModel, listCachedModels, type RemovedModel, removeCachedModel } from './hub/manage';
export {
  type FileProgress,
  type FileSize,
  type PulledModel,
  type PullOptions,
  type PullProgress,
  pullModel,
} from './hub/pull';
export {
  type ArrangeOptions,
  type ChatOptions,
  type Logits,
  type LogitsOptions,
  Model,
  type ModelConfig,
} from './model';
export type { AllocationReport, CalibrationReport, ConversionReport } from './models/conversion_report';
export {
  type DownloadSize,
  inspect,
  type LayerInspection,
  type ModelInspection,
  type PartOfFile,
} from './models/inspect';
export type { LoadOptions, SaveOptions } from './models/model_core';
export type { OutputOptions } from './models/model_folder';
export type { ModelUse, ProgressOptions } from './models/stored_matrix';
export type { UnreadModule } from './models/unread';
export { type CloseOptions, createServer, type ListenOptions, type Server } from './serve/create_server';
export type { RequestRecord, ServerOptions } from './serve/options';
export type { Formats, LayerFormat } from './structures/structure';
export type { ChatTemplate, EncodedChat, TemplateOptions } from './text/chat';
export { encodeChat } from './text/chat';
export type { ChatMessage, ContentPart, FunctionCall, TemplateArguments, ToolCall } from './text/messages';
export type { DecodeOptions, EncodeOptions, Tokenizer } from './text/tokenizer';
export { type FinetuneResult, finetune } from './train/finetune';
export type {
  CheckpointOptions,
  EvaluationOptions,
  FinetuneOptions,
  FinetuneProgress,
  TeacherCacheOptions,
} from './train/finetune_options';
export type { TrainingMemory } from './train/memory';
export type { BestEvaluation, FinetuneRecord } from './train/progress';
export type { Trainable } from './train/trained';

// ————————————————————————————————————————————————————————————————————————————————————————————————————————————————————

export type { Decomposition, MatrixOptions } from './compress/kernels/decompose';
export { type RefitOptions, refit } from './compress/kernels/refit';
export { type SvidOptions, svid } from './compress/kernels/svid';
export type { ActivationBits, Arithmetic, Precision, TrainingPrecision } from './graph/arithmetic';
export { appendGradients, type GradientTargets } from './graph/gradients';
export {
  type BooleanOptimizerState,
  type BooleanTarget,
  type DenseSignal,
  Graph,
  type MemoryRole,
  type Node as GraphNode,
  type Rows,
  type Shape,
  type Tensor,
} from './graph/graph';
export { type ActivationKind, activation, gatedActivation } from './graph/operations/activation';
export { add } from './graph/operations/add';
export { type AttentionOptions, attention } from './graph/operations/attention';
export { booleanActivation, booleanLinear } from './graph/operations/boolean_linear';
export { embedding } from './graph/operations/embedding';
export { type LayerNormOptions, layerNorm } from './graph/operations/layer_norm';
export { linear } from './graph/operations/linear';
export { crossEntropy, type HiddenLoss, hiddenLoss, klDivergence } from './graph/operations/losses';
export { multiBooleanLinear } from './graph/operations/multi_boolean_linear';
export { type RmsNormOptions, rmsNorm } from './graph/operations/rms_norm';
export { type RopeOptions, rope } from './graph/operations/rope';
export { softcap } from './graph/operations/softcap';
export { type AdamWSettings, lossSeed } from './graph/operations/training';
export { scale } from './graph/operations/weighted_sum';
export { type MemoryReport, Plan, type RunOptions } from './graph/plan';
export { type LoadedTensors, loadTensors, type SaveTensorsOptions, saveTensors } from './models/tensor_file';
export { BitMatrix } from './native/bit_matrix';
export { Matrix, type MatrixElements, type MatrixShape } from './native/matrix';
export { type Llama3Scaling, type RotaryConfig, rotaryTable } from './nn/rotary';
export { AdamW } from './train/adamw';
export {
  type AccumulatorType,
  BooleanOptimizer,
  type BooleanOptimizerSettings,
  type BooleanRule,
  type Normalizer,
} from './train/boolean_optimizer';
export { LatentWeights } from './train/latent_weights';
