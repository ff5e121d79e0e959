/** Means and their standard errors. */

/** A measured value and its standard error. */
export interface Measurement {
  /** The measured value. */
  readonly value: number;
  /** Standard error of `value` over samples of equally many questions. */
  readonly standardError: number;
}

/**
 * Computes the mean of at least one value. The standard error uses the unbiased sample deviation; it is 0 for one
 * value.
 */
export function mean(values: readonly number[]): Measurement {
  const value = values.reduce((sum, each) => sum + each, 0) / values.length;
  const squares = values.reduce((sum, each) => sum + (each - value) ** 2, 0);
  const variance = values.length > 1 ? squares / (values.length - 1) : 0;
  return { value, standardError: Math.sqrt(variance / values.length) };
}

/** Computes exp of the mean negative log-likelihood, with its standard error to first order. */
export function perplexity(negativeLogLikelihoods: readonly number[]): Measurement {
  const { value, standardError } = mean(negativeLogLikelihoods);
  return { value: Math.exp(value), standardError: Math.exp(value) * standardError };
}
