/** One of several that follow each other: what it is, and how to say that somebody uses it no more. */
export interface InUse<Value> {
  readonly value: Value;
  /** To be called once by everybody who took it. */
  readonly release: () => void;
}

interface Held<Value> extends InUse<Value> {
  users: number;
}

/**
 * Something that is replaced while it is used: new users get the newest, and those who have an old one keep it until they are done.
 *
 * Once an old one has no user left it is retired, which is told once, with all that are still in use.
 */
export class Replaceable<Value> {
  readonly #retire: (old: Value, inUse: readonly Value[]) => void;
  readonly #held = new Set<Held<Value>>();
  #newest: Held<Value>;

  constructor(first: Value, retire: (old: Value, inUse: readonly Value[]) => void) {
    this.#retire = retire;
    this.#newest = this.#hold(first);
  }

  /** The newest, for a look that takes no time. */
  get current(): Value {
    return this.#newest.value;
  }

  /** The newest, for as long as it takes. */
  take(): InUse<Value> {
    this.#newest.users++;
    return this.#newest;
  }

  /** Let another be the newest. */
  replace(next: Value): void {
    const old = this.#newest;
    this.#newest = this.#hold(next);
    this.#retireIfUnused(old);
  }

  /** All that are in use, the newest among them. */
  all(): Value[] {
    return [...this.#held].map(({ value }) => value);
  }

  #hold(value: Value): Held<Value> {
    const held: Held<Value> = {
      value,
      users: 0,
      release: () => {
        held.users--;
        this.#retireIfUnused(held);
      },
    };
    this.#held.add(held);
    return held;
  }

  #retireIfUnused(held: Held<Value>): void {
    if (held.users > 0 || held === this.#newest || !this.#held.delete(held)) return;
    this.#retire(held.value, this.all());
  }
}
