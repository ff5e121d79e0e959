import type { Budget } from './budget';
import { typeError } from './errors';
import { areEqual, Callable, Instance, Tuple, Undefined, type Value } from './values';

/** The `loop` variable of a `for` loop. */
export class Loop extends Instance {
  readonly className = 'LoopContext';
  readonly #items: readonly Value[];
  readonly #depth: number;
  readonly #again: ((items: Value) => string) | undefined;
  readonly #budget: Budget;
  #index = -1;
  #changed: Value | undefined;

  /** `again` runs the loop over other items and returns the text; undefined if the loop is not recursive. */
  constructor(items: readonly Value[], depth: number, again: ((items: Value) => string) | undefined, budget: Budget) {
    super();
    this.#items = items;
    this.#depth = depth;
    this.#again = again;
    this.#budget = budget;
  }

  next(): void {
    this.#index++;
  }

  field(name: string): Value | undefined {
    const { length } = this.#items;
    const index = this.#index;
    switch (name) {
      case 'index':
        return index + 1;
      case 'index0':
        return index;
      case 'revindex':
        return length - index;
      case 'revindex0':
        return length - index - 1;
      case 'first':
        return index === 0;
      case 'last':
        return index === length - 1;
      case 'length':
        return length;
      case 'depth':
        return this.#depth + 1;
      case 'depth0':
        return this.#depth;
      case 'previtem':
        return index > 0 ? this.#items[index - 1] : new Undefined('there is no previous item');
      case 'nextitem':
        return index + 1 < length ? this.#items[index + 1] : new Undefined('there is no next item');
      case 'cycle':
        return new Callable(name, (values) =>
          values.length > 0 ? (values[index % values.length] as Value) : typeError('no items for cycling given'),
        );
      case 'changed':
        return new Callable(name, (values) => this.#hasChanged(new Tuple(values)));
      default:
        return undefined;
    }
  }

  override get isCallable(): boolean {
    return true;
  }

  override call([items]: readonly Value[]): Value {
    if (this.#again === undefined) {
      typeError("The loop must have the 'recursive' marker to be called recursively.");
    }
    return items === undefined ? typeError("missing the argument 'iterable'") : this.#again(items);
  }

  #hasChanged(values: Tuple): boolean {
    if (this.#changed !== undefined && areEqual(this.#changed, values, this.#budget)) return false;
    this.#changed = values;
    return true;
  }
}
