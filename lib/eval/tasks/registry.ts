/** List of all tasks. To add one, write a file in this folder and a row here. */

import type { TaskDefinition } from '../task';
import { arcChallenge, arcEasy } from './arc';
import { boolq } from './boolq';
import { hellaswag } from './hellaswag';
import { lambada } from './lambada';
import { piqa } from './piqa';
import { winogrande } from './winogrande';

export const TASKS: readonly TaskDefinition[] = [arcEasy, arcChallenge, boolq, piqa, hellaswag, winogrande, lambada];
