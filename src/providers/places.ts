/** Somebody who waits for a place. */
export interface Waiting {
  /** A place is free: it is taken now. */
  begin(): void;
}

/**
 * So many may do something at once; the others wait in a line, in their order, and may leave it.
 *
 * It stands before undici's own line, which nobody can leave: a call that nobody waited for any more would still have a
 * connection made for it.
 */
export class Places {
  readonly #line = new Set<Waiting>();
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  take(waiting: Waiting): void {
    if (this.#free === 0 || this.#line.size > 0) this.#line.add(waiting);
    else this.#begin(waiting);
  }

  /** Give back a place that was taken, or the wish for one. */
  leave(waiting: Waiting): void {
    if (this.#line.delete(waiting)) return;
    this.#free++;
    // Later, since many may be about to leave at once, and none of them shall begin.
    if (this.#line.size > 0) queueMicrotask(() => this.#callNext());
  }

  #callNext(): void {
    const [next] = this.#line;
    if (!next) return;
    this.#line.delete(next);
    this.#begin(next);
  }

  #begin(waiting: Waiting): void {
    this.#free--;
    waiting.begin();
  }
}
