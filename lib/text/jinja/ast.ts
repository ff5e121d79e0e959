/** Syntax tree of a template. */

export type Expression =
  | { readonly type: 'constant'; readonly value: string | number | boolean | null }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'list' | 'tuple' | 'concat'; readonly items: readonly Expression[] }
  | { readonly type: 'dict'; readonly items: readonly (readonly [key: Expression, value: Expression])[] }
  | { readonly type: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly type: 'not' | 'negate' | 'plus'; readonly value: Expression }
  | { readonly type: 'binary'; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | { readonly type: 'compare'; readonly first: Expression; readonly others: readonly Comparison[] }
  | {
      readonly type: 'condition';
      readonly test: Expression;
      readonly value: Expression;
      readonly otherwise: Expression | undefined;
    }
  | { readonly type: 'attribute'; readonly value: Expression; readonly name: string }
  | { readonly type: 'item'; readonly value: Expression; readonly key: Expression }
  | ({ readonly type: 'slice'; readonly value: Expression } & Slice)
  | { readonly type: 'call'; readonly callee: Expression; readonly given: Arguments }
  | { readonly type: 'filter'; readonly value: Expression; readonly filters: readonly FilterCall[] }
  | { readonly type: 'test'; readonly value: Expression; readonly name: string; readonly given: Arguments };

export interface Comparison {
  readonly operator: string;
  readonly value: Expression;
}

export interface Slice {
  readonly start: Expression | undefined;
  readonly stop: Expression | undefined;
  readonly step: Expression | undefined;
}

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly named: readonly (readonly [name: string, value: Expression])[];
  /** Arguments `*list` and `**dict`. */
  readonly list: Expression | undefined;
  readonly dict: Expression | undefined;
}

export interface FilterCall {
  readonly name: string;
  readonly given: Arguments;
}

/** Target of an assignment: a name, names for the items of a value, or a field of a namespace. */
export type Target =
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'targets'; readonly items: readonly Target[] }
  | { readonly type: 'field'; readonly namespace: string; readonly name: string };

/** Parameters and body of a macro, or of the block of a `call` statement. */
export interface Macro {
  readonly name: string;
  readonly parameters: readonly { readonly name: string; readonly default: Expression | undefined }[];
  readonly body: readonly Statement[];
  /** Names that the body uses. */
  readonly mentions: ReadonlySet<string>;
}

type Body = readonly Statement[];

export type Statement =
  | { readonly type: 'data'; readonly text: string }
  | { readonly type: 'print'; readonly value: Expression }
  | { readonly type: 'if'; readonly branches: readonly Branch[]; readonly otherwise: Body }
  | {
      readonly type: 'for';
      readonly target: Target;
      readonly items: Expression;
      readonly test: Expression | undefined;
      readonly isRecursive: boolean;
      readonly body: Body;
      readonly otherwise: Body;
    }
  | { readonly type: 'break' | 'continue' }
  | { readonly type: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly type: 'set block';
      readonly target: Target;
      readonly filters: readonly FilterCall[];
      readonly body: Body;
    }
  | { readonly type: 'with'; readonly values: readonly (readonly [Target, Expression])[]; readonly body: Body }
  | { readonly type: 'macro'; readonly macro: Macro }
  | { readonly type: 'call'; readonly caller: Macro; readonly call: Expression & { readonly type: 'call' } }
  | { readonly type: 'filter'; readonly filters: readonly FilterCall[]; readonly body: Body }
  | { readonly type: 'generation'; readonly body: Body };

export interface Branch {
  readonly test: Expression;
  readonly body: Body;
}
