import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import { type Asking, isSuccess, jsonOrText, sseFraming, tellStreamed, tellWhole } from './answer-loop.ts';
import { HttpClient, type HttpRequest, pathBelow, type ResponseHeaders } from './http.ts';
import { isObject } from './json-value.ts';
import { OpenAIAnswer } from './openai-answer-events.ts';
import { dialectAt, type OpenAIDialect } from './openai-dialect.ts';
import { readEmbeddings, writeEmbeddingBody } from './openai-embeddings.ts';
import { readModels } from './openai-models.ts';
import { writeRequestBody } from './openai-request-body.ts';
import type { ListedModel, Provider, ProviderCall } from './provider.ts';
import { upstreamError } from './upstream-errors.ts';

/** What an adapter is configured with. */
export interface ProviderOptions {
  readonly name: string;
  readonly kind: string;
  /** The dialect's paths are appended to it; a slash at its end does not matter. */
  readonly baseUrl: string;
  /** Used in turn. Empty: the provider wants none. */
  readonly apiKeys: readonly string[];
  readonly defaultModel: string;
  /** Sent with every request as they are. */
  readonly headers: Readonly<Record<string, string>>;
  readonly dropUnsupported: 'error' | 'drop';
  readonly connectTimeoutMs?: number | undefined;
}

/** How a provider differs from any other OpenAI-compatible one. */
export interface OpenAIVariant {
  /** The default value is that of the base URL. */
  readonly dialect?: OpenAIDialect;
  /** Path of the model list from the root of the host. The default value is `/models` below the base URL. */
  readonly modelsPath?: string;
  /** Whether it has embeddings. The default value is true. */
  readonly embeddings?: boolean;
  /** Told about every refusal. */
  readonly onRefusal?: (error: GatewayError) => void;
}

/** Everything that follows OpenAI's chat completions: adding such a provider is configuration only. */
export class OpenAICompatibleProvider implements Provider {
  readonly name: string;
  readonly kind: string;
  readonly defaultModel: string;
  unavailable: string | undefined = undefined;
  protected readonly http: HttpClient;
  readonly #options: ProviderOptions;
  readonly #variant: OpenAIVariant;
  readonly #dialect: OpenAIDialect;
  readonly #paths: { readonly chat: string; readonly embeddings: string; readonly models: string };
  /** One set of headers a key. */
  readonly #headers: readonly Readonly<Record<string, string>>[];
  #turn = 0;

  constructor(options: ProviderOptions, variant: OpenAIVariant = {}) {
    const { name, kind, baseUrl, defaultModel, apiKeys, headers, connectTimeoutMs } = options;
    this.name = name;
    this.kind = kind;
    this.defaultModel = defaultModel;
    this.http = new HttpClient({ provider: name, baseUrl, connectTimeoutMs });
    this.#options = options;
    this.#variant = variant;
    this.#dialect = variant.dialect ?? dialectAt(baseUrl);
    this.#paths = {
      chat: pathBelow(baseUrl, '/chat/completions'),
      embeddings: pathBelow(baseUrl, '/embeddings'),
      models: variant.modelsPath ?? pathBelow(baseUrl, '/models'),
    };
    const own = Object.entries(headers).map(([header, value]) => [header.toLowerCase(), value]);
    const common = { 'user-agent': 'llm-gateway', accept: 'application/json', 'content-type': 'application/json' };
    const keys = apiKeys.length > 0 ? apiKeys.map((key) => ({ authorization: `Bearer ${key}` })) : [{}];
    this.#headers = keys.map((key) => ({ ...common, ...key, ...Object.fromEntries(own) }));
  }

  complete(request: CompletionRequest, call: ProviderCall): AsyncIterable<CompletionEvent> {
    const ask = () => this.#ask(request, call);
    return call.streaming ? tellStreamed(ask, sseFraming) : tellWhole(ask);
  }

  async *embed(request: EmbeddingRequest, call: ProviderCall): AsyncGenerator<EmbeddingResult> {
    if (this.#variant.embeddings === false) {
      throw new GatewayError('provider_rejected', `${this.name} has no embeddings`, { provider: this.name });
    }
    const { body, droppedFields } = writeEmbeddingBody(request, this.name, call.model);
    const { status, headers, body: bytes } = await this.http.fetch(this.#post(this.#paths.embeddings, body, call));
    const answer = jsonOrText(bytes);
    if (!isSuccess(status)) throw this.#refusal(call.model, status, headers, answer);
    if (isObject(answer) && answer.error) throw this.#refusal(call.model, 200, headers, answer);
    const inputs = request.inputs.length;
    yield readEmbeddings(answer, { provider: this.name, model: call.model, inputs, droppedFields });
  }

  async listModels(signal: AbortSignal): Promise<readonly ListedModel[]> {
    const request = { method: 'GET', path: this.#paths.models, headers: this.#nextHeaders(), signal } as const;
    const { status, headers, body: bytes } = await this.http.fetch(request);
    const answer = jsonOrText(bytes);
    if (!isSuccess(status)) throw this.#refusal(undefined, status, headers, answer);
    const models = readModels(answer);
    if (models) return models;
    throw new GatewayError('provider_protocol', `${this.name} sent no list of models`, { provider: this.name });
  }

  close(): Promise<void> {
    return this.http.close();
  }

  #ask(request: CompletionRequest, call: ProviderCall): Asking {
    const { model, streaming } = call;
    const { dropUnsupported } = this.#options;
    const recipient = { provider: this.name, model, streaming, dialect: this.#dialect, dropUnsupported };
    const { body, droppedFields } = writeRequestBody(request, recipient);
    const reader = new OpenAIAnswer({
      provider: this.name,
      model,
      droppedFields,
      audioType: `audio/${request.audioOutput?.format || 'wav'}`,
      refusal: (said) => this.#refusal(model, 200, {}, said),
    });
    return {
      http: this.http,
      provider: this.name,
      request: this.#post(this.#paths.chat, body, call),
      reader,
      refusal: (status, headers, answer) => this.#refusal(model, status, headers, answer),
    };
  }

  #nextHeaders(): Readonly<Record<string, string>> {
    const headers = this.#headers[this.#turn] ?? {};
    this.#turn = (this.#turn + 1) % this.#headers.length;
    return headers;
  }

  #post(path: string, body: string, { requestId, signal, onResponse }: ProviderCall): HttpRequest {
    return {
      method: 'POST',
      path,
      headers: { ...this.#nextHeaders(), 'x-request-id': requestId },
      body,
      signal,
      onHeaders: (headers) => onResponse?.({ requestId: requestIdIn(headers) }),
    };
  }

  #refusal(model: string | undefined, status: number, headers: ResponseHeaders, body: unknown): GatewayError {
    const error = upstreamError({ provider: this.name, model, status, headers, body, secrets: this.#options.apiKeys });
    this.#variant.onRefusal?.(error);
    return error;
  }
}

function requestIdIn(headers: ResponseHeaders): string | undefined {
  const id = headers['x-request-id'] ?? headers['request-id'];
  return Array.isArray(id) ? id[0] : id;
}
