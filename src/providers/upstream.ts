import type { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type AnswerReader, type Asking, isSuccess, jsonOrText } from './answer-loop.ts';
import { HttpClient, type HttpRequest, type ResponseHeaders } from './http.ts';
import { isObject } from './json-value.ts';
import { KeyRing } from './key-ring.ts';
import type { ProviderCall, ProviderOptions } from './provider.ts';
import { readRateStanding } from './rate-standing.ts';
import { upstreamError } from './upstream-errors.ts';

type Headers = Readonly<Record<string, string>>;

/** How a dialect differs in what goes with every request. */
export interface UpstreamVariant {
  /** The headers that show a key. The default value is `authorization: Bearer`. */
  readonly authorize?: (key: string) => Headers;
  /** Headers of the dialect; those that are configured go over them. */
  readonly headers?: Headers;
  /** Told about every refusal. */
  readonly onRefusal?: (error: GatewayError) => void;
}

/** A request, and the place of the key that it shows. */
interface KeyedRequest extends HttpRequest {
  readonly key: number;
}

/** How long a key rests, in milliseconds, where the provider does not say. */
const rests = { provider_rate_limited: 1_000, provider_quota: 60_000, provider_misconfigured: 60_000 } as const;

/** Requests to one provider: its connections, its keys in turn, and the judge of what it refuses. */
export class Upstream {
  readonly http: HttpClient;
  readonly #provider: string;
  readonly #secrets: readonly string[];
  readonly #onRefusal: ((error: GatewayError) => void) | undefined;
  /** One set of headers a key. */
  readonly #headers: readonly Headers[];
  readonly #keys: KeyRing;

  constructor(options: ProviderOptions, variant: UpstreamVariant = {}) {
    const { name, apiKeys, headers } = options;
    const { authorize = bearer, onRefusal } = variant;
    this.http = new HttpClient({ ...options, provider: name });
    this.#provider = name;
    this.#secrets = apiKeys;
    this.#onRefusal = onRefusal;
    const own = Object.entries(headers).map(([header, value]) => [header.toLowerCase(), value]);
    const common = { 'user-agent': 'llm-gateway', accept: 'application/json', 'content-type': 'application/json' };
    const keys = apiKeys.length > 0 ? apiKeys.map(authorize) : [{}];
    this.#keys = new KeyRing(keys.length);
    this.#headers = keys.map((key) => ({ ...common, ...variant.headers, ...key, ...Object.fromEntries(own) }));
  }

  /**
   * What the loop over an answer needs: a request for a completion, and how to understand what comes back.
   *
   * `readerWith` makes the reader of the answer; it is handed the judge of an error that comes within it.
   */
  ask(
    path: string,
    body: string,
    call: ProviderCall,
    readerWith: (refusal: (said: unknown) => GatewayError) => AnswerReader,
  ): Asking {
    const request = this.post(path, body, call);
    return {
      http: this.http,
      provider: this.#provider,
      request,
      reader: readerWith((said) => this.refusal(call.model, 200, {}, said, request.key)),
      refusal: (status, headers, answer) => this.refusal(call.model, status, headers, answer, request.key),
    };
  }

  /** The request of a call, under the next key. */
  post(path: string, body: string, { model, requestId, signal, watch, onResponse }: ProviderCall): KeyedRequest {
    const key = this.#keys.next(model);
    return {
      method: 'POST',
      path,
      headers: { ...this.#headers[key], 'x-request-id': requestId, ...watch?.begin('POST', path) },
      body,
      signal,
      watch,
      key,
      // A refusal says itself how long to wait: its headers tell when a limit is full again.
      onHeaders: (headers, status) =>
        onResponse?.({
          requestId: requestIdIn(headers),
          ...(isSuccess(status) && this.#standing(headers, key, model)),
        }),
    };
  }

  get(path: string, signal: StopSignal): KeyedRequest {
    const key = this.#keys.next('');
    return { method: 'GET', path, headers: this.#headers[key] ?? {}, signal, key };
  }

  /** Send a request, and read the JSON that answers it, whole; text that is none is handed over as it is. */
  async fetch(request: KeyedRequest, model?: string): Promise<unknown> {
    const { status, headers, body } = await this.http.fetch(request);
    const answer = jsonOrText(body);
    if (!isSuccess(status) || (isObject(answer) && answer.error)) {
      throw this.refusal(model, status, headers, answer, request.key);
    }
    return answer;
  }

  /** Judge an answer that is an error, by its status or in spite of it (200). `key` is that of the request, where it is known. */
  refusal(
    model: string | undefined,
    status: number,
    headers: ResponseHeaders,
    body: unknown,
    key?: number,
  ): GatewayError {
    const error = upstreamError({ provider: this.#provider, model, status, headers, body, secrets: this.#secrets });
    if (key !== undefined) this.#rest(key, model ?? '', error);
    this.#onRefusal?.(error);
    return error;
  }

  /** Let a key rest that was refused or is limited, and note in the error whether there is another. */
  #rest(key: number, model: string, error: GatewayError): void {
    const { reason, retryAfterMs, keyRefused, providerStatus } = error;
    // Of what is misconfigured only the key may be better elsewhere, or what a key may do with a model.
    const isOfKey = reason !== 'provider_misconfigured' || keyRefused || providerStatus === 403;
    if (this.#headers.length === 1 || !isOfKey || !(reason in rests)) return;
    this.#keys.rest(key, keyRefused ? '' : model, retryAfterMs ?? rests[reason as keyof typeof rests]);
    const readyInMs = this.#keys.readyInMs(model);
    error.anotherKey = readyInMs === 0;
    if (reason !== 'provider_misconfigured' && readyInMs > 0) error.retryAfterMs = readyInMs;
  }

  /** What the headers of an answer say of the provider's limits, as far as no other key can take the next call. */
  #standing(headers: ResponseHeaders, key: number, model: string) {
    const standing = readRateStanding(headers);
    if (standing?.exhaustedMs === undefined || this.#headers.length === 1) return standing;
    this.#keys.rest(key, model, standing.exhaustedMs);
    return { remaining: standing.remaining, exhaustedMs: this.#keys.readyInMs(model) || undefined };
  }
}

function bearer(key: string): Headers {
  return { authorization: `Bearer ${key}` };
}

function requestIdIn(headers: ResponseHeaders): string | undefined {
  const id = headers['x-request-id'] ?? headers['request-id'];
  return Array.isArray(id) ? id[0] : id;
}
