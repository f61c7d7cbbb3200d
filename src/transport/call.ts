import type { Logger } from 'pino';
import type { ReloadConfigResponse } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import type { CallContext, Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { newUuid } from '../new-id.ts';
import type { RequestFacts } from '../request-facts.ts';
import { Stop } from '../stop.ts';
import type { CallNotes } from '../telemetry/call-notes.ts';
import type { DoorRequests } from '../telemetry/door-requests.ts';
import type { Insight } from '../telemetry/insight.ts';
import type { AddressOf } from './client-address.ts';

/** Reads a request header by its lower-case name. */
export type HeaderReader = (name: string) => string | null | undefined;

/** What every door is handed. */
export interface DoorDependencies {
  readonly gateway: Gateway;
  /**
   * Tells who calls, from the request's headers, the caller's address and the connection, if it is one that brings one request after
   * the other; throws `unauthenticated`, or `rate_limited` after too many failed tries. In open mode everybody is `anonymous`. A
   * promise where it takes a while.
   */
  readonly authenticate: (header: HeaderReader, address: string, connection?: object) => Principal | Promise<Principal>;
  readonly addressOf: AddressOf;
  /**
   * Lets a call in before anything of its body is read, or throws `overloaded`; returns what is to be done once it has been read,
   * or will not be. A second time that does nothing. A promise rejects with `overloaded` in a while.
   */
  readonly arrive: (principal: Principal) => (() => void) | Promise<never>;
  readonly log: Logger;
  /** The most bytes of a request body, after decompression. */
  readonly bodyLimitBytes: number;
  /** The time a slow reader may leave an answer unread, in milliseconds. */
  readonly writeStallMs: number;
  /** Whether the process has been asked to end. */
  readonly draining: () => boolean;
  /** Have the configuration loaded again. Throws `invalid_request` with all that is wrong if it cannot be used. */
  readonly reload: () => Promise<ReloadConfigResponse>;
  /** Keeps account of requests; unset: nobody does. */
  readonly requests?: DoorRequests;
  /** What those who run the gateway are told; unset: nothing. */
  readonly insight?: Insight;
}

const wellFormedId = /^[A-Za-z0-9._:-]{1,128}$/;

/** The id of a call: the first candidate that is well formed, else a new one. A malformed id is replaced, never an error. */
export function requestIdOf(...candidates: readonly (string | null | undefined)[]): string {
  for (const candidate of candidates) if (candidate && wellFormedId.test(candidate)) return candidate;
  return newUuid();
}

/** What a door knows of a call that begins. */
export interface CallOpening {
  readonly requestId: string;
  readonly principal: Principal;
  readonly address: string;
  readonly door: CallContext['door'];
  readonly streaming: boolean;
  /** What the client's transport allows (`grpc-timeout`, `Connect-Timeout-Ms`), in milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** What has been noted of the request so far. */
  readonly notes?: CallNotes | undefined;
  /** What is known of its request. */
  readonly facts?: RequestFacts | undefined;
  readonly log: Logger;
}

/** A call in flight, as its door holds it. */
export interface OpenCall {
  readonly context: CallContext;
  /** The caller has left: everything below ends, down to the upstream's socket. To be called once the connection is lost. */
  leave(): void;
}

/** Begin a call: the context that travels with it, and the handle by which its door ends it early. */
export function openCall(opening: CallOpening): OpenCall {
  const stop = new Stop();
  const { requestId, principal, address, door, streaming, timeoutMs, notes, facts, log } = opening;
  notes?.understood();
  return {
    context: {
      requestId,
      principal,
      address,
      door,
      streaming,
      notes,
      facts,
      log,
      signal: stop,
      ends: [],
      account: { tries: 0 },
      deadline: timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs,
    },
    leave() {
      stop.abort(new GatewayError('cancelled', 'the caller left'));
    },
  };
}
