import type { DescMethod } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import type { Principal } from '../../completion.ts';
import { GatewayError } from '../../errors.ts';
import { type DoorDependencies, requestIdOf } from '../call.ts';
import { accountOf } from './account.ts';
import { addressKey, setArrival } from './arrival.ts';
import { toConnectError } from './errors.ts';

/** What rpcs ask of those who call them. */
export interface Rights {
  /** Anybody may call it. */
  readonly needsNoKey: (method: DescMethod) => boolean;
  /** Only an administrator may. */
  readonly needsAdmin: (method: DescMethod) => boolean;
  /** It is carried out upstream: only such rpcs are refused when there is too much to do. */
  readonly isCarriedOut: (method: DescMethod) => boolean;
}

/**
 * Let a call in, before its message is read: give it an id, which its answer carries in any case, and learn who calls and whether
 * they may, now.
 */
export function createGate(
  { authenticate, arrive, log }: DoorDependencies,
  { needsNoKey, needsAdmin, isCarriedOut }: Rights,
) {
  return (context: HandlerContext): void | Promise<void> => {
    const { method, requestHeader, responseHeader, values } = context;
    const requestId = requestIdOf(requestHeader.get('x-request-id'));
    responseHeader.set('x-request-id', requestId);
    setArrival(values, { requestId, principal: undefined });
    if (needsNoKey(method)) return;
    try {
      const caller = authenticate((name) => requestHeader.get(name), values.get(addressKey));
      const admitted =
        caller instanceof Promise
          ? caller.then((principal) => admit(principal, requestId, context))
          : admit(caller, requestId, context);
      return admitted?.catch((cause: unknown) => refuse(cause, requestId, context));
    } catch (cause) {
      refuse(cause, requestId, context);
    }
  };

  function admit(
    principal: Principal,
    requestId: string,
    { method, values }: HandlerContext,
  ): undefined | Promise<never> {
    accountOf(values)?.request.notes.authenticated();
    if (needsAdmin(method) && !principal.admin) {
      throw new GatewayError('permission_denied', `${nameOf(method)} needs a key with admin rights`);
    }
    const isRead = isCarriedOut(method) ? arrive(principal) : undefined;
    if (isRead instanceof Promise) return isRead;
    setArrival(values, { requestId, principal, isRead });
  }

  function refuse(cause: unknown, requestId: string, { method, values }: HandlerContext): never {
    const error = GatewayError.from(cause);
    const address = values.get(addressKey);
    // Lines for all that is refused under overload would add to it: those are counted.
    if (error.reason !== 'overloaded') {
      log.info({ request_id: requestId, address, rpc: nameOf(method), outcome: error.reason }, 'refused');
    }
    throw toConnectError(error, { requestId, principal: undefined });
  }
}

function nameOf({ parent, name }: DescMethod): string {
  return `${parent.typeName}/${name}`;
}
