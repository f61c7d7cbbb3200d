import { GatewayError, type Reason } from '../errors.ts';

const tls = /CERT|^ERR_TLS|^ERR_SSL|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|^EPROTO$/;

/** Codes of connections that were never made: the provider has not seen the request. */
const neverSent = new RegExp(
  `^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$|${tls.source}`,
);

/** What the system says when this process, or the machine, has no descriptor, port or buffer left. */
const OUR_LACK: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']);
const RETRY_AFTER_MS = 1000;

/** What a failed connection means to the caller, in words that name neither address nor port. The cause is for the log. */
export function networkFault(provider: string, cause: Error & { code?: string }, answered: boolean): GatewayError {
  // undici's parser gives its errors no code, and the bytes that it stumbled over, which belong in no log.
  const isUnparsable = cause.name === 'HTTPParserError';
  const code = isUnparsable ? 'HPE' : (cause.code ?? '');
  const [reason, message] = judge(provider, code, answered);
  const unsent = !answered && neverSent.test(code);
  return new GatewayError(reason, message, {
    provider,
    unsent,
    lasting: unsent && tls.test(code),
    ...(reason === 'overloaded' && { retryAfterMs: RETRY_AFTER_MS }),
    cause: isUnparsable ? new Error(cause.message) : cause,
  });
}

function judge(provider: string, code: string, answered: boolean): [Reason, string] {
  if (code === 'ECONNREFUSED') return ['provider_unavailable', `${provider} refused the connection`];
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return ['provider_unavailable', `the host of ${provider} was not found`];
  }
  // The lack is ours, and another provider would meet it too.
  if (OUR_LACK.has(code)) return ['overloaded', `no connection to ${provider} can be opened: the gateway has too many`];
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return ['provider_timeout', `${provider} took no connection in time`];
  if (tls.test(code)) {
    return ['provider_unavailable', `no trusted TLS connection to ${provider} (${code})`];
  }
  if (code === 'UND_ERR_INVALID_ARG') {
    return ['provider_misconfigured', `the key, headers or base URL of ${provider} cannot be sent`];
  }
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' || code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'HPE') {
    return ['provider_protocol', `the answer of ${provider} is not valid HTTP`];
  }
  // An orderly close in the middle of an answer is a truncated answer; a reset is the network's.
  if (answered && code === 'UND_ERR_SOCKET') return ['provider_protocol', `${provider} cut its answer off`];
  if (answered) return ['provider_unavailable', `the connection to ${provider} was lost within its answer`];
  return ['provider_unavailable', `the connection to ${provider} was lost before it answered`];
}
