/** Parser of templates: the grammar of Jinja 3.1, with the tags `break`, `continue` and transformers' `generation`. */

import type { Arguments, Branch, Comparison, Expression, FilterCall, Macro, Slice, Statement, Target } from './ast';
import type { Budget } from './budget';
import { TemplateSyntaxError } from './errors';
import { type Token, type TokenKind, tokenize } from './lexer';

const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);
/**
 * Jinja tags without use in chat templates: there are no other templates to load, and nothing is escaped automatically.
 */
const MISSING: ReadonlySet<string> = new Set(['extends', 'include', 'import', 'from', 'block', 'autoescape']);

/** Parses a template. Throws TemplateSyntaxError, LimitError. */
export function parse(source: string, budget: Budget): readonly Statement[] {
  return new Parser(tokenize(source), budget).parse();
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #budget: Budget;
  #at = 0;
  /** Number of loops around the current token, inside its macro. */
  #loops = 0;
  /** Names used in each macro around the current token. */
  #mentions: Set<string>[] = [];

  constructor(tokens: readonly Token[], budget: Budget) {
    this.#tokens = tokens;
    this.#budget = budget;
  }

  parse(): readonly Statement[] {
    return this.#statements([]);
  }

  // statements

  /**
   * Parses statements up to one of the end tags, which becomes the current token. Without end tags it parses to the
   * end.
   */
  #statements(ends: readonly string[]): Statement[] {
    const body: Statement[] = [];
    for (;;) {
      const { kind, text } = this.#next();
      if (kind === 'data') body.push({ type: 'data', text });
      else if (kind === 'print') {
        body.push({ type: 'print', value: this.#tuple() });
        this.#expect('end of print statement');
      } else if (kind === 'tag') {
        if (this.#current.kind === 'name' && ends.includes(this.#current.text)) return body;
        body.push(...this.#nested(() => this.#statement()));
        this.#expect('end of statement block');
      } else if (ends.length === 0) return body;
      else this.#fail(`Unexpected end of template. Jinja was looking for the following tags: '${ends.join("' or '")}'`);
    }
  }

  /** Parses the body of a tag up to one of its end tags. */
  #body(...ends: string[]): Statement[] {
    this.#skip('operator', ':');
    this.#expect('end of statement block');
    return this.#statements(ends);
  }

  #bodyTo(end: string): Statement[] {
    const body = this.#body(end);
    this.#next();
    return body;
  }

  #statement(): Statement[] {
    const { text: tag } = this.#expect('name');
    switch (tag) {
      case 'for':
        return [this.#for()];
      case 'if':
        return [this.#if()];
      case 'set':
        return [this.#set()];
      case 'with':
        return [this.#with()];
      case 'macro':
        return [{ type: 'macro', macro: this.#macro(this.#expect('name').text, 'endmacro', () => this.#parameters()) }];
      case 'call':
        return [this.#call()];
      case 'filter':
        return [{ type: 'filter', filters: this.#filters(true), body: this.#bodyTo('endfilter') }];
      case 'generation':
        return [{ type: 'generation', body: this.#outsideLoops(() => this.#bodyTo('endgeneration')) }];
      case 'print':
        return this.#print();
      case 'break':
      case 'continue':
        if (this.#loops === 0) this.#fail(`'${tag}' outside loop`);
        return [{ type: tag }];
      default:
        return this.#fail(MISSING.has(tag) ? `the tag '${tag}' is not supported` : `Encountered unknown tag '${tag}'.`);
    }
  }

  #for(): Statement {
    const target = this.#target();
    if (target.type === 'name' && target.name === 'loop') {
      this.#fail("can't assign to special loop variable in for-loop target");
    }
    this.#expect('name', 'in');
    const items = this.#tuple(false);
    const test = this.#skip('name', 'if') ? this.#expression() : undefined;
    const isRecursive = this.#skip('name', 'recursive');
    this.#loops++;
    const body = this.#body('endfor', 'else');
    this.#loops--;
    const otherwise = this.#next().text === 'else' ? this.#bodyTo('endfor') : [];
    return { type: 'for', target, items, test, isRecursive, body, otherwise };
  }

  #if(): Statement {
    const branches: Branch[] = [];
    for (;;) {
      const test = this.#tuple(false);
      branches.push({ test, body: this.#body('elif', 'else', 'endif') });
      const { text } = this.#next();
      if (text === 'elif') continue;
      return { type: 'if', branches, otherwise: text === 'else' ? this.#bodyTo('endif') : [] };
    }
  }

  #set(): Statement {
    const target = this.#target(true);
    if (this.#skip('operator', '=')) return { type: 'set', target, value: this.#tuple() };
    return { type: 'set block', target, filters: this.#filters(), body: this.#bodyTo('endset') };
  }

  #with(): Statement {
    const values: [Target, Expression][] = [];
    while (this.#current.kind !== 'end of statement block') {
      if (values.length > 0) this.#expect('operator', ',');
      const target = this.#target();
      this.#expect('operator', '=');
      values.push([target, this.#expression()]);
    }
    return { type: 'with', values, body: this.#bodyTo('endwith') };
  }

  #call(): Statement {
    let call: Expression | undefined;
    const caller = this.#macro('caller', 'endcall', () => {
      const parameters = this.#is('operator', '(') ? this.#parameters() : [];
      call = this.#expression();
      return parameters;
    });
    if (call?.type !== 'call') return this.#fail('expected call');
    return { type: 'call', caller, call };
  }

  #print(): Statement[] {
    const values: Statement[] = [];
    while (this.#current.kind !== 'end of statement block') {
      if (values.length > 0) this.#expect('operator', ',');
      values.push({ type: 'print', value: this.#expression() });
    }
    return values;
  }

  #macro(name: string, end: string, parameters: () => Macro['parameters']): Macro {
    const mentions = new Set<string>();
    this.#mentions.push(mentions);
    const head = parameters();
    const body = this.#outsideLoops(() => this.#bodyTo(end));
    this.#mentions.pop();
    return { name, parameters: head, body, mentions };
  }

  #outsideLoops<T>(work: () => T): T {
    const loops = this.#loops;
    this.#loops = 0;
    const result = work();
    this.#loops = loops;
    return result;
  }

  #parameters(): Macro['parameters'] {
    const parameters: { name: string; default: Expression | undefined }[] = [];
    this.#expect('operator', '(');
    while (!this.#is('operator', ')')) {
      if (parameters.length > 0) this.#expect('operator', ',');
      const { text: name } = this.#expect('name');
      const value = this.#skip('operator', '=') ? this.#expression() : undefined;
      if (value === undefined && parameters.at(-1)?.default !== undefined) {
        this.#fail('non-default argument follows default argument');
      }
      parameters.push({ name, default: value });
    }
    this.#next();
    return parameters;
  }

  /** Parses an assignment target. `fields` allows fields of a namespace. */
  #target(fields = false): Target {
    const items: Target[] = [];
    let isTuple = false;
    while (!this.#isTupleEnd() && !this.#is('name', 'in')) {
      items.push(this.#nested(() => this.#simpleTarget(fields)));
      if (!this.#skip('operator', ',')) break;
      isTuple = true;
    }
    if (isTuple) return { type: 'targets', items };
    return items[0] ?? this.#unexpected('a name');
  }

  #simpleTarget(fields: boolean): Target {
    if (this.#skip('operator', '(')) {
      const target = this.#target(fields);
      this.#expect('operator', ')');
      return target;
    }
    const { text: name } = this.#expect('name');
    if (CONSTANTS.has(name)) this.#fail("can't assign to 'const'");
    if (fields && this.#skip('operator', '.'))
      return { type: 'field', namespace: name, name: this.#expect('name').text };
    return { type: 'name', name };
  }

  // expressions, in order of increasing precedence

  /** Parses one expression, or several separated by commas. */
  #tuple(conditions = true, mayBeEmpty = false): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!this.#isTupleEnd()) {
      items.push(this.#expression(conditions));
      if (!this.#skip('operator', ',')) break;
      isTuple = true;
    }
    if (isTuple) return { type: 'tuple', items };
    if (items[0] !== undefined) return items[0];
    return mayBeEmpty ? { type: 'tuple', items } : this.#unexpected('an expression');
  }

  #isTupleEnd(): boolean {
    const { kind, text } = this.#current;
    if (kind === 'end of print statement' || kind === 'end of statement block') return true;
    return kind === 'operator' && text === ')';
  }

  #expression(conditions = true): Expression {
    return this.#nested(() => (conditions ? this.#condition() : this.#or()));
  }

  #condition(): Expression {
    let value = this.#or();
    while (this.#skip('name', 'if')) {
      const test = this.#or();
      const otherwise = this.#skip('name', 'else') ? this.#nested(() => this.#condition()) : undefined;
      value = { type: 'condition', test, value, otherwise };
    }
    return value;
  }

  #or(): Expression {
    let left = this.#and();
    while (this.#skip('name', 'or')) left = { type: 'or', left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.#skip('name', 'and')) left = { type: 'and', left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    if (this.#skip('name', 'not')) return { type: 'not', value: this.#nested(() => this.#not()) };
    const first = this.#sum();
    const others: Comparison[] = [];
    for (;;) {
      const { kind, text } = this.#current;
      let operator = text;
      if (kind === 'name' && text === 'not' && this.#ahead('name', 'in')) {
        this.#next();
        operator = 'not in';
      } else if (!(kind === 'name' && text === 'in') && !(kind === 'operator' && COMPARISONS.has(text))) break;
      this.#next();
      others.push({ operator, value: this.#sum() });
    }
    return others.length === 0 ? first : { type: 'compare', first, others };
  }

  #sum(): Expression {
    return this.#binary(['+', '-'], () => this.#concat());
  }

  #concat(): Expression {
    const first = this.#product();
    const items = [first];
    while (this.#skip('operator', '~')) items.push(this.#product());
    return items.length === 1 ? first : { type: 'concat', items };
  }

  #product(): Expression {
    return this.#binary(['*', '/', '//', '%'], () => this.#binary(['**'], () => this.#unary()));
  }

  /** Parses left-associative operators of one precedence. */
  #binary(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    for (;;) {
      const { kind, text: operator } = this.#current;
      if (kind !== 'operator' || !operators.includes(operator)) return left;
      this.#next();
      left = { type: 'binary', operator, left, right: operand() };
    }
  }

  #unary(filters = true): Expression {
    let value: Expression;
    if (this.#skip('operator', '-')) value = { type: 'negate', value: this.#nested(() => this.#unary(false)) };
    else if (this.#skip('operator', '+')) value = { type: 'plus', value: this.#nested(() => this.#unary(false)) };
    else value = this.#primary();
    value = this.#postfix(value);
    return filters ? this.#filtered(value) : value;
  }

  #primary(): Expression {
    const { kind, text } = this.#next();
    if (kind === 'name') {
      const constant = CONSTANTS.get(text);
      if (constant !== undefined) return { type: 'constant', value: constant };
      for (const mentions of this.#mentions) mentions.add(text);
      return { type: 'name', name: text };
    }
    if (kind === 'string') return { type: 'constant', value: this.#strings(text) };
    if (kind === 'integer') return { type: 'constant', value: this.#integer(text) };
    if (kind === 'float') return { type: 'float', value: Number(text.replaceAll('_', '')) };
    if (kind === 'operator' && text === '(') {
      const value = this.#tuple(true, true);
      this.#expect('operator', ')');
      return value;
    }
    if (kind === 'operator' && text === '[') return { type: 'list', items: this.#items(']', () => this.#expression()) };
    if (kind === 'operator' && text === '{') {
      const pair = (): [Expression, Expression] => {
        const key = this.#expression();
        this.#expect('operator', ':');
        return [key, this.#expression()];
      };
      return { type: 'dict', items: this.#items('}', pair) };
    }
    this.#at--;
    return this.#unexpected('an expression');
  }

  /** Joins adjacent string literals. */
  #strings(first: string): string {
    const texts = [first];
    while (this.#current.kind === 'string') texts.push(this.#next().text);
    return texts.join('');
  }

  #integer(text: string): number {
    const value = Number(text.replaceAll('_', ''));
    return Number.isSafeInteger(value) ? value : this.#fail('integers beyond 2^53 are not supported');
  }

  /** Parses comma-separated items up to a closing bracket. */
  #items<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.#skip('operator', end)) {
      if (items.length > 0) {
        this.#expect('operator', ',');
        if (this.#skip('operator', end)) break;
      }
      items.push(item());
    }
    return items;
  }

  #postfix(value: Expression): Expression {
    let result = value;
    for (;;) {
      if (this.#skip('operator', '.')) result = this.#attribute(result);
      else if (this.#skip('operator', '[')) result = this.#item(result);
      else if (this.#is('operator', '(')) result = { type: 'call', callee: result, given: this.#arguments() };
      else return result;
    }
  }

  #attribute(value: Expression): Expression {
    const { kind, text } = this.#next();
    if (kind === 'name') return { type: 'attribute', value, name: text };
    if (kind === 'integer') return { type: 'item', value, key: { type: 'constant', value: this.#integer(text) } };
    return this.#fail('expected name or number');
  }

  #item(value: Expression): Expression {
    const keys: Expression[] = [];
    let slice: Slice | undefined;
    while (!this.#skip('operator', ']')) {
      if (keys.length > 0 || slice !== undefined) this.#expect('operator', ',');
      const start = this.#is('operator', ':') ? undefined : this.#expression();
      if (this.#skip('operator', ':')) slice = this.#slice(start);
      else if (start !== undefined) keys.push(start);
    }
    if (slice !== undefined) return { type: 'slice', value, ...slice };
    return { type: 'item', value, key: keys.length === 1 ? (keys[0] as Expression) : { type: 'tuple', items: keys } };
  }

  #slice(start: Expression | undefined): Slice {
    const end = () => {
      const ends = this.#is('operator', ':') || this.#is('operator', ']') || this.#is('operator', ',');
      return ends ? undefined : this.#expression();
    };
    const stop = end();
    return { start, stop, step: this.#skip('operator', ':') ? end() : undefined };
  }

  #arguments(): Arguments {
    const positional: Expression[] = [];
    const named: [string, Expression][] = [];
    let list: Expression | undefined;
    let dict: Expression | undefined;
    this.#expect('operator', '(');
    const ensure = (fits: boolean) => {
      if (!fits) this.#fail('invalid syntax for function call expression');
    };
    this.#items(')', () => {
      if (this.#skip('operator', '*')) {
        ensure(list === undefined && dict === undefined);
        list = this.#expression();
      } else if (this.#skip('operator', '**')) {
        ensure(dict === undefined);
        dict = this.#expression();
      } else if (this.#current.kind === 'name' && this.#ahead('operator', '=')) {
        ensure(dict === undefined);
        const { text: name } = this.#next();
        this.#next();
        named.push([name, this.#expression()]);
      } else {
        ensure(list === undefined && dict === undefined && named.length === 0);
        positional.push(this.#expression());
      }
    });
    return { positional, named, list, dict };
  }

  /** Parses the filters and tests after an expression. */
  #filtered(value: Expression): Expression {
    let result = value;
    for (;;) {
      if (this.#is('operator', '|')) result = { type: 'filter', value: result, filters: this.#filters() };
      else if (this.#skip('name', 'is')) result = this.#test(result);
      else if (this.#is('operator', '(')) result = { type: 'call', callee: result, given: this.#arguments() };
      else return result;
    }
  }

  /** Parses filters. `begun` means that the first filter has no `|` before it. */
  #filters(begun = false): FilterCall[] {
    const filters: FilterCall[] = [];
    for (let follows = begun; follows || this.#skip('operator', '|'); follows = false) {
      const name = this.#dotted();
      filters.push({ name, given: this.#is('operator', '(') ? this.#arguments() : NO_ARGUMENTS });
    }
    return filters;
  }

  #test(value: Expression): Expression {
    const isNegated = this.#skip('name', 'not');
    const name = this.#dotted();
    let given = NO_ARGUMENTS;
    if (this.#is('operator', '(')) given = this.#arguments();
    else if (this.#beginsArgument()) {
      if (this.#is('name', 'is')) this.#fail('You cannot chain multiple tests with is');
      given = { ...NO_ARGUMENTS, positional: [this.#postfix(this.#primary())] };
    }
    const test: Expression = { type: 'test', value, name, given };
    return isNegated ? { type: 'not', value: test } : test;
  }

  /** Tells whether a test has an argument without parentheses. */
  #beginsArgument(): boolean {
    const { kind, text } = this.#current;
    if (kind === 'name') return text !== 'else' && text !== 'or' && text !== 'and';
    if (kind === 'operator') return text === '[' || text === '{';
    return kind === 'string' || kind === 'integer' || kind === 'float';
  }

  #dotted(): string {
    let name = this.#expect('name').text;
    while (this.#skip('operator', '.')) name += `.${this.#expect('name').text}`;
    return name;
  }

  // tokens

  get #current(): Token {
    return this.#tokens[this.#at] as Token;
  }

  /** Returns the current token and advances to the next one. */
  #next(): Token {
    const token = this.#current;
    if (token.kind !== 'end of template') this.#at++;
    return token;
  }

  #is(kind: TokenKind, text: string): boolean {
    return this.#current.kind === kind && this.#current.text === text;
  }

  /** Tells whether the token after the current one has this kind and text. */
  #ahead(kind: TokenKind, text: string): boolean {
    const token = this.#tokens[this.#at + 1];
    return token?.kind === kind && token.text === text;
  }

  #skip(kind: TokenKind, text: string): boolean {
    if (!this.#is(kind, text)) return false;
    this.#at++;
    return true;
  }

  #expect(kind: TokenKind, text?: string): Token {
    if (this.#current.kind === kind && (text === undefined || this.#current.text === text)) return this.#next();
    return this.#unexpected(`token '${text ?? kind}'`);
  }

  #nested<T>(work: () => T): T {
    this.#budget.enter();
    const result = work();
    this.#budget.leave();
    return result;
  }

  #unexpected(wanted: string): never {
    const { kind, text } = this.#current;
    return this.#fail(`expected ${wanted}, got '${kind === 'name' || kind === 'operator' ? text : kind}'`);
  }

  #fail(message: string): never {
    throw new TemplateSyntaxError(`${message} (line ${this.#current.line})`);
  }
}

const NO_ARGUMENTS: Arguments = { positional: [], named: [], list: undefined, dict: undefined };
