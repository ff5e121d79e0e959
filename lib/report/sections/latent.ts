import { bitsText, fixed, megabytes, perplexity, rate, seconds } from '../format';
import {
  type Finetuning,
  LATENT_KERNELS,
  LATENT_PAIR,
  type PlannedModel,
  type Recipes,
  WATCHED_KERNELS,
} from '../recipes';
import type { Section } from '../section';

/** A second seed; the default of `mbok finetune` is 1. */
const OTHER_SEED = 2;

/** Section that compares Boolean training with latent weights of 32 bits. */
export function latentSection(recipes: Recipes): Section {
  const { steps } = recipes.settings;
  const start = recipes.calibrated(WATCHED_KERNELS);
  const pair = recipes.pairs(LATENT_PAIR);
  const runs: readonly { readonly name: string; readonly model: PlannedModel<Finetuning> }[] = [
    ...LATENT_KERNELS.flatMap((kernels) => [
      { name: `K = ${kernels}, flipped bits`, model: recipes.finetunedKernels(kernels) },
      ...(kernels === WATCHED_KERNELS
        ? [
            {
              name: `K = ${kernels}, flipped bits, seed ${OTHER_SEED}`,
              model: recipes.finetuned(start, { seed: OTHER_SEED }),
            },
          ]
        : []),
      { name: `K = ${kernels}, latent weights`, model: recipes.latentKernels(kernels) },
    ]),
    { name: `pairs of ${bitsText(LATENT_PAIR)}, flipped bits`, model: recipes.finetuned(pair) },
    { name: `pairs of ${bitsText(LATENT_PAIR)}, latent weights`, model: recipes.finetuned(pair, { latent: true }) },
  ];
  return {
    id: 'latent',
    title: 'Flipped bits against latent weights',
    commands: runs.map(({ model }) => recipes.perplexity(model)),
    show(results) {
      const rows = runs.map(({ name, model }) => {
        const made = model.maker && results.of(model.maker);
        return {
          name,
          perplexity: results.of(recipes.perplexity(model))?.perplexity,
          stateBytes: made?.memory.state,
          plannedBytes: made?.memory.total,
          peakMemory: model.maker && results.peakMemory(model.maker),
          tokensPerSecond: made?.tokensPerSecond,
          seconds: model.maker && results.stored(model.maker)?.seconds,
        };
      });
      const [one, other] = ['', `, seed ${OTHER_SEED}`].map(
        (seed) => rows.find(({ name }) => name === `K = ${WATCHED_KERNELS}, flipped bits${seed}`)?.perplexity,
      );
      const noise = one === undefined || other === undefined ? undefined : Math.abs(one - other);
      return {
        text: [
          `Each run takes ${steps} steps with the same start, text, windows and settings. Another seed, which chooses other windows, changes the perplexity of K = ${WATCHED_KERNELS} by ${fixed(noise, 3)}.`,
        ],
        exhibits: [
          {
            id: 'latent',
            caption:
              "State is the optimizer's memory between steps for bits, scales and all other trained parameters. Planned is the memory of training itself, including the teacher. Peak is the peak memory of the whole process.",
            table: {
              head: ['', 'perplexity', 'state MB', 'planned MB', 'peak MB', 'tokens/s', 'seconds'],
              rows: rows.map((row) => [
                row.name,
                perplexity(row.perplexity),
                megabytes(row.stateBytes),
                megabytes(row.plannedBytes),
                megabytes(row.peakMemory),
                rate(row.tokensPerSecond),
                seconds(row.seconds),
              ]),
            },
            data: rows,
          },
        ],
      };
    },
  };
}
