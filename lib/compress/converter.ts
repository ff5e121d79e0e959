/** How a dense weight becomes one of another structure: one converter a structure, in a folder beside this. */

import type { ParameterSpecification } from '../models/family';
import type { Matrix } from '../native/matrix';
import type { LayerFormat, WeightShape } from '../structures/structure';
import type { ConvertedWeight } from './converted';
import type { PreparedMoments } from './input_moments';

/** Rounds of the power iteration and of the joint refit. */
export interface DecompositionRounds {
  readonly iterations: number;
  /** Rounds of the joint refit after the extraction; 0 for none. */
  readonly refitRounds: number;
}

/** Rounds of a conversion that sees data. */
export interface CalibrationRounds extends DecompositionRounds {
  /** Rounds of signs and output scales; input scales descend between them. */
  readonly rounds: number;
  /**
   * Power of H_jj that columns are weighed by in the decomposition that the scales start from: 0 not at all, 1 by the
   * square of their inputs.
   */
  readonly columnPower: number;
}

/** What a weight is to become, and what is known of its inputs. */
export interface FitGoal<Format extends LayerFormat = LayerFormat> {
  readonly owner: ParameterSpecification;
  readonly format: Format;
  /** Absent for a conversion without data. */
  readonly calibration?:
    | {
        readonly moments: PreparedMoments;
        readonly rounds: CalibrationRounds;
        /** Parts of an earlier conversion, smaller or larger, whose bits are to be kept. */
        readonly earlier?: readonly Matrix[] | undefined;
      }
    | undefined;
  readonly rounds: DecompositionRounds;
  readonly signal: AbortSignal | undefined;
}

/** Makes weights of one structure. */
export interface WeightConverter<Format extends LayerFormat = LayerFormat> {
  /** Every format that it can give a weight of this shape. */
  formats(shape: WeightShape): readonly Format[];
  /** Present where a budget chooses among these formats. */
  readonly budget?: {
    /** ‖W − Ŵ‖ in each of `formats`, without data, for `weight` in f32. */
    residuals(weight: Matrix, formats: readonly Format[], signal: AbortSignal | undefined): Promise<readonly number[]>;
  };
  /**
   * Whether a weight is converted as tokens meet it, so that later layers are fitted to the inputs that it gives; else it is
   * when all others have been: its errors are too small to be made up for.
   */
  readonly inOrder: boolean;
  /**
   * Converts `weight`, of real numbers; f32 where the goal has a calibration. The caller owns the result. Throws MBOK_ABORTED,
   * MBOK_OUT_OF_MEMORY, and MBOK_NON_FINITE where scales do not fit the type that they are saved in.
   */
  fit(weight: Matrix, goal: FitGoal<Format>): Promise<ConvertedWeight>;
}
