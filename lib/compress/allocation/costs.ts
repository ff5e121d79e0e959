/**
 * The choices that the 'measured' allocation considers for a layer, and their costs: some are measured (block_errors.ts),
 * the others follow from those.
 */

import { dense } from '../../structures/dense';
import type { LayerFormat } from '../../structures/structure';
import { type AllocatableLayer, bytesAt, type Choice, type CostedChoice } from './layers';

/**
 * Bytes of the considered choices relative to a layer's share of the budget. Costs add up less well the farther apart
 * layers are: on tiny-stories 0.45 to 2.5 gives perplexity 25.6 at 0.8 bits and 11.6 at 1.25, these give 25.1 and 11.2.
 */
const [LEAST, MOST] = [0.6, 1.8];
/** Bytes at which the costs of a structure are measured, relative to the layer's share of the budget. */
const MEASURED = [0.6, 1, 1.6];

/**
 * Limits the choices of layers to those near the layers' shares of the budget, the nearest on either side included. If a
 * layer has none within its share, others have to make up for it, so all smaller ones are considered too.
 *
 * @param shares - bytes by layer
 */
export function nearShares(
  layers: readonly AllocatableLayer[],
  shares: readonly number[],
): readonly AllocatableLayer[] {
  const isTight = layers.some((layer, i) => bytesAt(layer, 0) > (shares[i] as number));
  return layers.map((layer, i) => {
    const share = shares[i] as number;
    const within = layer.choices.findLastIndex(({ bytes }) => bytes <= share);
    const choices = layer.choices.filter(({ bytes }, at) => {
      const isLargeEnough = isTight || at === within || bytes >= LEAST * share;
      return isLargeEnough && (at === within + 1 || bytes <= MOST * share);
    });
    return { ...layer, choices };
  });
}

/** Selects the choices to measure: at most three of each structure, near the share. Dense weights cause no error. */
export function measuredAt(share: number, choices: readonly Choice[]): readonly Choice[] {
  const measured = [...byKind(choices).values()].flatMap((sameKind) =>
    sameKind.length <= MEASURED.length ? sameKind : MEASURED.map((factor) => nearest(sameKind, factor * share)),
  );
  return choices.filter((choice) => measured.includes(choice) && choice.format.kind !== dense.kind);
}

/**
 * Adds costs to choices and drops those that cost no less than a smaller one. Between two measured sizes of a structure
 * and beyond them the cost falls exponentially with the bytes.
 *
 * @param costs - of at least one choice of each structure except dense ones
 */
export function withCosts(
  choices: readonly Choice[],
  costs: ReadonlyMap<LayerFormat, number>,
): readonly CostedChoice[] {
  const kinds = byKind(choices);
  const costed = choices.map((choice): CostedChoice => {
    const { kind } = choice.format;
    if (kind === dense.kind) return { ...choice, cost: 0 };
    const points = (kinds.get(kind) as readonly Choice[]).flatMap(({ format, bytes }) => {
      const cost = costs.get(format);
      return cost === undefined ? [] : [{ bytes, cost }];
    });
    return { ...choice, cost: costs.get(choice.format) ?? costAt(points, choice.bytes) };
  });
  return costed.filter(({ cost }, i) => costed.slice(0, i).every((smaller) => smaller.cost > cost));
}

function byKind(choices: readonly Choice[]): ReadonlyMap<string, readonly Choice[]> {
  const kinds = new Set(choices.map(({ format }) => format.kind));
  return new Map([...kinds].map((kind) => [kind, choices.filter(({ format }) => format.kind === kind)]));
}

function nearest(choices: readonly Choice[], bytes: number): Choice {
  const distance = (choice: Choice) => Math.abs(Math.log(choice.bytes / bytes));
  return choices.reduce((best, choice) => (distance(choice) < distance(best) ? choice : best));
}

/** Interpolates the logarithms of costs linearly in the bytes; `points` are in ascending order of bytes. */
function costAt(points: readonly { readonly bytes: number; readonly cost: number }[], bytes: number): number {
  const after = points.findIndex((point) => point.bytes > bytes);
  const at = Math.max(1, after < 0 ? points.length - 1 : after);
  const [low, high] = [points[at - 1], points[at]];
  if (low === undefined || high === undefined) return (points[0] as { cost: number }).cost;
  if (low.cost <= 0 || high.cost <= 0) return Math.min(low.cost, high.cost);
  return low.cost * (high.cost / low.cost) ** ((bytes - low.bytes) / (high.bytes - low.bytes));
}
