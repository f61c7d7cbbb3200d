import type { CallOptions } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext, Completer, Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { pause } from '../stop.ts';
import type { CacheCounts } from '../telemetry/cache-counts.ts';
import { isFinal, packFailure, unpackFailure } from './failure-outcome.ts';
import { idempotencyName } from './key.ts';
import type { OutcomeForm } from './outcome-form.ts';
import type { Claim, OutcomeStore } from './outcome-store.ts';
import type { SingleFlight } from './single-flight.ts';

/** How calls with an idempotency key are carried out. */
export interface IdempotencyOptions<Request, Event> {
  readonly store: OutcomeStore;
  readonly flights: SingleFlight<Event>;
  readonly form: OutcomeForm<Request, Event>;
  /** How long an outcome is kept. */
  readonly ttlMs: number;
  /** How long the store holds a claim that is not renewed. */
  readonly leaseMs: number;
  readonly counts: CacheCounts;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** Whoever waits for another process looks after so long, and then after twice as long each time. */
const FIRST_LOOK_MS = 25;
const LONGEST_LOOK_MS = 1000;

/** What an outcome begins with. */
const ANSWER = 1;
const FAILURE = 2;

/**
 * Give a call that comes again with its idempotency key what became of it the first time.
 *
 * - Known outcomes are answers, and failures that the request itself is to blame for. After any other failure, or when the caller
 *   left, the call may be carried out again.
 * - While it is being carried out it is joined: in this process event by event, elsewhere once it is over.
 * - The outcome is kept before its last event is passed on: a caller who has it, has it for good.
 * - The key with another request is a conflict. Keys of different callers never meet.
 */
export function idempotent<Request extends { readonly options?: CallOptions | undefined }, Event>(
  options: IdempotencyOptions<Request, Event>,
): Layer<Request, Event> {
  const { flights, form, counts } = options;
  return (next) => (request, context) => {
    const key = request.options?.idempotencyKey ?? '';
    if (key === '') return next(request, context);
    const name = idempotencyName(context.principal.name, key);
    const fingerprint = form.fingerprintOf(request);
    const flight = `${name} ${fingerprint}`;
    const tell = (event: Event) => form.tell(event, context.requestId);
    const joined = flights.join(flight, { context, tell });
    if (joined) {
      counts.repeats++;
      context.account.repeated = true;
      return joined;
    }
    const begin = (own: CallContext) => carryOut(options, next, { request, context: own, name, fingerprint });
    return flights.begin(flight, { context, tell }, { begin, see: () => undefined });
  };
}

interface Call<Request> {
  readonly request: Request;
  readonly context: CallContext;
  readonly name: string;
  readonly fingerprint: string;
}

async function* carryOut<Request, Event>(
  options: IdempotencyOptions<Request, Event>,
  next: Completer<Request, Event>,
  call: Call<Request>,
): AsyncGenerator<Event, undefined> {
  const { form, counts, ttlMs, leaseMs } = options;
  const { request, context } = call;
  const claim = await known(options, call);
  if (claim.state === 'known') {
    counts.repeats++;
    Object.assign(context.account, { free: true, repeated: true });
    yield* again(form, claim.outcome);
    return;
  }
  const { lease } = claim;
  const recorder = form.recorder();
  const renewal = setInterval(() => lease.renew(), leaseMs / 3);
  let isSettled = false;
  const settle = (kind: number, outcome: Uint8Array) => {
    isSettled = true;
    return lease.settle(Buffer.concat([new Uint8Array([kind]), outcome]), ttlMs);
  };
  try {
    for await (const event of next(request, context)) {
      const whole = recorder.add(event);
      if (whole) await settle(ANSWER, whole);
      yield event;
    }
  } catch (cause) {
    const error = GatewayError.from(cause);
    if (isFinal(error) && !isSettled) await settle(FAILURE, packFailure(error));
    throw error;
  } finally {
    clearInterval(renewal);
    recorder.end();
    if (!isSettled) lease.release();
  }
}

/** Claim a call, or wait for whoever has claimed it. */
async function known<Request, Event>(
  { store, random }: IdempotencyOptions<Request, Event>,
  { name, fingerprint, context }: Call<Request>,
): Promise<Exclude<Claim, { state: 'awaited' }>> {
  for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_LOOK_MS)) {
    const claim = await store.claim(name, fingerprint);
    if (context.signal.aborted) {
      if (claim.state === 'claimed') claim.lease.release();
      throw context.signal.reason;
    }
    if (claim.state === 'claimed') return claim;
    if (claim.fingerprint !== fingerprint) {
      const message = 'the idempotency key was used for another request: use a new key for each request';
      const violations = [{ field: 'options.idempotency_key', description: message }];
      throw new GatewayError('idempotency_conflict', message, { violations });
    }
    if (claim.state === 'known') return claim;
    await pause(waitMs * (0.75 + random() / 2), context.signal);
  }
}

function again<Request, Event>(form: OutcomeForm<Request, Event>, outcome: Uint8Array): Iterable<Event> {
  const [kind] = outcome;
  const bytes = outcome.subarray(1);
  if (kind === FAILURE) throw unpackFailure(bytes);
  return form.replay(bytes);
}
