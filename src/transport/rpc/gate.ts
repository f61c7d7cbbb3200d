import type { DescMethod } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import { GatewayError } from '../../errors.ts';
import { type DoorDependencies, requestIdOf } from '../call.ts';
import { addressKey, setArrival } from './arrival.ts';
import { toConnectError } from './errors.ts';

/** What rpcs ask of those who call them. */
export interface Rights {
  /** Anybody may call it. */
  readonly needsNoKey: (method: DescMethod) => boolean;
  /** Only an administrator may. */
  readonly needsAdmin: (method: DescMethod) => boolean;
}

/**
 * Let a call in, before its message is read: give it an id, which its answer carries in any case, and learn who calls and whether
 * they may.
 */
export function createGate({ authenticate, log }: DoorDependencies, { needsNoKey, needsAdmin }: Rights) {
  return ({ method, requestHeader, responseHeader, values }: HandlerContext): void => {
    const requestId = requestIdOf(requestHeader.get('x-request-id'));
    responseHeader.set('x-request-id', requestId);
    setArrival(values, { requestId, principal: undefined });
    if (needsNoKey(method)) return;
    const rpc = `${method.parent.typeName}/${method.name}`;
    try {
      const principal = authenticate((name) => requestHeader.get(name));
      if (needsAdmin(method) && !principal.admin) {
        throw new GatewayError('permission_denied', `${rpc} needs a key with admin rights`);
      }
      setArrival(values, { requestId, principal });
    } catch (cause) {
      const error = GatewayError.from(cause);
      log.info({ request_id: requestId, address: values.get(addressKey), rpc, outcome: error.reason }, 'refused');
      throw toConnectError(error, { requestId, principal: undefined });
    }
  };
}
