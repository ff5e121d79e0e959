/** Means and what they may be off by. */

/** A measured value and its standard error. */
export interface Measurement {
  readonly value: number;
  /** Of `value`, as another sample of as many questions would scatter. */
  readonly standardError: number;
}

/** The mean of at least one value; standard error by the unbiased sample deviation, 0 for one value. */
export function mean(values: readonly number[]): Measurement {
  const value = values.reduce((sum, each) => sum + each, 0) / values.length;
  const squares = values.reduce((sum, each) => sum + (each - value) ** 2, 0);
  const variance = values.length > 1 ? squares / (values.length - 1) : 0;
  return { value, standardError: Math.sqrt(variance / values.length) };
}

/** e to the mean of negative log-likelihoods; its error to first order. */
export function perplexity(negativeLogLikelihoods: readonly number[]): Measurement {
  const { value, standardError } = mean(negativeLogLikelihoods);
  return { value: Math.exp(value), standardError: Math.exp(value) * standardError };
}
