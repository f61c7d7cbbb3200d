import type { IncomingMessage } from 'node:http';
import { Code, ConnectError, type ContextValues, createContextValues } from '@connectrpc/connect';
import type { UniversalServerRequest } from '@connectrpc/connect/protocol';
import { type RpcAccount, setAccount } from './account.ts';
import { addressKey, leftKey } from './arrival.ts';

/** A timer set for longer fires at once: such a deadline is none, and the configured ones are shorter anyway. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The headers with the caller's deadline, and the milliseconds of the units they are given in. */
const deadlines: Record<string, Record<string, number>> = {
  'connect-timeout-ms': {},
  'grpc-timeout': { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 },
};

/** A request as connect-es reads it, from a caller at `address`. `left` aborts when the connection is lost before the answer is written whole. */
export function universalRequest(
  request: IncomingMessage,
  address: string,
  left: AbortSignal,
  account: RpcAccount | undefined,
): UniversalServerRequest & { readonly contextValues: ContextValues } {
  const contextValues = createContextValues().set(leftKey, left).set(addressKey, address);
  if (account) setAccount(contextValues, account);
  return {
    httpVersion: request.httpVersion,
    method: request.method ?? '',
    // Only the query is read from it. The host is the client's word, and may be no host at all.
    url: `http://gateway${request.url}`,
    header: headersOf(request),
    body: bodyOf(request),
    signal: left,
    contextValues,
  };
}

/** A body that is not read to its end, because it is too large, must not take the connection with it. */
async function* bodyOf(request: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    yield* request.iterator({ destroyOnReturn: false });
  } catch (cause) {
    throw new ConnectError('the caller left', Code.Canceled, undefined, undefined, cause);
  }
}

function headersOf({ headers }: IncomingMessage): Headers {
  const result = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(':')) continue;
    if (Array.isArray(value)) for (const one of value) result.append(name, one);
    else result.set(name, value);
  }
  for (const [name, unitsMs] of Object.entries(deadlines)) {
    const [, amount, unit = 'm'] = /^(\d+)([HMSmun]?)$/.exec(result.get(name) ?? '') ?? [];
    if (Number(amount) * (unitsMs[unit] ?? 1) > LONGEST_TIMER_MS) result.delete(name);
  }
  return result;
}
