import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type Asking, type Framing, sseFraming, tellStreamed, tellWhole } from './answer-loop.ts';
import { AnthropicAnswer } from './anthropic-answer-events.ts';
import { readModels } from './anthropic-models.ts';
import { writeRequestBody } from './anthropic-request-body.ts';
import { pathBelow } from './http.ts';
import type { ListedModel, Provider, ProviderCall, ProviderOptions } from './provider.ts';
import { Upstream } from './upstream.ts';

/** The version of the API that is spoken here: https://platform.claude.com/docs/en/api/versioning */
const apiVersion = '2023-06-01';

/** Server-sent events of which the last one has a type of its own. */
const framing: Framing = {
  ...sseFraming,
  isEnd: (data) => data.length < 100 && /^\s*\{\s*"type"\s*:\s*"message_stop"/.test(data),
};

/** Anthropic's Messages API, and whoever serves the same. It has no embeddings. */
export class AnthropicProvider implements Provider {
  readonly name: string;
  readonly kind: string;
  readonly defaultModel: string;
  readonly unavailable: string | undefined = undefined;
  readonly #upstream: Upstream;
  readonly #options: ProviderOptions;
  readonly #paths: { readonly messages: string; readonly models: string };

  constructor(options: ProviderOptions) {
    const { name, kind, baseUrl, defaultModel } = options;
    this.name = name;
    this.kind = kind;
    this.defaultModel = defaultModel;
    this.#upstream = new Upstream(options, {
      authorize: (key) => ({ 'x-api-key': key }),
      headers: { 'anthropic-version': apiVersion },
    });
    this.#options = options;
    this.#paths = { messages: pathBelow(baseUrl, '/messages'), models: pathBelow(baseUrl, '/models') };
  }

  complete(request: CompletionRequest, call: ProviderCall): AsyncIterable<CompletionEvent> {
    const ask = () => this.#ask(request, call);
    return call.streaming ? tellStreamed(ask, framing) : tellWhole(ask);
  }

  // biome-ignore lint/correctness/useYield: it fails before it could
  async *embed(): AsyncGenerator<EmbeddingResult> {
    throw new GatewayError('provider_rejected', `${this.name} has no embeddings`, {
      provider: this.name,
      unsupported: true,
    });
  }

  async listModels(signal: StopSignal): Promise<readonly ListedModel[]> {
    const { models: path } = this.#paths;
    // One page has 20 of them otherwise.
    const request = this.#upstream.get(`${path}${path.includes('?') ? '&' : '?'}limit=1000`, signal);
    const models = readModels(await this.#upstream.fetch(request));
    if (models) return models;
    throw new GatewayError('provider_protocol', `${this.name} sent no list of models`, { provider: this.name });
  }

  close(): Promise<void> {
    return this.#upstream.http.close();
  }

  #ask(request: CompletionRequest, call: ProviderCall): Asking {
    const { model, streaming } = call;
    const { dropUnsupported } = this.#options;
    const { body, droppedFields } = writeRequestBody(request, {
      provider: this.name,
      model,
      streaming,
      dropUnsupported,
    });
    return this.#upstream.ask(
      this.#paths.messages,
      body,
      call,
      (refusal) => new AnthropicAnswer({ provider: this.name, model, droppedFields, refusal }),
    );
  }
}
