import type { IncomingMessage } from 'node:http';
import { Code, type ConnectError, type ContextValues, createContextKey } from '@connectrpc/connect';
import { codeToString } from '@connectrpc/connect/protocol-connect';
import type { DoorRequest, DoorRequests } from '../../telemetry/door-requests.ts';

const accountKey = createContextKey<RpcAccount | undefined>(undefined, { description: 'account' });

/** Codes that are the server's failure, by OpenTelemetry's conventions. */
const faults: ReadonlySet<Code> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/** The account of one call of an rpc, which travels with its context. */
export class RpcAccount {
  readonly request: DoorRequest;
  readonly #isGrpc: boolean;
  #code: Code | undefined;

  constructor(request: DoorRequest, isGrpc: boolean) {
    this.request = request;
    this.#isGrpc = isGrpc;
  }

  /** It fails with this. */
  failed({ code }: ConnectError): void {
    this.#code ??= code;
  }

  /** It is over; `left`: because the caller went. */
  end(requestId: string, left: boolean): void {
    const code = this.#code ?? (left ? Code.Canceled : undefined);
    this.request.end({
      requestId,
      status: this.#isGrpc ? grpcWord(code) : code === undefined ? 'ok' : codeToString(code),
      isFault: code !== undefined && faults.has(code),
    });
  }
}

export function accountOf(values: ContextValues): RpcAccount | undefined {
  return values.get(accountKey);
}

export function setAccount(values: ContextValues, account: RpcAccount): void {
  values.set(accountKey, account);
}

/** Open the account of a request. `method` is service and name of the rpc; undefined: there is none. */
export function openAccount(
  requests: DoorRequests,
  { headers }: IncomingMessage,
  method: string | undefined,
  traced: boolean,
): RpcAccount {
  const isGrpc = headers['content-type']?.startsWith('application/grpc') ?? false;
  const request = requests.rpc({
    system: isGrpc ? 'grpc' : 'connectrpc',
    method: method ?? '_OTHER',
    traced: traced && method !== undefined,
    arrivedAt: performance.now(),
    header: (name) => {
      const value = headers[name];
      return Array.isArray(value) ? value[0] : value;
    },
  });
  return new RpcAccount(request, isGrpc);
}

function grpcWord(code: Code | undefined): string {
  if (code === undefined) return 'OK';
  return code === Code.Canceled ? 'CANCELLED' : codeToString(code).toUpperCase();
}
