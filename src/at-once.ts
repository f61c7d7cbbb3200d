import { Later } from './later.ts';

/**
 * Events of an answer that nobody reads as it comes, brought together.
 *
 * That takes one promise, or none, where each event takes three of them at each layer that looks at it: half of what the layers cost
 * a whole answer. Read one by one they are like any others.
 */
export class AtOnce<Event> implements AsyncIterable<Event, undefined> {
  readonly events: readonly Event[] | Promise<readonly Event[]>;

  constructor(events: readonly Event[] | Promise<readonly Event[]>) {
    this.events = events;
    // Whoever reads is told; nobody may read.
    if (events instanceof Promise) events.catch(() => {});
  }

  /** Whether there is nothing to wait for any more. */
  get isHere(): boolean {
    return !(this.events instanceof Promise);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, undefined> {
    for (const event of await this.events) yield event;
  }
}

/** All events of an answer, to its end. Throws, or rejects, where it fails. */
export function gather<Event>(events: AsyncIterable<Event>): readonly Event[] | Promise<readonly Event[]> {
  if (events instanceof AtOnce) return events.events;
  if (events instanceof Later) return events.coming.then((come) => gather<Event>(come));
  return read(events);
}

async function read<Event>(events: AsyncIterable<Event>): Promise<readonly Event[]> {
  const all: Event[] = [];
  for await (const event of events) all.push(event);
  return all;
}
