import type { ServerResponse } from 'node:http';
import { atEndOfTurn } from '../../end-of-turn.ts';
import { encodingOf, type Headers } from './exchange.ts';

/** Frames that come within one turn of the event loop are joined up to this size. */
const JOIN_LIMIT = 16 * 1024;

/** The headers of a stream of server-sent events; proxies that buffer would undo it. */
export const eventStreamHeaders: Headers = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no',
};

/**
 * Writes server-sent events, and tells when the reader does not keep up.
 *
 * `joining`: frames written in one turn go out as one piece. A burst of chunks from upstream then costs one write instead of
 * dozens.
 */
export class SseWriter {
  readonly #response: ServerResponse;
  readonly #joining: boolean;
  readonly #stallMs: number;
  #waiting = '';
  #scheduled = false;
  #closed = false;
  #resume: (() => void) | undefined;
  /** Whether the reader is behind: then `drained` is to be awaited. */
  behind = false;

  constructor(response: ServerResponse, options: { joining: boolean; stallMs: number }) {
    this.#response = response;
    this.#joining = options.joining;
    this.#stallMs = options.stallMs;
    // Listening only while somebody waits would miss the reader who catches up before: nothing would come after that.
    response.on('drain', () => {
      this.behind = false;
      this.#resume?.();
    });
  }

  write(frames: string): void {
    if (!this.#joining) {
      this.#send(frames);
      return;
    }
    this.#waiting += frames;
    if (this.#waiting.length >= JOIN_LIMIT) this.#flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      atEndOfTurn(this.#flush);
    }
  }

  /** Write the last frames and end the answer. */
  end(frames: string): void {
    const last = this.#waiting + frames;
    this.#waiting = '';
    if (!this.#closed) this.#response.end(last, encodingOf(last));
    this.#closed = true;
  }

  /** The connection is lost: nothing is written any more, and nobody waits. */
  close(): void {
    this.#closed = true;
    this.#resume?.();
  }

  /** Resolves once the reader has caught up or is gone; one that reads nothing for the allowed time is cut. */
  drained(): Promise<void> {
    if (!this.behind || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#response.destroy(), this.#stallMs);
      this.#resume = () => {
        clearTimeout(timer);
        this.#resume = undefined;
        resolve();
      };
    });
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    const frames = this.#waiting;
    if (frames === '') return;
    this.#waiting = '';
    this.#send(frames);
  };

  #send(frames: string): void {
    if (this.#closed) return;
    if (!this.#response.write(frames, encodingOf(frames))) this.behind = true;
  }
}
