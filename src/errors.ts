import { Code } from '@connectrpc/connect';
import type { Attempt } from '../gen/llmgateway/v1/completion_pb.ts';

/** What one kind of failure means, to each kind of reader. */
export interface ErrorRow {
  /** Status on the RPC doors. */
  readonly code: Code;
  /** Status on the REST doors. */
  readonly httpStatus: number;
  /** `error.type` at the OpenAI doors. */
  readonly openaiType: string;
  /** `error.code` at the OpenAI doors. */
  readonly openaiCode: string | null;
  /** Whether another target may be asked before the commit; `larger_window`: only one with a larger or unknown window. */
  readonly elsewhere: 'no' | 'yes' | 'larger_window';
  /** Whether it speaks against the provider; `cools`: not as a failure, but it is left alone for a while. */
  readonly blames: 'no' | 'yes' | 'cools';
}

function row(
  code: Code,
  httpStatus: number,
  openaiType: string,
  openaiCode: string | null = null,
  elsewhere: ErrorRow['elsewhere'] = 'no',
  blames: ErrorRow['blames'] = 'no',
): ErrorRow {
  return { code, httpStatus, openaiType, openaiCode, elsewhere, blames };
}

/**
 * Every way a call can fail. Judged once, where the error is made; everybody later reads the columns.
 *
 * A key that a provider refuses is never shown to the caller as their own 401.
 */
export const errorTable = {
  invalid_request: row(Code.InvalidArgument, 400, 'invalid_request_error'),
  unauthenticated: row(Code.Unauthenticated, 401, 'authentication_error', 'invalid_api_key'),
  permission_denied: row(Code.PermissionDenied, 403, 'permission_error'),
  model_not_found: row(Code.NotFound, 404, 'invalid_request_error', 'model_not_found'),
  not_found: row(Code.NotFound, 404, 'invalid_request_error', 'not_found'),
  method_not_allowed: row(Code.Unimplemented, 405, 'invalid_request_error', 'method_not_allowed'),
  unsupported_media_type: row(Code.Unimplemented, 415, 'invalid_request_error', 'unsupported_media_type'),
  deadline_exceeded: row(Code.DeadlineExceeded, 504, 'timeout_error', 'deadline_exceeded'),
  idempotency_conflict: row(Code.AlreadyExists, 409, 'invalid_request_error', 'idempotency_conflict'),
  request_too_large: row(Code.ResourceExhausted, 413, 'invalid_request_error', 'request_too_large'),
  context_length: row(Code.InvalidArgument, 400, 'invalid_request_error', 'context_length_exceeded', 'larger_window'),
  rate_limited: row(Code.ResourceExhausted, 429, 'rate_limit_error', 'gateway_rate_limit'),
  budget_exhausted: row(Code.ResourceExhausted, 429, 'insufficient_quota', 'insufficient_quota'),
  provider_rate_limited: row(Code.ResourceExhausted, 429, 'rate_limit_error', 'provider_rate_limit', 'yes', 'cools'),
  provider_quota: row(Code.ResourceExhausted, 429, 'rate_limit_error', 'provider_rate_limit', 'yes', 'cools'),
  provider_rejected: row(Code.InvalidArgument, 400, 'invalid_request_error'),
  provider_misconfigured: row(Code.FailedPrecondition, 502, 'api_error', 'provider_auth', 'yes', 'yes'),
  provider_unavailable: row(Code.Unavailable, 503, 'api_error', 'upstream_unavailable', 'yes', 'yes'),
  provider_protocol: row(Code.Unavailable, 502, 'api_error', 'upstream_protocol', 'yes', 'yes'),
  provider_timeout: row(Code.DeadlineExceeded, 504, 'timeout_error', 'provider_timeout', 'yes', 'yes'),
  no_provider_available: row(Code.Unavailable, 503, 'api_error', 'no_provider_available'),
  overloaded: row(Code.Unavailable, 503, 'api_error', 'overloaded'),
  draining: row(Code.Unavailable, 503, 'api_error', 'draining'),
  cancelled: row(Code.Canceled, 499, 'api_error', 'cancelled'),
  internal: row(Code.Internal, 500, 'api_error', 'internal_error'),
} as const satisfies Record<string, ErrorRow>;

/** A word of the error table. */
export type Reason = keyof typeof errorTable;

/** One field of a request that is wrong. */
export interface FieldViolation {
  /** Path of the field in the contract, such as `request.messages[2].role`; doors turn it into their own words. */
  readonly field: string;
  /** What is wrong, with the value and the bound. */
  readonly description: string;
}

/** What may be known of a failure beside its reason and message. */
export interface GatewayErrorOptions {
  /** How long to wait before trying again, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** Name of the provider it concerns. */
  readonly provider?: string | undefined;
  /** The fields that are wrong. */
  readonly violations?: readonly FieldViolation[] | undefined;
  /** The provider's own code, where callers act upon it (`content_filter`). */
  readonly providerCode?: string | undefined;
  /** The status the provider answered with. */
  readonly providerStatus?: number | undefined;
  /** Whose limit it is: `key:NAME`, `user:ID`, `address:IP`, or `global` for that of all callers together. */
  readonly limitOf?: string | undefined;
  /** Methods a 405 names in its Allow header. */
  readonly allow?: readonly string[] | undefined;
  /** Whether the request certainly never reached the provider: no connection could be made. */
  readonly unsent?: boolean | undefined;
  /** Whether the same will happen again until somebody mends it: a certificate that is not trusted. */
  readonly lasting?: boolean | undefined;
  /** Whether the provider cannot take a field of the request, which another one may. */
  readonly unsupported?: boolean | undefined;
  /** Whether it is the gateway's key that the provider refused, and not the model or the address. */
  readonly keyRefused?: boolean | undefined;
  readonly cause?: unknown;
}

/**
 * The one error class: a reason of the table, a message for the caller, and the cause for the log.
 *
 * The message starts in lower case, names the value and the bound, and holds nobody's secrets: it is sent, the cause is not.
 */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly reason: Reason;
  /** The loop that tried several targets sets the soonest. */
  retryAfterMs: number | undefined;
  readonly provider: string | undefined;
  readonly violations: readonly FieldViolation[];
  readonly providerCode: string | undefined;
  readonly providerStatus: number | undefined;
  readonly limitOf: string | undefined;
  readonly allow: readonly string[] | undefined;
  readonly unsent: boolean;
  readonly lasting: boolean;
  readonly unsupported: boolean;
  readonly keyRefused: boolean;
  /** Whether the provider has another key, which does not rest: set by whoever knows the keys. */
  anotherKey = false;
  /** Whether it speaks against nobody after all: the caller left less time than the provider may take. */
  excused = false;
  /** Whether the gateway has given up because retries would make it worse: then the caller shall not retry either. */
  retriesSpent = false;
  /** Every target that was tried or passed over; set by the loop that tried them. */
  attempts: readonly Attempt[] = [];

  constructor(reason: Reason, message: string, options: GatewayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.retryAfterMs = options.retryAfterMs;
    this.provider = options.provider;
    this.violations = options.violations ?? [];
    this.providerCode = options.providerCode;
    this.providerStatus = options.providerStatus;
    this.limitOf = options.limitOf;
    this.allow = options.allow;
    this.unsent = options.unsent ?? false;
    this.lasting = options.lasting ?? false;
    this.unsupported = options.unsupported ?? false;
    this.keyRefused = options.keyRefused ?? false;
  }

  /** The columns of this error's reason. */
  get row(): ErrorRow {
    return errorTable[this.reason];
  }

  /**
   * Convert any value, typically a caught one, into a GatewayError: one that is already passes unchanged, everything else is
   * `internal` with a message that gives nothing away.
   */
  static from(cause: unknown): GatewayError {
    return cause instanceof GatewayError ? cause : new GatewayError('internal', 'internal error', { cause });
  }
}
