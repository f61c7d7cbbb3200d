import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from '../../../gen/google/rpc/error_details_pb.ts';
import { CallFailureSchema } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { triesIn } from '../../completion.ts';
import { GatewayError, type Reason } from '../../errors.ts';
import { durationOf } from '../../time.ts';
import type { Arrival } from './arrival.ts';

type Detail = { desc: DescMessage; value: MessageInitShape<DescMessage> };

function detail<Desc extends DescMessage>(desc: Desc, value: MessageInitShape<Desc>): Detail {
  return { desc, value };
}

/**
 * Put an error of the gateway into the words of gRPC: the code of its row, google.rpc's details, and the attempts.
 *
 * The core names fields of its request; `fieldPrefix` leads there from the rpc's message.
 */
export function toConnectError(error: GatewayError, { requestId, principal }: Arrival, fieldPrefix = ''): ConnectError {
  const { reason, message, retryAfterMs, provider, attempts, limitOf } = error;
  const details = [...described(error, requestId)];
  if (retryAfterMs !== undefined) details.push(detail(RetryInfoSchema, { retryDelay: durationOf(retryAfterMs) }));
  if (error.violations.length > 0) {
    const fieldViolations = error.violations.map(({ field, description }) => ({
      field: `${fieldPrefix}${field}`,
      description,
    }));
    details.push(detail(BadRequestSchema, { fieldViolations }));
  }
  if (reason === 'rate_limited' || reason === 'budget_exhausted') {
    const subject = limitOf ?? `key:${principal?.name ?? 'anonymous'}`;
    const violations = [{ subject, description: message }];
    details.push(detail(QuotaFailureSchema, { violations }));
  }
  details.push(detail(CallFailureSchema, { reason, attempts: [...attempts], requestId }));
  const metadata = new Headers();
  if (retryAfterMs !== undefined) {
    metadata.set('retry-after', String(Math.ceil(retryAfterMs / 1000)));
    // What gRPC clients read that retry by themselves (A6).
    metadata.set('grpc-retry-pushback-ms', String(Math.ceil(retryAfterMs)));
  }
  if (provider !== undefined) metadata.set('x-selected-provider', provider);
  if (attempts.length > 0) metadata.set('x-gateway-attempts', String(triesIn(attempts)));
  if (reason === 'unauthenticated') metadata.set('www-authenticate', 'Bearer');
  return new ConnectError(message, error.row.code, metadata, details, error);
}

/** What connect-es itself found wrong, in the gateway's words. */
const reasons: Partial<Record<Code, Reason>> = {
  [Code.InvalidArgument]: 'invalid_request',
  [Code.ResourceExhausted]: 'request_too_large',
  [Code.Unimplemented]: 'unsupported_media_type',
  [Code.DeadlineExceeded]: 'deadline_exceeded',
  [Code.Canceled]: 'cancelled',
};

/** Add to an error that connect-es made what the gateway's own ones say. */
export function describeConnectError(error: ConnectError, requestId: string): void {
  if (error.details.length > 0) return;
  error.details.push(...described(new GatewayError(reasons[error.code] ?? 'internal', error.rawMessage), requestId));
}

function described({ reason, provider, providerCode, providerStatus }: GatewayError, requestId: string): Detail[] {
  const metadata = {
    ...(provider !== undefined && { provider }),
    ...(providerCode !== undefined && { provider_code: providerCode }),
    ...(providerStatus !== undefined && { provider_status: String(providerStatus) }),
  };
  return [
    detail(ErrorInfoSchema, { reason: reason.toUpperCase(), domain: 'llmgateway.v1', metadata }),
    detail(RequestInfoSchema, { requestId }),
  ];
}
