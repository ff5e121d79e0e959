/** Sections of a report, in order. */

import type { Recipes } from './recipes';
import type { Section } from './section';
import { activationsSection } from './sections/activations';
import { allocationSection } from './sections/allocation';
import { calibrationSection } from './sections/calibration';
import { embeddingsSection } from './sections/embeddings';
import { kernelsSection } from './sections/kernels';
import { latentSection } from './sections/latent';
import { layersSection } from './sections/layers';
import { nestedSection } from './sections/nested';
import { pairsSection } from './sections/pairs';
import { paretoSection } from './sections/pareto';
import { speedSection } from './sections/speed';
import { tasksSection } from './sections/tasks';
import { trainingSection } from './sections/training';

/** Returns the sections that the settings allow: training needs steps, and tasks need files. */
export function sectionsOf(recipes: Recipes): readonly Section[] {
  const { steps, tasks } = recipes.settings;
  return [
    paretoSection(recipes),
    kernelsSection(recipes),
    pairsSection(recipes),
    layersSection(recipes),
    ...(steps > 0 ? [trainingSection(recipes), latentSection(recipes)] : []),
    allocationSection(recipes),
    embeddingsSection(recipes),
    calibrationSection(recipes),
    activationsSection(recipes),
    nestedSection(recipes),
    ...(tasks.length > 0 ? [tasksSection(recipes)] : []),
    speedSection(recipes),
  ];
}
