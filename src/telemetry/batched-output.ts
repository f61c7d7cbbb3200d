import { write } from 'node:fs';

const FLUSH_EVERY_MS = 200;
const RETRY_AFTER_MS = 50;
/** One write for so many bytes: each goes through another thread and back. */
const BATCH_BYTES = 128 * 1024;

/**
 * Where the log goes: a file descriptor, written in batches.
 *
 * Lines are copied into a buffer at once. Kept as texts until they are written they would cost a busy gateway 9 µs a call, in
 * garbage that lives long enough to be moved.
 *
 * - Nothing waits for longer than 200 ms, as long as the other side reads.
 * - A side that does not read holds up nobody: with one batch on its way and the next one full, lines are dropped and counted.
 * - A side that is gone (EPIPE) ends the output, and nothing else.
 */
export class BatchedOutput {
  readonly #fd: number;
  readonly #timer: NodeJS.Timeout;
  #filling: Buffer = Buffer.allocUnsafe(BATCH_BYTES);
  #filled = 0;
  #spare: Buffer | undefined = Buffer.allocUnsafe(BATCH_BYTES);
  #closed = false;
  #dropped = 0;
  /** Lines that were dropped since the start. */
  lost = 0;
  readonly #whenIdle: (() => void)[] = [];

  constructor(fd: number) {
    this.#fd = fd;
    this.#timer = setInterval(() => this.#send(), FLUSH_EVERY_MS);
    this.#timer.unref();
  }

  /** Take a line, with its end. */
  write(line: string): void {
    if (this.#closed) return;
    // A character takes three bytes at most; where that many are not left, it is worth counting.
    const most = line.length * 3;
    if (this.#filled + most > BATCH_BYTES) this.#send();
    if (this.#filled + most > BATCH_BYTES && this.#filled + Buffer.byteLength(line) > BATCH_BYTES) {
      this.#dropped++;
      this.lost++;
    } else this.#filled += this.#filling.write(line, this.#filled);
  }

  /** Write what there is; resolves once it is written, or cannot be. */
  flush(): Promise<void> {
    this.#send();
    if (this.#spare !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  #send(): void {
    if (this.#spare === undefined || this.#filled === 0) return;
    const batch = this.#filling;
    const size = this.#filled;
    this.#filling = this.#spare;
    this.#filled = 0;
    this.#spare = undefined;
    this.#put(batch, 0, size);
  }

  #put(batch: Buffer, from: number, to: number): void {
    write(this.#fd, batch, from, to - from, null, (error, written) => {
      if (error?.code === 'EAGAIN') setTimeout(() => this.#put(batch, from, to), RETRY_AFTER_MS);
      else if (error) this.#close(batch);
      else if (from + written < to) this.#put(batch, from + written, to);
      else this.#done(batch);
    });
  }

  #done(batch: Buffer): void {
    this.#spare = batch;
    if (this.#dropped > 0) {
      const time = new Date().toISOString();
      const lost = { level: 'warn', time, dropped: this.#dropped, msg: 'log lines were dropped: nobody read them' };
      this.#dropped = 0;
      this.write(`${JSON.stringify(lost)}\n`);
    }
    // Whoever waits for a flush waits for what came meanwhile, too.
    if (this.#whenIdle.length > 0) this.#send();
    if (this.#spare !== undefined) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #close(batch: Buffer): void {
    this.#closed = true;
    this.#filled = 0;
    clearInterval(this.#timer);
    this.#done(batch);
  }
}
