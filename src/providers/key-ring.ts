/** More models than this are not told apart: callers may make names up. */
const MAX_MODELS = 200;

/**
 * The keys of a provider, by their places: used in turn, but one that was refused or is limited rests.
 *
 * Limits are of a key at a model, a refusal is of the key. With one key there is nothing to choose, and it never rests here.
 */
export class KeyRing {
  readonly #count: number;
  readonly #now: () => number;
  /** For each key, until when it rests: for a model, or under the empty name for all. Undefined: no key rests. */
  #rests: Map<string, number>[] | undefined;
  #turn = -1;

  constructor(count: number, now: () => number = () => performance.now()) {
    this.#count = Math.max(1, count);
    this.#now = now;
  }

  /** The next key in turn that does not rest for the model; if all do, the one that has rested longest. */
  next(model: string): number {
    const first = (this.#turn + 1) % this.#count;
    let chosen = first;
    if (this.#rests) {
      let soonestMs = Number.POSITIVE_INFINITY;
      for (let step = 0; step < this.#count && soonestMs > 0; step++) {
        const key = (first + step) % this.#count;
        const restMs = this.#restMs(key, model);
        if (restMs >= soonestMs) continue;
        soonestMs = restMs;
        chosen = key;
      }
    }
    this.#turn = chosen;
    return chosen;
  }

  /** Let a key rest, for one model or (empty) for all; a longer rest stays. */
  rest(key: number, model: string, ms: number): void {
    if (this.#count === 1) return;
    this.#rests ??= Array.from({ length: this.#count }, () => new Map());
    const rests = this.#rests[key];
    if (!rests) return;
    const now = this.#now();
    if (rests.size >= MAX_MODELS) for (const [name, until] of rests) if (until <= now) rests.delete(name);
    if (rests.size >= MAX_MODELS) rests.clear();
    rests.set(model, Math.max(rests.get(model) ?? 0, now + ms));
  }

  /** How long until some key is ready for the model, in milliseconds; 0: one is. */
  readyInMs(model: string): number {
    if (!this.#rests) return 0;
    return Math.min(...this.#rests.map((_, key) => this.#restMs(key, model)));
  }

  #restMs(key: number, model: string): number {
    const rests = this.#rests?.[key];
    return Math.max(0, (rests?.get(model) ?? 0) - this.#now(), (rests?.get('') ?? 0) - this.#now());
  }
}
