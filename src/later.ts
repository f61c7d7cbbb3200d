/** Events of an answer that begins only once something else is known. From then on they are handed on as they are. */
export class Later<Event> implements AsyncIterableIterator<Event, undefined> {
  readonly #coming: Promise<AsyncIterator<Event, undefined>>;
  #come: AsyncIterator<Event, undefined> | undefined;

  constructor(events: Promise<AsyncIterable<Event, undefined>>) {
    this.#coming = events.then((iterable) => {
      this.#come = iterable[Symbol.asyncIterator]();
      return this.#come;
    });
    // Whoever reads is told; nobody may read.
    this.#coming.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Event, undefined>> {
    return this.#come ? this.#come.next() : this.#coming.then((iterator) => iterator.next());
  }

  async return(): Promise<IteratorResult<Event, undefined>> {
    const iterator = await this.#coming.catch(() => undefined);
    await iterator?.return?.();
    return { done: true, value: undefined };
  }
}
