/** Interpreter of a template's syntax tree. */

import type { Arguments, Expression, FilterCall, Macro, Statement, Target } from './ast';
import type { Budget } from './budget';
import { type Run, refuse } from './builtin';
import { TemplateError, typeError } from './errors';
import { FILTERS } from './filters';
import { globalsFor, setField } from './globals';
import { Loop } from './loop';
import { methodOf } from './methods';
import { arithmetic, holds, signed, slice } from './operators';
import type { Output } from './output';
import { TESTS } from './tests';
import {
  Callable,
  characters,
  Dict,
  Float,
  Group,
  Instance,
  isList,
  isTrue,
  itemsOf,
  iterate,
  type Named,
  Namespace,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values';
import { repr, str } from './writing';

/** How a statement ended: normally, or by leaving or continuing its loop. */
type Ending = undefined | 'break' | 'continue';

/** A variable scope, nested in its parent. */
class Scope {
  readonly variables = new Map<string, Value>();

  constructor(readonly parent: Scope | undefined) {}

  get(name: string): Value | undefined {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

const NO_VALUES: readonly Value[] = [];
const NO_NAMES: Named = new Map();

/** Renders a template with variables. Throws TemplateError, LimitError. */
export function render(
  body: readonly Statement[],
  variables: ReadonlyMap<string, Value>,
  output: Output,
  budget: Budget,
): void {
  const interpreter = new Interpreter(output, budget);
  const globals = new Scope(undefined);
  for (const [name, value] of globalsFor(interpreter)) globals.variables.set(name, value);
  const scope = new Scope(globals);
  for (const [name, value] of variables) scope.variables.set(name, value);
  interpreter.execute(body, scope);
}

class Interpreter implements Run {
  readonly budget: Budget;
  readonly #output: Output;

  constructor(output: Output, budget: Budget) {
    this.#output = output;
    this.budget = budget;
  }

  // statements

  execute(body: readonly Statement[], scope: Scope): Ending {
    this.budget.enter();
    for (const statement of body) {
      this.budget.step();
      const ending = this.#statement(statement, scope);
      if (ending === undefined) continue;
      this.budget.leave();
      return ending;
    }
    this.budget.leave();
    return undefined;
  }

  #statement(statement: Statement, scope: Scope): Ending {
    switch (statement.type) {
      case 'data':
        this.#output.write(statement.text);
        return undefined;
      case 'print':
        this.#output.write(str(this.evaluate(statement.value, scope), this.budget));
        return undefined;
      case 'if':
        for (const { test, body } of statement.branches) {
          if (isTrue(this.evaluate(test, scope))) return this.execute(body, scope);
        }
        return this.execute(statement.otherwise, scope);
      case 'for':
        return this.#loop(statement, this.evaluate(statement.items, scope), scope, 0);
      case 'break':
      case 'continue':
        return statement.type;
      case 'set':
        this.#assign(statement.target, this.evaluate(statement.value, scope), scope);
        return undefined;
      case 'set block': {
        const text = this.#capture(statement.body, scope);
        this.#assign(statement.target, this.#filtered(text, statement.filters, scope), scope);
        return undefined;
      }
      case 'with': {
        const inner = new Scope(scope);
        for (const [target, value] of statement.values) this.#assign(target, this.evaluate(value, scope), inner);
        return this.execute(statement.body, inner);
      }
      case 'macro':
        scope.variables.set(statement.macro.name, this.#macro(statement.macro, scope));
        return undefined;
      case 'call': {
        const { callee, given } = statement.call;
        const { positional, named } = this.#arguments(given, scope);
        const caller = new Map([...named, ['caller', this.#macro(statement.caller, scope)] as const]);
        this.#output.write(str(this.#call(this.evaluate(callee, scope), positional, caller), this.budget));
        return undefined;
      }
      case 'filter': {
        const text = this.#capture(statement.body, scope);
        this.#output.write(str(this.#filtered(text, statement.filters, scope), this.budget));
        return undefined;
      }
      case 'generation':
        this.#output.generation(() => this.execute(statement.body, new Scope(scope)));
        return undefined;
    }
  }

  #loop(statement: Statement & { readonly type: 'for' }, value: Value, scope: Scope, depth: number): Ending {
    const { target, test, body, isRecursive } = statement;
    let items = iterate(value, this.budget);
    if (test !== undefined) {
      items = items.filter((item) => {
        const inner = new Scope(scope);
        this.#assign(target, item, inner);
        return isTrue(this.evaluate(test, inner));
      });
    }
    if (items.length === 0) return this.execute(statement.otherwise, new Scope(scope));
    const again = (next: Value) => this.#captured(() => this.#loop(statement, next, scope, depth + 1));
    const loop = new Loop(items, depth, isRecursive ? again : undefined, this.budget);
    for (const item of items) {
      this.budget.step();
      loop.next();
      const inner = new Scope(scope);
      inner.variables.set('loop', loop);
      this.#assign(target, item, inner);
      if (this.execute(body, inner) === 'break') break;
    }
    return undefined;
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.type === 'name') scope.variables.set(target.name, value);
    else if (target.type === 'targets') {
      const items = itemsOf(value, this.budget) ?? typeError(`cannot unpack non-iterable ${typeName(value)} object`);
      const wanted = target.items.length;
      if (items.length < wanted) refuse(`not enough values to unpack (expected ${wanted}, got ${items.length})`);
      if (items.length > wanted) refuse(`too many values to unpack (expected ${wanted})`);
      for (const [index, inner] of target.items.entries()) this.#assign(inner, items[index] as Value, scope);
    } else {
      const namespace = scope.get(target.namespace);
      if (namespace instanceof Namespace) setField(namespace, target.name, value);
      else refuse('cannot assign attribute on non-namespace object');
    }
  }

  /** Executes statements and returns what they write. */
  #capture(body: readonly Statement[], scope: Scope): string {
    return this.#captured(() => this.execute(body, new Scope(scope)));
  }

  #captured(work: () => void): string {
    return this.#output.capture(work);
  }

  #macro(macro: Macro, scope: Scope): Callable {
    const { name, parameters, body, mentions } = macro;
    return new Callable(name, (positional, named) => {
      const inner = new Scope(scope);
      const left = new Map(named);
      for (const [index, parameter] of parameters.entries()) {
        const given = index < positional.length ? positional[index] : left.get(parameter.name);
        if (index >= positional.length) left.delete(parameter.name);
        inner.variables.set(parameter.name, given === undefined ? this.#default(parameter, inner) : given);
      }
      const more = positional.slice(parameters.length);
      if (mentions.has('caller') && !parameters.some((parameter) => parameter.name === 'caller')) {
        inner.variables.set('caller', left.get('caller') ?? new Undefined('No caller defined'));
        left.delete('caller');
      }
      if (mentions.has('kwargs')) inner.variables.set('kwargs', new Dict(left));
      else if (left.size > 0) typeError(`macro '${name}' takes no keyword argument '${[...left.keys()][0]}'`);
      if (mentions.has('varargs')) inner.variables.set('varargs', new Tuple(more));
      else if (more.length > 0) typeError(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
      return this.#captured(() => this.execute(body, inner));
    });
  }

  #default(parameter: Macro['parameters'][number], scope: Scope): Value {
    if (parameter.default !== undefined) return this.evaluate(parameter.default, scope);
    return new Undefined(`parameter '${parameter.name}' was not provided`);
  }

  // expressions

  evaluate(node: Expression, scope: Scope): Value {
    this.budget.step();
    switch (node.type) {
      case 'constant':
        return node.value;
      case 'float':
        return new Float(node.value);
      case 'name':
        return this.#variable(node.name, scope);
      default: {
        this.budget.enter();
        const value = this.#compound(node, scope);
        this.budget.leave();
        return value;
      }
    }
  }

  #variable(name: string, scope: Scope): Value {
    const value = scope.get(name);
    return value === undefined ? new Undefined(`'${name}' is undefined`) : value;
  }

  #compound(node: Exclude<Expression, { readonly type: 'constant' | 'float' | 'name' }>, scope: Scope): Value {
    switch (node.type) {
      case 'list':
        return this.#all(node.items, scope);
      case 'tuple':
        return new Tuple(this.#all(node.items, scope));
      case 'dict':
        this.budget.list(node.items.length);
        return new Dict(node.items.map(([key, value]) => [this.evaluate(key, scope), this.evaluate(value, scope)]));
      case 'concat': {
        const texts = node.items.map((item) => str(this.evaluate(item, scope), this.budget));
        this.budget.join(texts.reduce((sum, { length }) => sum + length, 0));
        return texts.reduce((whole, text) => whole + text);
      }
      case 'and': {
        const left = this.evaluate(node.left, scope);
        return isTrue(left) ? this.evaluate(node.right, scope) : left;
      }
      case 'or': {
        const left = this.evaluate(node.left, scope);
        return isTrue(left) ? left : this.evaluate(node.right, scope);
      }
      case 'not':
        return !isTrue(this.evaluate(node.value, scope));
      case 'negate':
        return signed(this.evaluate(node.value, scope), -1);
      case 'plus':
        return signed(this.evaluate(node.value, scope), 1);
      case 'binary': {
        const left = this.evaluate(node.left, scope);
        return arithmetic(node.operator, left, this.evaluate(node.right, scope), this.budget);
      }
      case 'compare': {
        let left = this.evaluate(node.first, scope);
        for (const { operator, value } of node.others) {
          const right = this.evaluate(value, scope);
          if (!holds(operator, left, right, this.budget)) return false;
          left = right;
        }
        return true;
      }
      case 'condition':
        if (isTrue(this.evaluate(node.test, scope))) return this.evaluate(node.value, scope);
        if (node.otherwise !== undefined) return this.evaluate(node.otherwise, scope);
        return new Undefined('the inline if-expression evaluated to false and no else section was defined.');
      case 'attribute':
        return this.attribute(this.evaluate(node.value, scope), node.name);
      case 'item':
        return this.item(this.evaluate(node.value, scope), this.evaluate(node.key, scope));
      case 'slice': {
        const bound = (part: Expression | undefined) => (part === undefined ? null : this.evaluate(part, scope));
        const value = this.evaluate(node.value, scope);
        if (value instanceof Undefined) throw new TemplateError(value.message);
        const bounds = { start: bound(node.start), stop: bound(node.stop), step: bound(node.step) };
        return slice(value, bounds, this.budget) ?? typeError(`'${typeName(value)}' object is not subscriptable`);
      }
      case 'call': {
        const callee = this.evaluate(node.callee, scope);
        const { positional, named } = this.#arguments(node.given, scope);
        return this.#call(callee, positional, named);
      }
      case 'filter':
        return this.#filtered(this.evaluate(node.value, scope), node.filters, scope);
      case 'test': {
        const value = this.evaluate(node.value, scope);
        const { positional, named } = this.#arguments(node.given, scope);
        return this.test(node.name, value, positional, named);
      }
    }
  }

  #all(items: readonly Expression[], scope: Scope): Value[] {
    this.budget.list(items.length);
    return items.map((item) => this.evaluate(item, scope));
  }

  #arguments(given: Arguments, scope: Scope): { readonly positional: readonly Value[]; readonly named: Named } {
    const isEmpty = given.positional.length + given.named.length === 0;
    if (isEmpty && given.list === undefined && given.dict === undefined)
      return { positional: NO_VALUES, named: NO_NAMES };
    const positional = given.positional.map((value) => this.evaluate(value, scope));
    const named = new Map<string, Value>();
    for (const [name, value] of given.named) named.set(name, this.evaluate(value, scope));
    if (given.list !== undefined) positional.push(...iterate(this.evaluate(given.list, scope), this.budget));
    if (given.dict !== undefined) {
      const dict = this.evaluate(given.dict, scope);
      if (!(dict instanceof Dict)) typeError(`argument after ** must be a mapping, not ${typeName(dict)}`);
      for (const [name, value] of dict.entries()) {
        if (typeof name !== 'string') typeError('keywords must be strings');
        if (named.has(name)) typeError(`got multiple values for keyword argument '${name}'`);
        named.set(name, value);
      }
    }
    return { positional, named };
  }

  #call(callee: Value, positional: readonly Value[], named: Named): Value {
    if (callee instanceof Callable) return callee.call(positional, named);
    if (callee instanceof Instance) return callee.call(positional);
    if (callee instanceof Undefined) throw new TemplateError(callee.message);
    return typeError(`'${typeName(callee)}' object is not callable`);
  }

  #filtered(value: Value, filters: readonly FilterCall[], scope: Scope): Value {
    let result = value;
    for (const { name, given } of filters) {
      const { positional, named } = this.#arguments(given, scope);
      result = this.filter(name, result, positional, named);
    }
    return result;
  }

  filter(name: string, value: Value, positional: readonly Value[], named: Named): Value {
    this.budget.step();
    const filter = FILTERS.get(name) ?? refuse(`No filter named '${name}'.`);
    return filter(this, value, positional, named);
  }

  test(name: string, value: Value, positional: readonly Value[], named: Named): boolean {
    this.budget.step();
    const test = TESTS.get(name) ?? refuse(`No test named '${name}'.`);
    return isTrue(test(this, value, positional, named));
  }

  attribute(value: Value, name: string): Value {
    return this.#field(value, name) ?? this.#element(value, name) ?? this.#without(value, name);
  }

  item(value: Value, key: Value): Value {
    const element = this.#element(value, key);
    if (element !== undefined) return element;
    return (typeof key === 'string' ? this.#field(value, key) : undefined) ?? this.#without(value, key);
  }

  /** Looks up what Python calls an attribute. */
  #field(value: Value, name: string): Value | undefined {
    if (value instanceof Undefined) throw new TemplateError(value.message);
    if (value instanceof Namespace) return value.fields.get(name);
    if (value instanceof Instance) return value.field(name);
    if (value instanceof Group && (name === 'grouper' || name === 'list')) return value[name];
    const method = methodOf(value, name);
    if (method === undefined) return undefined;
    if (method !== null) return new Callable(name, (positional, named) => method(this, value, positional, named));
    return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
  }

  /** Looks up what Python calls an item. */
  #element(value: Value, key: Value): Value | undefined {
    if (value instanceof Undefined) throw new TemplateError(value.message);
    if (value instanceof Dict) return isHashable(key) ? value.get(key) : undefined;
    if (typeof key !== 'number' && typeof key !== 'boolean') return undefined;
    const index = Number(key);
    if (isList(value)) return value.at(index);
    if (value instanceof Tuple) return value.items.at(index);
    if (value instanceof Range) {
      const place = index < 0 ? index + value.length : index;
      return place >= 0 && place < value.length ? value.at(place) : undefined;
    }
    if (typeof value !== 'string') return undefined;
    this.budget.scan(value.length);
    return characters(value).at(index);
  }

  #without(value: Value, name: Value): Undefined {
    const shown = repr(name, this.budget);
    const what = typeof name === 'string' ? 'attribute' : 'element';
    return new Undefined(`'${typeName(value)} object' has no ${what} ${shown}`);
  }
}

function isHashable(value: Value): boolean {
  return !isList(value) && !(value instanceof Dict);
}
