import type { Embedding, EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import { ExtrasReader } from './extras.ts';
import { member, object } from './json-text.ts';
import { isObject, textOf } from './json-value.ts';
import { openaiFamily, type WrittenRequest } from './openai-request-body.ts';
import { readUsage } from './openai-usage.ts';

/** Keys of OpenAI's embedding request that typed fields stand for: `extra_json` of a request must not hold them. */
export const typedEmbeddingKeys: ReadonlySet<string> = new Set(['model', 'input', 'dimensions', 'encoding_format']);

/** Write an embedding request as OpenAI's JSON body. `encoding_format` is left out: not every server knows base64. */
export function writeEmbeddingBody(request: EmbeddingRequest, provider: string, model: string): WrittenRequest {
  const extras = new ExtrasReader(openaiFamily, provider);
  const { members } = extras.readRequest(request.extraJson, typedEmbeddingKeys);
  const body = object(
    members,
    member('model', model),
    member('input', inputsOf(request)),
    member('dimensions', request.dimensions),
  );
  return { body, droppedFields: extras.leftOut };
}

function inputsOf({ inputs }: EmbeddingRequest): string[] | number[][] {
  const texts = inputs.flatMap(({ kind }) => (kind.case === 'text' ? [kind.value] : []));
  const tokens = inputs.flatMap(({ kind }) => (kind.case === 'tokens' ? [kind.value.ids] : []));
  if (tokens.length === 0) return texts;
  if (texts.length === 0) return tokens;
  const index = inputs.findIndex(({ kind }) => kind.case === 'tokens');
  const description = 'texts and token ids cannot be mixed in one request';
  throw new GatewayError('invalid_request', `inputs[${index}]: ${description}`, {
    violations: [{ field: `inputs[${index}]`, description }],
  });
}

/** Read OpenAI's embedding answer; throws `provider_protocol` unless it has one vector for each input. */
export function readEmbeddings(
  body: unknown,
  asked: { provider: string; model: string; inputs: number; droppedFields: readonly string[] },
): EmbeddingResult {
  const { provider, model, inputs } = asked;
  const answer = isObject(body) ? body : {};
  const list = Array.isArray(answer.data) ? answer.data.filter(isObject) : [];
  const embeddings = list.map((item, place) => readVector(item.embedding, indexOf(item.index, place)));
  embeddings.sort((a, b) => a.index - b.index);
  if (
    embeddings.length !== inputs ||
    embeddings.some(({ index, values }, place) => index !== place || !values.length)
  ) {
    throw new GatewayError('provider_protocol', `${provider} sent ${list.length} vectors for ${inputs} inputs`, {
      provider,
    });
  }
  const read = readUsage(answer.usage);
  return {
    $typeName: 'llmgateway.v1.EmbeddingResult',
    id: '',
    requestId: '',
    provider: '',
    model: textOf(answer.model) || model,
    cached: false,
    droppedFields: [...asked.droppedFields],
    embeddings,
    attempts: [],
    extraJson: read?.rest ? { [openaiFamily]: JSON.stringify({ usage: read.rest }) } : {},
    ...(read && { usage: read.usage }),
  };
}

function indexOf(index: unknown, place: number): number {
  return typeof index === 'number' ? index : place;
}

function readVector(value: unknown, index: number): Embedding {
  const values = Array.isArray(value) ? value.map(Number) : typeof value === 'string' ? decodeVector(value) : [];
  return { $typeName: 'llmgateway.v1.Embedding', index, values: values.every(Number.isFinite) ? values : [] };
}

/** Base64 holds 32-bit floats at OpenAI, and single signed bytes where vectors are quantised: those make no sensible floats. */
function decodeVector(base64: string): number[] {
  const bytes = Uint8Array.from(Buffer.from(base64, 'base64'));
  if (bytes.length % 4 === 0) {
    const floats = [...new Float32Array(bytes.buffer)];
    if (floats.every((float) => Number.isFinite(float) && Math.abs(float) <= 2)) return floats;
  }
  return [...new Int8Array(bytes.buffer)];
}
