import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type Asking, type Framing, tellStreamed, tellWhole } from './answer-loop.ts';
import { pathBelow } from './http.ts';
import { isObject, textOf } from './json-value.ts';
import { readNdjson } from './ndjson.ts';
import { OllamaAnswer } from './ollama-answer-events.ts';
import { readOllamaEmbeddings, writeOllamaEmbeddingBody } from './ollama-embeddings.ts';
import { writeOllamaBody } from './ollama-request-body.ts';
import type { ListedModel, Provider, ProviderCall, ProviderOptions } from './provider.ts';
import { Upstream } from './upstream.ts';

/** One JSON object a line. A whole answer is a stream of one line. */
const ndjsonFraming: Framing = { frames: readNdjson, isEnd: () => false, jsonIsWhole: false };

/**
 * Ollama, on its native API.
 *
 * A local one is there or it is not: nothing is sent to it until it has been seen. Its cloud, `https://ollama.com`, wants a
 * key, and whoever configures one knows that it is there.
 */
export class OllamaProvider implements Provider {
  readonly name: string;
  readonly kind: string;
  readonly defaultModel: string;
  unavailable: string | undefined;
  readonly #dropUnsupported: 'error' | 'drop';
  readonly #upstream: Upstream;
  readonly #hasKey: boolean;
  readonly #root: string;

  constructor(options: ProviderOptions) {
    this.name = options.name;
    this.kind = options.kind;
    this.defaultModel = options.defaultModel;
    this.#dropUnsupported = options.dropUnsupported;
    this.#upstream = new Upstream(options);
    this.#hasKey = options.apiKeys.length > 0;
    this.unavailable = this.#hasKey ? undefined : 'no Ollama has answered yet';
    // Where its OpenAI path was configured, the native one is beside it.
    this.#root = options.baseUrl.replace(/\/+$/, '').replace(/\/(v1|api)$/, '');
  }

  /** Look whether a local one answers; sets `unavailable`. Never fails. */
  async detect(signal: StopSignal): Promise<void> {
    if (this.#hasKey) return;
    try {
      const { status } = await this.#upstream.http.fetch(this.#upstream.get(this.#path('/api/version'), signal));
      this.unavailable = status === 200 ? undefined : `Ollama answered with status ${status}`;
    } catch {
      this.unavailable = 'no Ollama answers';
    }
  }

  complete(request: CompletionRequest, call: ProviderCall): AsyncIterable<CompletionEvent> {
    const ask = () => this.#ask(request, call);
    return call.streaming ? tellStreamed(ask, ndjsonFraming) : tellWhole(ask);
  }

  async *embed(request: EmbeddingRequest, call: ProviderCall): AsyncGenerator<EmbeddingResult> {
    const { body, droppedFields } = writeOllamaEmbeddingBody(request, this.name, call.model);
    const answer = await this.#upstream.fetch(this.#upstream.post(this.#path('/api/embed'), body, call), call.model);
    const inputs = request.inputs.length;
    yield readOllamaEmbeddings(answer, { provider: this.name, model: call.model, inputs, droppedFields });
  }

  async listModels(signal: StopSignal): Promise<readonly ListedModel[]> {
    const answer = await this.#upstream.fetch(this.#upstream.get(this.#path('/api/tags'), signal));
    if (isObject(answer) && Array.isArray(answer.models)) {
      return answer.models.filter(isObject).flatMap(({ model, name, modified_at }) => {
        const id = textOf(model) || textOf(name);
        return id === '' ? [] : [{ id, created: secondsOf(modified_at) }];
      });
    }
    throw new GatewayError('provider_protocol', `${this.name} sent no list of models`, { provider: this.name });
  }

  close(): Promise<void> {
    return this.#upstream.http.close();
  }

  #path(path: string): string {
    return pathBelow(this.#root, path);
  }

  #ask(request: CompletionRequest, call: ProviderCall): Asking {
    const { model, streaming } = call;
    const { name: provider } = this;
    const recipient = { provider, model, streaming, dropUnsupported: this.#dropUnsupported };
    const { body, droppedFields } = writeOllamaBody(request, recipient);
    return this.#upstream.ask(
      this.#path('/api/chat'),
      body,
      call,
      (refusal) => new OllamaAnswer({ provider, model, droppedFields, refusal }),
    );
  }
}

function secondsOf(time: unknown): number | undefined {
  const ms = Date.parse(textOf(time));
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1_000);
}
