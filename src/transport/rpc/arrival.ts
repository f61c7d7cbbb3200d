import { type ContextValues, createContextKey, type HandlerContext } from '@connectrpc/connect';
import type { CallOptions } from '../../../gen/llmgateway/v1/completion_pb.ts';
import type { Principal } from '../../completion.ts';
import { type DoorDependencies, type OpenCall, openCall, requestIdOf } from '../call.ts';
import { limitHeaders } from '../limit-headers.ts';
import { accountOf } from './account.ts';

/** What is known of a call before its message is read. */
export interface Arrival {
  /** From the header, else made; replaced when the message brings one and the header did not. */
  requestId: string;
  /** Unset on the few rpcs that need no key. */
  readonly principal: Principal | undefined;
  /** To be done once the message has been read, or will not be; only of calls. */
  readonly isRead?: (() => void) | undefined;
}

const arrivalKey = createContextKey<Arrival | undefined>(undefined, { description: 'arrival' });

/** Where the caller is. */
export const addressKey = createContextKey('', { description: 'address of the caller' });

/** Aborts when the connection is lost before the answer is written whole, and only then: connect's own aborts after each call. */
export const leftKey = createContextKey<AbortSignal>(new AbortController().signal, { description: 'caller has left' });

export function setArrival(values: ContextValues, arrival: Arrival): void {
  values.set(arrivalKey, arrival);
}

export function arrivalOf(values: ContextValues): Arrival | undefined {
  return values.get(arrivalKey);
}

/** Who calls; there is always somebody behind the gate. */
export function principalOf(context: HandlerContext): Principal {
  const principal = arrivalOf(context.values)?.principal;
  if (principal === undefined) throw new Error(`${context.method.name} was called without authentication`);
  return principal;
}

/** A call of the core that an rpc has begun. */
export interface BegunCall extends OpenCall {
  /** Say in the headers how the caller's limits stand. To be called before anything is sent; `end` does it, too. */
  tellLimits(): void;
  /** For the `finally` of whoever reads the call. */
  end(): void;
}

/**
 * Begin a call of the core for an rpc, from its metadata and the options in its message.
 *
 * The call is left when the caller is.
 */
export function beginCall(
  context: HandlerContext,
  options: CallOptions | undefined,
  { log }: DoorDependencies,
  streaming: boolean,
): BegunCall {
  const principal = principalOf(context);
  arrivalOf(context.values)?.isRead?.();
  const requestId = requestIdOf(
    context.requestHeader.get('x-request-id'),
    options?.requestId,
    arrivalOf(context.values)?.requestId,
  );
  setArrival(context.values, { principal, requestId });
  context.responseHeader.set('x-request-id', requestId);
  const door = context.protocolName;
  const address = context.values.get(addressKey);
  const notes = accountOf(context.values)?.request.notes;
  const timeoutMs = context.timeoutMs();
  const call = openCall({ requestId, principal, address, door, streaming, timeoutMs, notes, log });
  const left = context.values.get(leftKey);
  const leave = () => call.leave();
  if (left.aborted) leave();
  else left.addEventListener('abort', leave);
  let told = false;
  const tellLimits = () => {
    if (told) return;
    told = true;
    const headers = limitHeaders(call.context.account);
    for (const name in headers) context.responseHeader.set(name, String(headers[name]));
  };
  return {
    ...call,
    tellLimits,
    end() {
      left.removeEventListener('abort', leave);
      tellLimits();
    },
  };
}
