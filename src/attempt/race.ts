import { GatewayError } from '../errors.ts';

/** Somebody who tries to commit, and can be called off. */
export interface Racer {
  commit(): Promise<void>;
  cancel(): void;
}

/** How a race ended: with a winner, or with nobody; those who failed by then, in the order in which they did. */
export interface Race<R extends Racer> {
  readonly winner: R | undefined;
  readonly failures: readonly { readonly racer: R; readonly error: GatewayError }[];
}

/**
 * Hedge: when the first has not committed after the delay, let a second one try beside it. The first to commit wins, the other is
 * called off (Dean and Barroso, The Tail at Scale, 2013).
 *
 * `second` begins the other one if it may; a failure that is final ends the race.
 */
export async function race<R extends Racer>(
  first: R,
  second: () => R | undefined,
  delayMs: number,
  isFinal: (error: GatewayError) => boolean,
): Promise<Race<R>> {
  const failures: { racer: R; error: GatewayError }[] = [];
  const running = new Map<R, Promise<{ racer: R; error?: GatewayError }>>();
  const run = (racer: R) => {
    const ended = racer.commit().then(
      () => ({ racer }),
      (cause: unknown) => ({ racer, error: GatewayError.from(cause) }),
    );
    running.set(racer, ended);
  };
  run(first);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const delay = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), delayMs);
  });
  let ended = await Promise.race([...running.values(), delay]);
  clearTimeout(timer);
  if (ended === undefined) {
    const other = second();
    if (other) run(other);
  }
  for (;;) {
    ended ??= await Promise.race(running.values());
    const { racer, error } = ended;
    running.delete(racer);
    if (error) failures.push({ racer, error });
    if (!error || isFinal(error) || running.size === 0) {
      for (const other of running.keys()) other.cancel();
      return { winner: error ? undefined : racer, failures };
    }
    ended = undefined;
  }
}
