import type { DescMethod } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import { GatewayError } from '../../errors.ts';
import { type DoorDependencies, requestIdOf } from '../call.ts';
import { setArrival } from './arrival.ts';
import { toConnectError } from './errors.ts';

/**
 * Let a call in, before its message is read: give it an id, which its answer carries in any case, and learn who calls.
 *
 * `needsNoKey` tells the rpcs that anybody may call.
 */
export function createGate({ authenticate, log }: DoorDependencies, needsNoKey: (method: DescMethod) => boolean) {
  return ({ method, requestHeader, responseHeader, values }: HandlerContext): void => {
    const requestId = requestIdOf(requestHeader.get('x-request-id'));
    responseHeader.set('x-request-id', requestId);
    setArrival(values, { requestId, principal: undefined });
    if (needsNoKey(method)) return;
    try {
      setArrival(values, { requestId, principal: authenticate((name) => requestHeader.get(name)) });
    } catch (cause) {
      const error = GatewayError.from(cause);
      log.info(
        { request_id: requestId, rpc: `${method.parent.typeName}/${method.name}`, outcome: error.reason },
        'refused',
      );
      throw toConnectError(error, { requestId, principal: undefined });
    }
  };
}
