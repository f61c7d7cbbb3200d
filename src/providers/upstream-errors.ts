import { GatewayError, type Reason } from '../errors.ts';
import { isObject, textOf } from './json-value.ts';
import { readRetryAfter } from './retry-after.ts';

/** A provider's refusal: an answer with an error status, or an error inside an answer with status 200. */
export interface UpstreamRefusal {
  readonly provider: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The body: JSON that was read, or text that is none. */
  readonly body: unknown;
  /** The model that was asked. */
  readonly model?: string | undefined;
  /** The provider's keys: never repeated, even where the provider does. */
  readonly secrets: readonly string[];
}

/** What an error body says, in whichever of the shapes that are about. */
interface Complaint {
  readonly code: string;
  readonly type: string;
  /** Google's word of status. */
  readonly word: string;
  readonly message: string;
  /** The HTTP status that an error under 200 stands for. */
  readonly innerStatus: number | undefined;
  readonly details: readonly Record<string, unknown>[];
}

const maxMessage = 2_000;

/** Judge a refusal, once and for everybody: which row of the error table, how long to wait, and what the caller may read. */
export function upstreamError(refusal: UpstreamRefusal): GatewayError {
  const { provider, headers, secrets } = refusal;
  const complaint = readComplaint(refusal.body);
  const status = refusal.status === 200 ? (complaint.innerStatus ?? 0) : refusal.status;
  const reason = judge(status, complaint);
  const said = redact(complaint.message, secrets).slice(0, maxMessage);
  const mayWait =
    reason === 'provider_rate_limited' || reason === 'provider_quota' || reason === 'provider_unavailable';
  const waitHeaders = waitingStatuses.has(refusal.status) ? headers : {};
  return new GatewayError(reason, messageFor(reason, status, refusal, complaint, said), {
    provider,
    providerStatus: refusal.status,
    providerCode: complaint.code || complaint.word || undefined,
    keyRefused:
      reason === 'provider_misconfigured' && (status === 401 || isKeyRefusal(complaint.message, complaint.details)),
    retryAfterMs: mayWait ? readRetryAfter(waitHeaders, complaint.message, complaint.details) : undefined,
    cause: new Error(`${provider} answered ${refusal.status}: ${said}`),
  });
}

/** With these a wait in the headers is meant. Anthropic sends `retry-after` with answers, too, where it means nothing. */
const waitingStatuses: ReadonlySet<number> = new Set([429, 503, 529]);

const contextWords =
  /context_length_exceeded|tokens_limit_reached|too_many_prompt_tokens|prompt is too long|exceeds the maximum number of tokens|maximum context length|exceeded max context length|exceeds the context window|(exceeds|longer than) the context length|exceeds the maximum.*tokens?|input token count .* exceeds/i;
const goneWords =
  /model_not_found|model_decommissioned|unknown_model|DeploymentNotFound|model.*(not found|does not exist|has been deprecated)|not found for API version/i;

const spentWords = /credit balance|reached your specified API usage limits/i;

/** Groq's codes, and Gemini's finish reasons. */
const modelFaults = new Set([
  'tool_use_failed',
  'json_validate_failed',
  'MALFORMED_FUNCTION_CALL',
  'UNEXPECTED_TOOL_CALL',
  'MALFORMED_RESPONSE',
]);

/** The order matters: the same status and even the same code mean different things at different providers. */
function judge(status: number, { code, type, word, message, details }: Complaint): Reason {
  const text = `${code} ${type} ${word} ${message}`;
  // The model wrote what its own provider could not use: another try may do.
  if (modelFaults.has(code)) return 'provider_protocol';
  if (code === 'content_filter' || code === 'content_policy_violation') return 'provider_rejected';
  // Groq: larger than the limit of a whole minute. Waiting never helps, a model with more room does.
  if (status === 413 && code === 'rate_limit_exceeded') return 'context_length';
  if (status < 500 && status !== 429 && contextWords.test(text)) return 'context_length';
  if (status === 401 || status === 403 || status === 404 || status === 410) return 'provider_misconfigured';
  if (status === 400 && (isKeyRefusal(message, details) || word === 'FAILED_PRECONDITION' || goneWords.test(text))) {
    return 'provider_misconfigured';
  }
  // Anthropic calls an account without money a bad request.
  if (status === 402 || (status === 400 && spentWords.test(message))) return 'provider_quota';
  if (status === 429) return isQuota(code, message, details) ? 'provider_quota' : 'provider_rate_limited';
  if (status === 408) return 'provider_timeout';
  // 498 and 499 are inventions: no capacity left, and a provider that gave up on its own backend.
  if (status === 498 || status === 499) return 'provider_unavailable';
  // A proxy on the way wants credentials: the provider has not even been asked.
  if (status === 407) return 'provider_unavailable';
  if (status >= 300 && status < 400) return 'provider_misconfigured';
  if (status >= 400 && status < 500) return 'provider_rejected';
  return 'provider_unavailable';
}

/** xAI and Gemini call a bad key a bad request. */
function isKeyRefusal(message: string, details: Complaint['details']): boolean {
  return (
    details.some(({ reason }) => reason === 'API_KEY_INVALID') || /incorrect api key|api key not valid/i.test(message)
  );
}

/** Whether a limit is one of a day or a month: no use in trying again soon. */
function isQuota(code: string, message: string, details: Complaint['details']): boolean {
  if (spentCodes.has(code) || spentWords.test(message)) return true;
  const quotas = details.flatMap(({ violations }) => (Array.isArray(violations) ? violations : []));
  if (quotas.some((violation) => /PerDay/i.test(String(violation?.quotaId)))) return true;
  if (details.some(({ metadata }) => isObject(metadata) && /PerDay/i.test(textOf(metadata.quota_limit)))) return true;
  return /\((TPD|RPD)\)|86400s|ByDay/i.test(message);
}

const spentCodes: ReadonlySet<string> = new Set([
  'insufficient_quota',
  'enforced_spend_limit_reached',
  'contract_spend_limit_reached',
]);

function messageFor(
  reason: Reason,
  status: number,
  { provider, model }: UpstreamRefusal,
  complaint: Complaint,
  said: string,
): string {
  switch (reason) {
    case 'provider_rejected':
      return `${provider} rejected the request: ${said || `status ${status}`}`;
    case 'context_length':
      return said || `the request is too long for ${provider}`;
    case 'provider_rate_limited':
      return `${provider} is limiting its rate`;
    case 'provider_quota':
      return `the quota at ${provider} is used up`;
    case 'provider_misconfigured':
      return `${provider} ${misconfigured(status, complaint, model)}`;
    case 'provider_protocol':
      return `${provider} could not use what its model wrote`;
    case 'provider_timeout':
      return `${provider} took too long (status ${status})`;
    default:
      return status === 0 ? `${provider} answered with an error` : `${provider} is not available (status ${status})`;
  }
}

function misconfigured(status: number, { code, word, message }: Complaint, model: string | undefined): string {
  if (goneWords.test(`${code} ${message}`)) return `does not know the model ${model ?? ''}`.trimEnd();
  if (status === 404) return 'has nothing at that address (status 404): its base URL or the model is wrong';
  if (status === 410) return 'has retired what was asked (status 410)';
  if (status >= 300 && status < 400) return `redirects (status ${status}), which is not followed`;
  if (status === 403 || word === 'FAILED_PRECONDITION') return `does not permit this to the gateway (status ${status})`;
  return `refused the gateway's key (status ${status})`;
}

function redact(text: string, secrets: readonly string[]): string {
  return secrets.reduce((clean, secret) => (secret ? clean.replaceAll(secret, '***') : clean), text);
}

/** `{error:{…}}`, an array of that, `{error:"…"}`, `{detail:…}`, `{message:…}`, or a text that is no JSON. */
function readComplaint(body: unknown): Complaint {
  const root = Array.isArray(body) ? body[0] : body;
  const outer = isObject(root) ? root : {};
  const error = isObject(outer.error) ? outer.error : {};
  // Anthropic's details are an object, and have the code.
  const code = error.code ?? (isObject(error.details) ? error.details.error_code : undefined) ?? outer.code ?? '';
  const type = textOf(error.type) || textOf(outer.type);
  return {
    code: String(code),
    type,
    word: textOf(error.status),
    message:
      textOf(error.message) ||
      textOf(outer.error) ||
      readDetail(outer.detail) ||
      textOf(outer.message) ||
      plain(textOf(root)),
    innerStatus: innerStatus(error.status_code ?? code, type),
    details: Array.isArray(error.details) ? error.details.filter(isObject) : [],
  };
}

/** FastAPI says what is wrong as a text, or as a list of what and where. */
function readDetail(detail: unknown): string {
  if (typeof detail === 'string') return detail;
  return detail === undefined ? '' : JSON.stringify(detail);
}

/** A page meant for a browser tells a caller nothing. */
function plain(page: string): string {
  return page.trimStart().startsWith('<') ? '' : page;
}

/** Under status 200 the code may be a status, as number or text, or a word that implies one. */
function innerStatus(code: unknown, type: string): number | undefined {
  const number = Number(code);
  if (Number.isInteger(number) && number >= 100 && number < 600) return number;
  return impliedStatus[String(code)] ?? impliedStatus[type];
}

const impliedStatus: Readonly<Record<string, number>> = {
  rate_limit_exceeded: 429,
  rate_limit_error: 429,
  insufficient_quota: 429,
  overloaded_error: 503,
  server_error: 500,
  api_error: 500,
  timeout_error: 504,
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
};
