import { RequestFacts } from '../../request-facts.ts';
import type { ChatRequest } from './openai-request.ts';

/** A body, as it was read. */
export interface ReadBody {
  readonly chat: ChatRequest;
  /** What it has as `request_id`. */
  readonly requestId: unknown;
}

/** A body that came before. */
export interface KnownBody extends ReadBody {
  readonly facts: RequestFacts;
}

interface Entry {
  readonly body: KnownBody;
  readonly size: number;
  wasUsed: boolean;
}

/** A longer body is not kept: reading it is little of what it costs. */
const MOST_BYTES = 16 * 1024;
/** Of all bodies together; what they were read as takes about four times as much, and what is found out about them up to 35 MB. */
const ALL_BYTES = 2 * 1024 * 1024;
const MOST_BODIES = 500;

/**
 * Bodies that come again and again, byte for byte, as they were read the first time.
 *
 * They are kept by all of their bytes, so nothing can be taken for something else. Each call has a request of its own, and what that
 * consists of is frozen, so that no call can change what the next one asks. One that was not used since it was last looked at leaves
 * first (the clock algorithm: F. J. Corbató, "A Paging Experiment with the Multics System", 1968).
 */
export class KnownBodies {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  /** What a body was read as; undefined: it is not known. */
  find(bytes: Buffer): KnownBody | undefined {
    if (this.#entries.size === 0 || !this.mayKeep(bytes)) return undefined;
    const entry = this.#entries.get(bytes.toString('latin1'));
    if (entry === undefined) return undefined;
    entry.wasUsed = true;
    return { ...entry.body, chat: withOwnRequest(entry.body.chat) };
  }

  /** Whether a body is short enough to be kept. */
  mayKeep(bytes: Buffer): boolean {
    return bytes.length <= MOST_BYTES;
  }

  /** Keep what a short body was read as. From then on nobody can change what its request consists of. */
  keep(bytes: Buffer, body: ReadBody): void {
    const size = bytes.length;
    const key = bytes.toString('latin1');
    if (this.#entries.has(key)) return;
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size < MOST_BODIES && this.#bytes + size <= ALL_BYTES) break;
      this.#entries.delete(oldest);
      if (entry.wasUsed) this.#entries.set(oldest, { ...entry, wasUsed: false });
      else this.#bytes -= entry.size;
    }
    const chat = withOwnRequest(body.chat);
    for (const member of Object.values(chat.request)) freeze(member);
    this.#entries.set(key, { body: { ...body, chat, facts: new RequestFacts() }, size, wasUsed: false });
    this.#bytes += size;
  }
}

/** The outermost object of a request is not frozen: a copy of one that is takes ten times as long. */
function withOwnRequest(chat: ChatRequest): ChatRequest {
  return { ...chat, request: { ...chat.request } };
}

/** Freeze an object and all that it consists of, but for bytes, which cannot be. */
function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const member of Object.values(value)) freeze(member);
}
