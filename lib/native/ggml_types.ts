/**
 * ggml's element types: the number of each in GGUF files and its block size. A type with `isQ8` stores an F16 scale
 * times integers of at most 8 bits, which 'q8' matrices represent exactly.
 */
export const GGML_TYPES = {
  F32: { id: 0, elements: 1, bytes: 4 },
  F16: { id: 1, elements: 1, bytes: 2 },
  BF16: { id: 30, elements: 1, bytes: 2 },
  Q4_0: { id: 2, elements: 32, bytes: 18, isQ8: true },
  Q4_1: { id: 3, elements: 32, bytes: 20 },
  Q5_0: { id: 6, elements: 32, bytes: 22, isQ8: true },
  Q5_1: { id: 7, elements: 32, bytes: 24 },
  Q8_0: { id: 8, elements: 32, bytes: 34, isQ8: true },
  IQ4_NL: { id: 20, elements: 32, bytes: 18, isQ8: true },
  Q2_K: { id: 10, elements: 256, bytes: 84 },
  Q3_K: { id: 11, elements: 256, bytes: 110 },
  Q4_K: { id: 12, elements: 256, bytes: 144 },
  Q5_K: { id: 13, elements: 256, bytes: 176 },
  Q6_K: { id: 14, elements: 256, bytes: 210 },
} as const;

/** A ggml element type that mbok reads. */
export type GgmlType = keyof typeof GGML_TYPES;

/** Tells whether 'q8' matrices represent the values of the type exactly. */
export function isQ8(dtype: GgmlType): boolean {
  return 'isQ8' in GGML_TYPES[dtype];
}

/** Types that mbok does not read, for messages. */
const OTHERS: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
  40: 'NVFP4',
};

const BY_ID = new Map<number, GgmlType>(
  (Object.keys(GGML_TYPES) as GgmlType[]).map((name) => [GGML_TYPES[name].id, name]),
);

/** Returns the type with this number; undefined if mbok does not read it. */
export function ggmlType(id: number): GgmlType | undefined {
  return BY_ID.get(id);
}

/** Names a type that mbok does not read. */
export function ggmlTypeName(id: number): string {
  return OTHERS[id] ?? `number ${id}`;
}
