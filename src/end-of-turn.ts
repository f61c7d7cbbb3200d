type Act = () => void;

/** Nothing waits for longer, however much a turn has to do: under overload a turn may take a second. */
const LONGEST_MS = 1;

let waiting: Act[] = [];
let sinceAt = 0;

/**
 * Do something at the end of this turn of the event loop, with all that waits for it, or after a millisecond if the turn is longer.
 * An idle process waits for nobody.
 *
 * - What was read is looked at then. A turn under load reads first from all sockets and then carries out all calls: each finds the
 *   processor's caches full of what the one before needed, and that is a tenth of the CPU of a call (cohort scheduling: J. R. Larus,
 *   M. Parkes, "Using Cohort Scheduling to Enhance Server Performance", USENIX 2002).
 * - Sockets are written then. Each write wakes whoever sleeps at the other end, which takes the processor from us; the ones that
 *   follow at once find it awake. That is a fifth of the CPU of a call. Redis writes its answers in the same way, before it sleeps.
 *
 * What is done must not throw: what follows it would not be done.
 */
export function atEndOfTurn(act: Act): void {
  const now = performance.now();
  if (waiting.push(act) === 1) {
    sinceAt = now;
    setImmediate(doAll);
  } else if (now - sinceAt > LONGEST_MS) doAll();
}

function doAll(): void {
  const acts = waiting;
  waiting = [];
  for (const act of acts) act();
}
