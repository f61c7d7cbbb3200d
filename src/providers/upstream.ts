import type { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type AnswerReader, type Asking, isSuccess, jsonOrText } from './answer-loop.ts';
import { HttpClient, type HttpRequest, type ResponseHeaders } from './http.ts';
import { isObject } from './json-value.ts';
import type { ProviderCall, ProviderOptions } from './provider.ts';
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

/** Requests to one provider: its connections, its keys in turn, and the judge of what it refuses. */
export class Upstream {
  readonly http: HttpClient;
  readonly #provider: string;
  readonly #secrets: readonly string[];
  readonly #onRefusal: ((error: GatewayError) => void) | undefined;
  /** One set of headers a key. */
  readonly #headers: readonly Headers[];
  #turn = 0;

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
    this.#headers = keys.map((key) => ({ ...common, ...variant.headers, ...key, ...Object.fromEntries(own) }));
  }

  /** What the loop over an answer needs: a request for a completion, and how to understand what comes back. */
  ask(path: string, body: string, call: ProviderCall, reader: AnswerReader): Asking {
    return {
      http: this.http,
      provider: this.#provider,
      request: this.post(path, body, call),
      reader,
      refusal: (status, headers, answer) => this.refusal(call.model, status, headers, answer),
    };
  }

  /** The request of a call, under the next key. */
  post(path: string, body: string, { requestId, signal, onResponse }: ProviderCall): HttpRequest {
    return {
      method: 'POST',
      path,
      headers: { ...this.#nextHeaders(), 'x-request-id': requestId },
      body,
      signal,
      onHeaders: (headers) => onResponse?.({ requestId: requestIdIn(headers) }),
    };
  }

  get(path: string, signal: StopSignal): HttpRequest {
    return { method: 'GET', path, headers: this.#nextHeaders(), signal };
  }

  /** Send a request, and read the JSON that answers it, whole; text that is none is handed over as it is. */
  async fetch(request: HttpRequest, model?: string): Promise<unknown> {
    const { status, headers, body } = await this.http.fetch(request);
    const answer = jsonOrText(body);
    if (!isSuccess(status) || (isObject(answer) && answer.error)) {
      throw this.refusal(model, status, headers, answer);
    }
    return answer;
  }

  /** Judge an answer that is an error, by its status or in spite of it (200). */
  refusal(model: string | undefined, status: number, headers: ResponseHeaders, body: unknown): GatewayError {
    const error = upstreamError({ provider: this.#provider, model, status, headers, body, secrets: this.#secrets });
    this.#onRefusal?.(error);
    return error;
  }

  #nextHeaders(): Headers {
    const headers = this.#headers[this.#turn] ?? {};
    this.#turn = (this.#turn + 1) % this.#headers.length;
    return headers;
  }
}

function bearer(key: string): Headers {
  return { authorization: `Bearer ${key}` };
}

function requestIdIn(headers: ResponseHeaders): string | undefined {
  const id = headers['x-request-id'] ?? headers['request-id'];
  return Array.isArray(id) ? id[0] : id;
}
