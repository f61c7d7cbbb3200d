/** Counts of calls that were refused because there was too much to do, since the start. */
export class ShedCounts {
  /** Too many were in flight. */
  inFlight = 0;
  /** The event loop was late, or memory was full. */
  overload = 0;

  get total(): number {
    return this.inFlight + this.overload;
  }
}
