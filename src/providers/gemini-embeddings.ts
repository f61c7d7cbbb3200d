import type { Embedding, EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../errors.ts';
import { ExtrasReader } from './extras.ts';
import { geminiFamily } from './gemini-generations.ts';
import { readUsage, restOfUsage } from './gemini-usage.ts';
import { array, member, objectOver, rawMember } from './json-text.ts';
import { isObject } from './json-value.ts';
import { cannotTake } from './unsupported.ts';

/** The most texts that Google takes at once. */
const maxBatch = 100;

const typedKeys: ReadonlySet<string> = new Set([
  'model',
  'content',
  'requests',
  'taskType',
  'task_type',
  'outputDimensionality',
  'output_dimensionality',
]);

/** One request for embeddings: its verb, its body, and how many vectors are to come. */
export interface WrittenBatch {
  readonly method: 'embedContent' | 'batchEmbedContents';
  readonly body: string;
  readonly inputs: number;
}

/** An embedding request, in as many batches as it takes. */
export interface WrittenEmbeddings {
  readonly batches: readonly WrittenBatch[];
  readonly droppedFields: readonly string[];
}

/** Write an embedding request: one text as `embedContent`, more as `batchEmbedContents`. */
export function writeEmbeddings(request: EmbeddingRequest, provider: string, resource: string): WrittenEmbeddings {
  const extras = new ExtrasReader(geminiFamily, provider);
  const own = extras.readRequest(request.extraJson, typedKeys).object;
  const { inputs, task, dimensions } = request;
  const bodies = inputs.map(({ kind }, index) => {
    if (kind.case !== 'text') throw cannotTake(provider, [`inputs[${index}].tokens`]);
    return objectOver(
      own,
      member('model', resource),
      member('content', { parts: [{ text: kind.value }] }),
      member('taskType', task || undefined),
      member('outputDimensionality', dimensions),
    );
  });
  const [only, ...more] = bodies;
  if (only !== undefined && more.length === 0) {
    return { batches: [{ method: 'embedContent', body: only, inputs: 1 }], droppedFields: extras.leftOut };
  }
  const batches: WrittenBatch[] = [];
  for (let from = 0; from < bodies.length; from += maxBatch) {
    const batch = bodies.slice(from, from + maxBatch);
    const body = objectOver(undefined, rawMember('requests', array(batch)));
    batches.push({ method: 'batchEmbedContents', body, inputs: batch.length });
  }
  return { batches, droppedFields: extras.leftOut };
}

/** Puts the answers to the batches of one request together. */
export class EmbeddingAnswers {
  readonly #result: EmbeddingResult;

  constructor(model: string, droppedFields: readonly string[]) {
    this.#result = {
      $typeName: 'llmgateway.v1.EmbeddingResult',
      id: '',
      requestId: '',
      provider: '',
      model,
      cached: false,
      droppedFields: [...droppedFields],
      embeddings: [],
      attempts: [],
      extraJson: {},
    };
  }

  get result(): EmbeddingResult {
    return this.#result;
  }

  /** Read the answer to one batch; throws `provider_protocol` unless it has one vector for each input. */
  add(answer: unknown, provider: string, { inputs }: WrittenBatch): void {
    const { embeddings, usage } = this.#result;
    const body = isObject(answer) ? answer : {};
    const list = Array.isArray(body.embeddings) ? body.embeddings : [body.embedding];
    const vectors = list.map(readVector);
    if (vectors.length !== inputs || vectors.some((values) => values.length === 0)) {
      throw new GatewayError('provider_protocol', `${provider} sent ${list.length} vectors for ${inputs} inputs`, {
        provider,
      });
    }
    for (const values of vectors) {
      embeddings.push({ $typeName: 'llmgateway.v1.Embedding', index: embeddings.length, values } satisfies Embedding);
    }
    if (!isObject(body.usageMetadata)) return;
    const rest = restOfUsage(body.usageMetadata);
    if (rest) this.#result.extraJson[geminiFamily] = JSON.stringify({ usageMetadata: rest });
    const read = readUsage(body.usageMetadata);
    if (!read) return;
    this.#result.usage = usage
      ? {
          ...usage,
          promptTokens: usage.promptTokens + read.promptTokens,
          totalTokens: usage.totalTokens + read.totalTokens,
        }
      : read;
  }
}

function readVector(embedding: unknown): number[] {
  const values = isObject(embedding) && Array.isArray(embedding.values) ? embedding.values : [];
  return values.every((value) => typeof value === 'number' && Number.isFinite(value)) ? values : [];
}
