import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type Asking, sseFraming, tellStreamed, tellWhole } from './answer-loop.ts';
import { GeminiAnswer } from './gemini-answer-events.ts';
import { EmbeddingAnswers, writeEmbeddings } from './gemini-embeddings.ts';
import { modelPath } from './gemini-generations.ts';
import { readModelPage } from './gemini-models.ts';
import { writeRequestBody } from './gemini-request-body.ts';
import { pathBelow } from './http.ts';
import type { ListedModel, Provider, ProviderCall, ProviderOptions } from './provider.ts';
import { Upstream } from './upstream.ts';

/** The most pages of a model list: at a thousand models each, nobody has more. */
const maxPages = 20;

/** Google's Gemini models by their own API, of the version that the base URL ends with. */
export class GeminiProvider implements Provider {
  readonly name: string;
  readonly kind: string;
  readonly defaultModel: string;
  readonly unavailable = undefined;
  readonly #upstream: Upstream;
  readonly #options: ProviderOptions;

  constructor(options: ProviderOptions) {
    this.name = options.name;
    this.kind = options.kind;
    this.defaultModel = options.defaultModel;
    this.#upstream = new Upstream(options, { authorize: (key) => ({ 'x-goog-api-key': key }) });
    this.#options = options;
  }

  complete(request: CompletionRequest, call: ProviderCall): AsyncIterable<CompletionEvent> {
    const ask = () => this.#ask(request, call);
    return call.streaming ? tellStreamed(ask, sseFraming) : tellWhole(ask);
  }

  async *embed(request: EmbeddingRequest, call: ProviderCall): AsyncGenerator<EmbeddingResult> {
    const resource = modelPath(call.model);
    const { batches, droppedFields } = writeEmbeddings(request, this.name, resource.slice(1));
    const answers = new EmbeddingAnswers(call.model, droppedFields);
    // Of several answers, the first one tells that the provider answers.
    const { onResponse: _told, ...later } = call;
    for (const [index, batch] of batches.entries()) {
      const path = this.#path(`${resource}:${batch.method}`);
      const request = this.#upstream.post(path, batch.body, index === 0 ? call : later);
      answers.add(await this.#upstream.fetch(request, call.model), this.name, batch);
    }
    yield answers.result;
  }

  async listModels(signal: StopSignal): Promise<readonly ListedModel[]> {
    const models: ListedModel[] = [];
    let query = 'pageSize=1000';
    for (let pages = 0; pages < maxPages; pages++) {
      const page = readModelPage(await this.#upstream.fetch(this.#upstream.get(this.#path('/models', query), signal)));
      if (!page) {
        throw new GatewayError('provider_protocol', `${this.name} sent no list of models`, { provider: this.name });
      }
      models.push(...page.models);
      if (page.nextPageToken === '') break;
      query = `pageSize=1000&pageToken=${encodeURIComponent(page.nextPageToken)}`;
    }
    return models;
  }

  close(): Promise<void> {
    return this.#upstream.http.close();
  }

  #ask(request: CompletionRequest, call: ProviderCall): Asking {
    const { model, streaming } = call;
    const { dropUnsupported } = this.#options;
    const { body, droppedFields } = writeRequestBody(request, { provider: this.name, model, dropUnsupported });
    // Without `alt=sse` the stream would be one JSON array.
    const path = streaming
      ? this.#path(`${modelPath(model)}:streamGenerateContent`, 'alt=sse')
      : this.#path(`${modelPath(model)}:generateContent`);
    return this.#upstream.ask(
      path,
      body,
      call,
      (refusal) => new GeminiAnswer({ provider: this.name, model, droppedFields, refusal }),
    );
  }

  /** A path below the base URL, whose own query stays. */
  #path(path: string, query = ''): string {
    const below = pathBelow(this.#options.baseUrl, path);
    if (query === '') return below;
    return `${below}${below.includes('?') ? '&' : '?'}${query}`;
  }
}
