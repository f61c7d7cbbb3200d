/** Memory that many share: a bound over all of them, where each is bound by what it is worth only. */
export class Room {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** How many bytes are taken. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Take so many bytes more, if there are. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#maxBytes) return false;
    this.#bytes += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes;
  }
}
