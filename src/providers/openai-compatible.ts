import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import { HttpClient, type HttpRequest, pathBelow, type ResponseHeaders, readWhole } from './http.ts';
import { isObject } from './json-value.ts';
import { OpenAIAnswer } from './openai-answer-events.ts';
import { dialectAt, type OpenAIDialect } from './openai-dialect.ts';
import { readEmbeddings, writeEmbeddingBody } from './openai-embeddings.ts';
import { readModels } from './openai-models.ts';
import { writeRequestBody } from './openai-request-body.ts';
import type { ListedModel, Provider, ProviderCall } from './provider.ts';
import { readSse } from './sse.ts';
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
    return call.streaming ? this.#completeStreamed(request, call) : this.#completeWhole(request, call);
  }

  async *#completeWhole(request: CompletionRequest, call: ProviderCall): AsyncGenerator<CompletionEvent> {
    const { answer, body } = this.#prepare(request, call);
    const { status, headers, body: bytes } = await this.http.fetch(this.#post(this.#paths.chat, body, call));
    if (!isSuccess(status)) throw this.#refusal(call.model, status, headers, readBody(bytes));
    answer.readWhole(this.#parse(answer, bytes.toString()));
    answer.end();
    yield* answer.events;
  }

  async *#completeStreamed(request: CompletionRequest, call: ProviderCall): AsyncGenerator<CompletionEvent> {
    const { answer, body: sent } = this.#prepare(request, call);
    const { status, headers, body } = await this.http.stream(this.#post(this.#paths.chat, sent, call));
    try {
      if (!isSuccess(status)) {
        throw this.#refusal(call.model, status, headers, readBody(await readWhole(this.name, body)));
      }
      // Content types lie, in both directions; no line of a stream of events begins like JSON.
      if (beginsAsJson(await body.peek())) {
        answer.readWhole(this.#parse(answer, (await readWhole(this.name, body)).toString()));
      } else {
        let bareText = '';
        const onBareText = (text: string) => {
          bareText = text;
        };
        reading: for await (const events of readSse(body, { provider: this.name, onBareText })) {
          for (const { event, data } of events) {
            if (data.startsWith('[DONE]')) {
              body.release();
              break reading;
            }
            if (data.trim() === '') continue;
            const chunk = this.#parse(answer, data);
            if (event === 'error') throw this.#refusal(call.model, 200, {}, asError(chunk));
            answer.readChunk(chunk);
            for (const told of answer.events) yield told;
            answer.events.length = 0;
          }
        }
        const bare = bareText === '' ? undefined : readBody(Buffer.from(bareText));
        if (isObject(bare) && bare.error) throw this.#refusal(call.model, 200, {}, bare);
      }
      answer.end();
      yield* answer.events;
    } finally {
      await body.return();
    }
  }

  async *embed(request: EmbeddingRequest, call: ProviderCall): AsyncGenerator<EmbeddingResult> {
    if (this.#variant.embeddings === false) {
      throw new GatewayError('provider_rejected', `${this.name} has no embeddings`, { provider: this.name });
    }
    const { body, droppedFields } = writeEmbeddingBody(request, this.name, call.model);
    const { status, headers, body: bytes } = await this.http.fetch(this.#post(this.#paths.embeddings, body, call));
    const answer = readBody(bytes);
    if (!isSuccess(status)) throw this.#refusal(call.model, status, headers, answer);
    if (isObject(answer) && answer.error) throw this.#refusal(call.model, 200, headers, answer);
    const inputs = request.inputs.length;
    yield readEmbeddings(answer, { provider: this.name, model: call.model, inputs, droppedFields });
  }

  async listModels(signal: AbortSignal): Promise<readonly ListedModel[]> {
    const request = { method: 'GET', path: this.#paths.models, headers: this.#nextHeaders(), signal } as const;
    const { status, headers, body: bytes } = await this.http.fetch(request);
    const answer = readBody(bytes);
    if (!isSuccess(status)) throw this.#refusal(undefined, status, headers, answer);
    const models = readModels(answer);
    if (models) return models;
    throw new GatewayError('provider_protocol', `${this.name} sent no list of models`, { provider: this.name });
  }

  close(): Promise<void> {
    return this.http.close();
  }

  #prepare(request: CompletionRequest, { model, streaming }: ProviderCall): { answer: OpenAIAnswer; body: string } {
    const { dropUnsupported } = this.#options;
    const recipient = { provider: this.name, model, streaming, dialect: this.#dialect, dropUnsupported };
    const { body, droppedFields } = writeRequestBody(request, recipient);
    const answer = new OpenAIAnswer({
      provider: this.name,
      model,
      droppedFields,
      audioType: `audio/${request.audioOutput?.format || 'wav'}`,
      refusal: (said) => this.#refusal(model, 200, {}, said),
    });
    return { answer, body };
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

  #parse(answer: OpenAIAnswer, text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw answer.unreadable('the answer is not JSON', cause);
    }
  }

  #refusal(model: string | undefined, status: number, headers: ResponseHeaders, body: unknown): GatewayError {
    const error = upstreamError({ provider: this.name, model, status, headers, body, secrets: this.#options.apiKeys });
    this.#variant.onRefusal?.(error);
    return error;
  }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

function requestIdIn(headers: ResponseHeaders): string | undefined {
  const id = headers['x-request-id'] ?? headers['request-id'];
  return Array.isArray(id) ? id[0] : id;
}

/** A body as JSON, or as the text that it is. */
function readBody(bytes: Buffer): unknown {
  const text = bytes.toString();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function beginsAsJson(bytes: Buffer | undefined): boolean {
  return /^\s*[{[]/.test(bytes?.subarray(0, 64).toString('latin1') ?? '');
}

/** What stands in an event of type `error`: an error with or without `error` around it. */
function asError(data: unknown): unknown {
  return isObject(data) && data.error ? data : { error: data };
}
