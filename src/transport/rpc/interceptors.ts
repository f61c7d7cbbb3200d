import { ConnectError, type Interceptor } from '@connectrpc/connect';
import type { Logger } from 'pino';
import { GatewayError } from '../../errors.ts';
import { type Arrival, arrivalOf } from './arrival.ts';
import { toConnectError } from './errors.ts';

type Request = Parameters<ReturnType<Interceptor>>[0];

/** Turn what services throw, at once or in the middle of a stream, into errors of connect with the gateway's details. */
export function mapErrors(log: Logger): Interceptor {
  return (next) => async (request) => {
    const rethrow = (thrown: unknown): never => {
      throw mapped(thrown, request, log);
    };
    const response = await next(request).catch(rethrow);
    if (!response.stream) return response;
    return { ...response, message: mapIterable(response.message, rethrow) };
  };
}

function mapped(thrown: unknown, { contextValues, method, signal }: Request, log: Logger): ConnectError {
  // Node's own timers and streams throw an AbortError; the signal knows why.
  const cause = signal.aborted && thrown instanceof Error && thrown.name === 'AbortError' ? signal.reason : thrown;
  if (cause instanceof ConnectError) return cause;
  const arrival: Arrival = arrivalOf(contextValues) ?? { requestId: '', principal: undefined };
  if (!(cause instanceof GatewayError)) log.error({ err: cause, request_id: arrival.requestId }, 'an rpc failed');
  return toConnectError(GatewayError.from(cause), arrival, 'request' in method.input.field ? 'request.' : '');
}

/** A generator would do the same for the price of two more promises an event. */
function mapIterable<T>(iterable: AsyncIterable<T>, rethrow: (thrown: unknown) => never): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = iterable[Symbol.asyncIterator]();
      return {
        next: () => iterator.next().catch(rethrow),
        return: async (value) => (await iterator.return?.(value)) ?? { done: true, value },
        throw: async (error) => (await iterator.throw?.(error).catch(rethrow)) ?? { done: true, value: undefined },
      };
    },
  };
}
