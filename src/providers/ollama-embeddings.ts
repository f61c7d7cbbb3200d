import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import { ExtrasReader } from './extras.ts';
import { member, objectOver } from './json-text.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';
import { ollamaFamily } from './ollama-request-body.ts';
import { readOllamaUsage } from './ollama-usage.ts';
import { cannotTake } from './unsupported.ts';

/** Keys of `/api/embed` that typed fields stand for. `truncate`, `keep_alive` and `options` may be extras. */
export const typedOllamaEmbeddingKeys: ReadonlySet<string> = new Set(['model', 'input', 'dimensions']);

/** Write an embedding request as the JSON body of `/api/embed`. It takes texts, and no ids of tokens. */
export function writeOllamaEmbeddingBody(
  request: EmbeddingRequest,
  provider: string,
  model: string,
): { body: string; droppedFields: readonly string[] } {
  const extras = new ExtrasReader(ollamaFamily, provider);
  const own = extras.readRequest(request.extraJson, typedOllamaEmbeddingKeys).object;
  const input = request.inputs.map(({ kind }, index) => {
    if (kind.case === 'text') return kind.value;
    throw cannotTake(provider, [`inputs[${index}].tokens`]);
  });
  const body = objectOver(
    own,
    member('model', model),
    member('input', input),
    member('dimensions', request.dimensions),
  );
  return { body, droppedFields: extras.leftOut };
}

/** Read the answer of `/api/embed`; throws `provider_protocol` unless it has one vector for each input. */
export function readOllamaEmbeddings(
  body: unknown,
  asked: { provider: string; model: string; inputs: number; droppedFields: readonly string[] },
): EmbeddingResult {
  const { provider, model, inputs, droppedFields } = asked;
  const { model: answered, embeddings, prompt_eval_count, ...rest }: JsonObject = isObject(body) ? body : {};
  const vectors = Array.isArray(embeddings) ? embeddings.filter(isVector) : [];
  if (vectors.length !== inputs) {
    throw new GatewayError('provider_protocol', `${provider} sent ${vectors.length} vectors for ${inputs} inputs`, {
      provider,
    });
  }
  const usage = readOllamaUsage({ prompt_eval_count });
  return {
    $typeName: 'llmgateway.v1.EmbeddingResult',
    id: '',
    requestId: '',
    provider: '',
    model: textOf(answered) || model,
    cached: false,
    droppedFields: [...droppedFields],
    embeddings: vectors.map((values, index) => ({ $typeName: 'llmgateway.v1.Embedding', index, values })),
    attempts: [],
    extraJson: Object.keys(rest).length > 0 ? { [ollamaFamily]: JSON.stringify(rest) } : {},
    ...(usage && { usage }),
  };
}

function isVector(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every(isFloat);
}

/** The contract's vectors hold 32-bit floats. */
function isFloat(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(Math.fround(value));
}
