import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type Asking, sseFraming, tellStreamed, tellWhole } from './answer-loop.ts';
import { pathBelow } from './http.ts';
import { OpenAIAnswer } from './openai-answer-events.ts';
import { dialectAt, type OpenAIDialect } from './openai-dialect.ts';
import { readEmbeddings, writeEmbeddingBody } from './openai-embeddings.ts';
import { readModels } from './openai-models.ts';
import { writeRequestBody } from './openai-request-body.ts';
import type { ListedModel, Provider, ProviderCall, ProviderOptions } from './provider.ts';
import { Upstream, type UpstreamVariant } from './upstream.ts';

/** How a provider differs from any other OpenAI-compatible one. */
export interface OpenAIVariant extends Pick<UpstreamVariant, 'onRefusal'> {
  /** The default value is that of the base URL. */
  readonly dialect?: OpenAIDialect;
  /** Path of the model list from the root of the host. The default value is `/models` below the base URL. */
  readonly modelsPath?: string;
  /** Whether it has embeddings. The default value is true. */
  readonly embeddings?: boolean;
}

/** Everything that follows OpenAI's chat completions: adding such a provider is configuration only. */
export class OpenAICompatibleProvider implements Provider {
  readonly name: string;
  readonly kind: string;
  readonly defaultModel: string;
  unavailable: string | undefined = undefined;
  readonly #upstream: Upstream;
  readonly #options: ProviderOptions;
  readonly #variant: OpenAIVariant;
  readonly #dialect: OpenAIDialect;
  readonly #paths: { readonly chat: string; readonly embeddings: string; readonly models: string };

  constructor(options: ProviderOptions, variant: OpenAIVariant = {}) {
    const { name, kind, baseUrl, defaultModel } = options;
    this.name = name;
    this.kind = kind;
    this.defaultModel = defaultModel;
    this.#upstream = new Upstream(options, variant);
    this.#options = options;
    this.#variant = variant;
    this.#dialect = variant.dialect ?? dialectAt(baseUrl);
    this.#paths = {
      chat: pathBelow(baseUrl, '/chat/completions'),
      embeddings: pathBelow(baseUrl, '/embeddings'),
      models: variant.modelsPath ?? pathBelow(baseUrl, '/models'),
    };
  }

  complete(request: CompletionRequest, call: ProviderCall): AsyncIterable<CompletionEvent> {
    const ask = () => this.#ask(request, call);
    return call.streaming ? tellStreamed(ask, sseFraming) : tellWhole(ask);
  }

  async *embed(request: EmbeddingRequest, call: ProviderCall): AsyncGenerator<EmbeddingResult> {
    if (this.#variant.embeddings === false) {
      throw new GatewayError('provider_rejected', `${this.name} has no embeddings`, {
        provider: this.name,
        unsupported: true,
      });
    }
    const { body, droppedFields } = writeEmbeddingBody(request, this.name, call.model);
    const answer = await this.#upstream.fetch(this.#upstream.post(this.#paths.embeddings, body, call), call.model);
    const inputs = request.inputs.length;
    yield readEmbeddings(answer, { provider: this.name, model: call.model, inputs, droppedFields });
  }

  async listModels(signal: StopSignal): Promise<readonly ListedModel[]> {
    const answer = await this.#upstream.fetch(this.#upstream.get(this.#paths.models, signal));
    const models = readModels(answer);
    if (models) return models;
    throw new GatewayError('provider_protocol', `${this.name} sent no list of models`, { provider: this.name });
  }

  close(): Promise<void> {
    return this.#upstream.http.close();
  }

  #ask(request: CompletionRequest, call: ProviderCall): Asking {
    const { model, streaming } = call;
    const { dropUnsupported } = this.#options;
    const recipient = { provider: this.name, model, streaming, dialect: this.#dialect, dropUnsupported };
    const { body, droppedFields } = writeRequestBody(request, recipient);
    const audioType = `audio/${request.audioOutput?.format || 'wav'}`;
    return this.#upstream.ask(
      this.#paths.chat,
      body,
      call,
      (refusal) => new OpenAIAnswer({ provider: this.name, model, droppedFields, audioType, refusal }),
    );
  }
}
