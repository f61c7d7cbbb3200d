import type { Attempt } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CallContext } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { Target } from '../providers/target.ts';
import type { Room } from '../room.ts';
import { Stop } from '../stop.ts';
import { attempt, attemptAtOnce } from './attempt.ts';
import type { Operation } from './operation.ts';
import type { Seat } from './target-guard.ts';

/** An answer that is held back until it is whole may have so many characters or bytes. */
const maxHeld = 16 * 1024 * 1024;
/** The same for what comes before the first content of one that is not. */
const maxBeforeContent = 1024 * 1024;
const RETRY_AFTER_MS = 1000;

/** What a trial is made with. */
export interface TrialOptions<Request, Event> {
  readonly operation: Operation<Request, Event>;
  readonly request: Request;
  readonly context: CallContext;
  /** Whether only the whole answer commits. */
  readonly buffered: boolean;
  /** Where it is held back until then. */
  readonly room: Room;
  /** Whether the trial may be called off though the call goes on. */
  readonly cancellable: boolean;
  /** How long its first content may be waited for, in milliseconds, beside the target's own limits. */
  readonly capMs: number;
}

/** One attempt up to its commit, and then the rest of it. */
export class Trial<Request, Event> {
  readonly target: Target;
  readonly log: Attempt;
  /** What came up to the commit. */
  readonly held: Event[] = [];
  readonly #operation: Operation<Request, Event>;
  readonly #buffered: boolean;
  readonly #room: Room;
  readonly #stop: Stop | undefined;
  /** What comes after the commit; undefined: nothing, as the answer is read at once. */
  readonly rest: AsyncGenerator<Event, undefined> | undefined;
  readonly #atOnce: Promise<readonly Event[]> | undefined;
  /** Whether it has brought content, be it held back. */
  hasSpoken = false;
  #unfollow = () => {};
  #size = 0;
  /** What of it counts against the room. */
  #taken = 0;

  constructor(options: TrialOptions<Request, Event>, target: Target, seat: Seat, log: Attempt) {
    const { operation, request, context, buffered, room, cancellable, capMs } = options;
    this.target = target;
    this.log = log;
    this.#operation = operation;
    this.#buffered = buffered;
    this.#room = room;
    this.#stop = cancellable ? new Stop() : undefined;
    const ownContext = this.#stop ? { ...context, signal: this.#follow(context, this.#stop) } : context;
    const own = { operation, target, request, context: ownContext, seat, log, capMs };
    if (context.streaming) this.rest = attempt(own);
    else this.#atOnce = attemptAtOnce(own);
  }

  /** Read up to the commit. Throws what the attempt throws; then nothing of it has been told. */
  async commit(): Promise<void> {
    if (this.rest === undefined) {
      for (const event of (await this.#atOnce) ?? []) this.#hold(event);
      return;
    }
    try {
      for (;;) {
        const { done, value: event } = await this.rest.next();
        // An attempt without a last event throws.
        if (done || this.#hold(event)) return;
        const bytes = this.#operation.sizeOf(event);
        this.#size += bytes;
        if (this.#size > (this.#buffered ? maxHeld : maxBeforeContent)) await this.#refuse(this.rest);
        if (this.#buffered && !this.#take(bytes)) await this.#giveUp(this.rest);
      }
    } catch (cause) {
      this.#giveBack();
      throw cause;
    }
  }

  /** Keep an event back; tells whether it commits. */
  #hold(event: Event): boolean {
    const { held } = this;
    const operation = this.#operation;
    const commits = operation.commits(event);
    if (commits || this.#buffered || !operation.isEmpty(event, held)) held.push(event);
    if (commits) this.hasSpoken = true;
    return this.#buffered ? operation.isLast(event) : commits;
  }

  /** Call it off: its connection is closed at once. */
  cancel(): void {
    this.#stop?.abort(new GatewayError('cancelled', 'another target was quicker'));
    this.#unfollow();
    this.#giveBack();
    this.rest?.return(undefined).catch(() => {});
  }

  /** The call is over, or goes on elsewhere. */
  async end(): Promise<void> {
    await this.rest?.return(undefined);
    this.#unfollow();
    this.#giveBack();
  }

  #follow({ signal }: CallContext, stop: Stop): Stop {
    const abort = () => stop.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    this.#unfollow = () => signal.removeEventListener('abort', abort);
    return stop;
  }

  #take(bytes: number): boolean {
    if (!this.#room.take(bytes)) return false;
    this.#taken += bytes;
    return true;
  }

  #giveBack(): void {
    this.#room.giveBack(this.#taken);
    this.#taken = 0;
  }

  /** There is no memory to hold back more: nobody's fault but ours. */
  async #giveUp(iterator: AsyncGenerator<Event, undefined>): Promise<never> {
    await iterator.return(undefined);
    const message = 'too many answers are held back until they are whole, and there is no memory for more';
    throw new GatewayError('overloaded', message, { retryAfterMs: RETRY_AFTER_MS });
  }

  async #refuse(iterator: AsyncGenerator<Event, undefined>): Promise<never> {
    const { name: provider } = this.target.provider;
    const message = this.#buffered
      ? `the answer of ${provider} is larger than ${maxHeld} and cannot be held back`
      : `${provider} sent more than ${maxBeforeContent} before any content`;
    const error = new GatewayError('provider_protocol', message, { provider });
    // Thrown into the attempt, whose account tells it then.
    await iterator.throw(error);
    throw error;
  }
}
