import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Attempt, CallFailureSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { errorTable, GatewayError, type GatewayErrorOptions, type Reason } from '../errors.ts';

/** Failures that a call will end with however often it is tried: those of the request itself. */
const finalReasons: ReadonlySet<Reason> = new Set([
  'invalid_request',
  'permission_denied',
  'model_not_found',
  'request_too_large',
  'context_length',
  'provider_rejected',
]);

/** Whether it is no use to try again. */
export function isFinal({ reason }: GatewayError): boolean {
  return finalReasons.has(reason);
}

interface Written extends GatewayErrorOptions {
  readonly reason: Reason;
  readonly message: string;
  /** The attempts, as a CallFailure in Base64. */
  readonly attempts: string;
}

/** A failure as bytes. What caused it stays out: it is for the log of the call that met it. */
export function packFailure(error: GatewayError): Uint8Array {
  const { cause, attempts, name, stack, ...said } = { ...error, message: error.message } as GatewayError;
  return Buffer.from(JSON.stringify({ ...said, attempts: packAttempts(attempts) }));
}

function packAttempts(attempts: readonly Attempt[]): string {
  const failure = {
    $typeName: 'llmgateway.v1.CallFailure' as const,
    reason: '',
    requestId: '',
    attempts: [...attempts],
  };
  return Buffer.from(toBinary(CallFailureSchema, failure)).toString('base64');
}

/** A failure as it was written; throws if the bytes are none. */
export function unpackFailure(bytes: Uint8Array): GatewayError {
  const { reason, message, attempts, ...options } = JSON.parse(Buffer.from(bytes).toString()) as Written;
  if (!Object.hasOwn(errorTable, reason)) throw new TypeError(`there is no failure ${reason}`);
  const error = new GatewayError(reason, message, options);
  error.attempts = fromBinary(CallFailureSchema, Buffer.from(attempts, 'base64')).attempts;
  return error;
}
