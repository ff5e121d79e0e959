/** Records of published tasks. */

/** Formats records as the lines of a file. */
export const lines = (...records: object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');

/** A record of each task in its published format, with the texts that lm-evaluation-harness 0.4 derives from it. */
export const CASES: readonly {
  readonly task: string;
  readonly files: Record<string, string>;
  readonly texts: readonly (readonly [context: string, continuation: string])[];
  readonly answer: number;
}[] = [
  {
    task: 'arc_easy',
    files: {
      'arc/ARC-Easy-Test.jsonl': lines({
        id: 'x',
        question: {
          stem: 'What is hot?',
          choices: [
            { text: 'ice', label: '1' },
            { text: 'the sun', label: '2' },
          ],
        },
        answerKey: '2',
      }),
    },
    texts: [
      ['Question: What is hot?\nAnswer:', ' ice'],
      ['Question: What is hot?\nAnswer:', ' the sun'],
    ],
    answer: 1,
  },
  {
    task: 'arc_challenge',
    files: {
      'ARC-Challenge/ARC-Challenge-Test.jsonl': lines({
        question: { stem: 'Which?', choices: [{ text: 'this', label: 'A' }] },
        answerKey: 'A',
      }),
    },
    texts: [['Question: Which?\nAnswer:', ' this']],
    answer: 0,
  },
  {
    task: 'boolq',
    files: { 'boolq/dev.jsonl': lines({ question: 'is it so', title: 'It', answer: true, passage: 'It is so.' }) },
    texts: [
      ['It -- It is so.\nQuestion: is it so?\nAnswer:', ' no'],
      ['It -- It is so.\nQuestion: is it so?\nAnswer:', ' yes'],
    ],
    answer: 1,
  },
  {
    task: 'piqa',
    files: {
      'piqa/valid.jsonl': lines({ goal: 'dresser', sol1: 'replace drawer ', sol2: 'finish it' }),
      'piqa/valid-labels.lst': '1\n',
    },
    texts: [
      ['Question: dresser\nAnswer:', ' replace drawer '],
      ['Question: dresser\nAnswer:', ' finish it'],
    ],
    answer: 1,
  },
  {
    task: 'hellaswag',
    files: {
      'hellaswag/hellaswag_val.jsonl': lines({
        activity_label: 'Baking',
        ctx_a: '[header] How to bake [title] Mix.  [step] Stir',
        ctx_b: 'then Ann',
        label: '1',
        endings: ['leaves.', ' [substeps] eats  it.'],
      }),
    },
    texts: [
      ['Baking: How to bake. Mix.  Stir Then ann', ' leaves.'],
      ['Baking: How to bake. Mix.  Stir Then ann', '  eats it.'],
    ],
    answer: 1,
  },
  {
    task: 'winogrande',
    files: {
      'winogrande_1.1/dev.jsonl': lines({
        sentence: 'Ann met Eve because _ was late.',
        option1: 'Ann',
        option2: 'Eve',
        answer: '2',
      }),
    },
    texts: [
      ['Ann met Eve because Ann', ' was late.'],
      ['Ann met Eve because Eve', ' was late.'],
    ],
    answer: 1,
  },
  {
    task: 'lambada_openai',
    files: { 'lambada_openai/lambada_openai.jsonl': lines({ context: 'He asked for a', continuation: 'sign' }) },
    texts: [['He asked for a', ' sign']],
    answer: 0,
  },
  {
    task: 'lambada_openai',
    files: { 'lambada_openai/test.jsonl': lines({ text: 'He asked for\n\n"a sign' }) },
    texts: [['He asked for\n\n"a', ' sign']],
    answer: 0,
  },
];
