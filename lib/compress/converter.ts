/**
 * The interface of converters. A converter turns dense weights into another structure; each has a folder next to this
 * file.
 */

import type { ParameterSpecification } from '../models/family';
import type { Matrix } from '../native/matrix';
import type { LayerFormat, WeightShape } from '../structures/structure';
import type { ConvertedWeight } from './converted';
import type { PreparedMoments } from './input_moments';

/** Rounds of the data-free decomposition. */
export interface DecompositionRounds {
  /** Maximum rounds of the power iteration of SVID. */
  readonly iterations: number;
  /** Rounds of the joint refit after the extraction; 0 disables it. */
  readonly refitRounds: number;
}

/** Rounds of fits to any structure. */
export interface FitRounds extends DecompositionRounds {
  /** Iterations of the fit of factor pairs. */
  readonly pairIterations: number;
}

/** Rounds of a calibrated conversion. */
export interface CalibrationRounds extends DecompositionRounds {
  /** Rounds of signs and output scales. Input scales are fitted between rounds. */
  readonly rounds: number;
  /**
   * Power p of the column weight H_jj^p in the decomposition that gives the starting scales. 0 weights all columns
   * equally, 1 by the mean square of their inputs.
   */
  readonly columnPower: number;
}

/** The format that a weight gets, and the moments of its inputs. */
export interface FitGoal<Format extends LayerFormat = LayerFormat> {
  readonly owner: ParameterSpecification;
  readonly format: Format;
  /** Undefined for a data-free conversion. */
  readonly calibration?:
    | {
        readonly moments: PreparedMoments;
        readonly rounds: CalibrationRounds;
        /** Weights of the squared errors of the outputs; undefined weighs all alike. */
        readonly importances?: Float32Array | undefined;
        /** Parts of an earlier conversion with fewer or more kernels, whose signs stay. */
        readonly earlier?: readonly Matrix[] | undefined;
      }
    | undefined;
  readonly rounds: FitRounds;
  /** For tables: occurrences of every token in the calibration text; undefined without a text. */
  readonly tokenCounts?: Float64Array | undefined;
  readonly signal: AbortSignal | undefined;
  /** Called with the state of a long fit, such as its error so far. */
  readonly onDetail?: ((what: string) => void) | undefined;
}

/** What a budget knows about a structure. */
export interface BudgetFormats<Format extends LayerFormat = LayerFormat> {
  /** Lists the formats that a budget chooses among: equally many for every shape, in the same order. */
  formats(shape: WeightShape): readonly Format[];
  /**
   * Strict bits per weight, from the first up to below the second, at which the structure is better than the others on
   * usual weights. A budget that measures nothing chooses it only there.
   */
  readonly usualBits: readonly [number, number];
  /**
   * Computes ‖W − Ŵ‖ for each of `formats` after plain extraction, without data; `weight` is f32. If undefined, method
   * 'svid' and the allocation 'paper' do not choose the structure.
   */
  residuals?(weight: Matrix, formats: readonly Format[], signal: AbortSignal | undefined): Promise<readonly number[]>;
}

/** A converter to one structure. */
export interface WeightConverter<Format extends LayerFormat = LayerFormat> {
  /** Lists every format that the converter offers for a weight of this shape. */
  formats(shape: WeightShape): readonly Format[];
  /** Defined if a budget may choose formats of this structure. */
  readonly budget?: BudgetFormats<Format>;
  /**
   * Whether weights are converted in the order in which tokens meet them, so that later layers are calibrated on the
   * resulting inputs. False for structures whose errors are too small to correct; those weights are converted last.
   */
  readonly inOrder: boolean;
  /**
   * Estimates the native memory in bytes that a fit takes besides weights and second moments. Default: the weight in
   * f32, its target and its residual.
   */
  fitBytes?(shape: WeightShape, format: Format): number;
  /** Whether fits weigh the errors of the outputs, see output_importances.ts. Default false. */
  readonly weighsOutputs?: boolean;
  /**
   * Converts `weight` (real numbers; f32 if the goal has a calibration). The caller owns the result. Throws
   * MBOK_ABORTED, MBOK_OUT_OF_MEMORY, and MBOK_NON_FINITE if scales do not fit the type in which they are saved.
   */
  fit(weight: Matrix, goal: FitGoal<Format>): Promise<ConvertedWeight>;
}
