import type { LimitStore, Reservation } from '../store/store.ts';

/**
 * Renews what calls hold for as long as they go on.
 *
 * Only what was there a round ago is renewed: most calls are over before that, and cost no more than two entries in a set.
 */
export class Leases {
  readonly #store: LimitStore;
  readonly #timer: NodeJS.Timeout;
  readonly #old = new Set<Reservation>();
  readonly #young = new Set<Reservation>();

  /** Every `roundMs`: a lease must last for more than two rounds. */
  constructor(store: LimitStore, roundMs: number) {
    this.#store = store;
    this.#timer = setInterval(() => this.#renew(), roundMs);
    this.#timer.unref();
  }

  begin(reservation: Reservation): void {
    this.#young.add(reservation);
  }

  end(reservation: Reservation): void {
    if (!this.#young.delete(reservation)) this.#old.delete(reservation);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #renew(): void {
    if (this.#old.size > 0) this.#store.renew([...this.#old]);
    for (const reservation of this.#young) this.#old.add(reservation);
    this.#young.clear();
  }
}
