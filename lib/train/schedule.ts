/**
 * Returns the factor of both learning rates at step `step` (from 0) of `steps`: linear warm-up over the first 3 %, then
 * half a cosine to 0 (method of the paper, §6).
 */
export function schedule(step: number, steps: number): number {
  const warmUp = Math.min(1, (step + 1) / (0.03 * steps + 1));
  return warmUp * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
}
