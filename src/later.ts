/** Events of an answer that begins only once something else is known. From then on they are handed on as they are. */
export class Later<Event> implements AsyncIterableIterator<Event, undefined> {
  /** The events, once it is known. */
  readonly coming: Promise<AsyncIterable<Event, undefined>>;
  #coming: Promise<AsyncIterator<Event, undefined>> | undefined;
  #come: AsyncIterator<Event, undefined> | undefined;

  constructor(events: Promise<AsyncIterable<Event, undefined>>) {
    this.coming = events;
    // Whoever reads is told; nobody may read.
    events.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Event, undefined>> {
    return this.#come ? this.#come.next() : this.#begin().then((iterator) => iterator.next());
  }

  async return(): Promise<IteratorResult<Event, undefined>> {
    const iterator = await this.#begin().catch(() => undefined);
    await iterator?.return?.();
    return { done: true, value: undefined };
  }

  #begin(): Promise<AsyncIterator<Event, undefined>> {
    this.#coming ??= this.coming.then((iterable) => {
      this.#come = iterable[Symbol.asyncIterator]();
      return this.#come;
    });
    return this.#coming;
  }
}
