import type { CallOptions } from '../../../gen/llmgateway/v1/completion_pb.ts';
import type {
  Embedding,
  EmbeddingInput,
  EmbeddingRequest,
  EmbeddingResult,
} from '../../../gen/llmgateway/v1/embedding_service_pb.ts';
import { gather } from '../../at-once.ts';
import { type Principal, triesIn } from '../../completion.ts';
import { GatewayError } from '../../errors.ts';
import { accountHeaders } from '../account-headers.ts';
import { type DoorDependencies, openCall } from '../call.ts';
import { parseBody, readCallBytes } from './body.ts';
import { optionFields, optionsFromHeaders, type ReadField } from './call-options.ts';
import { renamed } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { fieldNames } from './field-names.ts';
import { inWords, type JsonObject, readCount, readText, readWord, wrong } from './fields.ts';
import { openaiExtras } from './openai-answer.ts';
import { answeringHeaders } from './stream-answer.ts';

interface Reading {
  readonly request: EmbeddingRequest & { readonly options: CallOptions };
  readonly extras: JsonObject;
  base64: boolean;
}

const fields = new Map<string, ReadField<Reading>>(
  Object.entries<ReadField<Reading>>({
    model: ({ request }, value, at) => {
      request.model = readText(value, at);
    },
    input: ({ request }, value, at) => {
      request.inputs = readInputs(value, at);
    },
    encoding_format: (reading, value, at) => {
      reading.base64 = readWord(value, at, { float: false, base64: true });
    },
    dimensions: ({ request }, value, at) => {
      request.dimensions = readCount(value, at, 1);
    },
    task: ({ request }, value, at) => {
      request.task = readText(value, at);
    },
    user: ({ request, extras }, value, at) => {
      request.options.userId = readText(value, at);
      extras[at] = value;
    },
  }),
);
for (const [name, read] of Object.entries(optionFields)) {
  fields.set(name, ({ request }, value, at) => read(request.options, value, at));
}

/** The handler of `POST /v1/embeddings`: OpenAI's shape. */
export function embeddingsHandler(dependencies: DoorDependencies) {
  const { gateway, log } = dependencies;
  return async (exchange: Exchange, principal: Principal): Promise<void> => {
    const body = parseBody(await readCallBytes(exchange.request, principal, dependencies));
    exchange.adoptRequestId(body.request_id);
    const { request, base64 } = readRequest(body, optionsFromHeaders(exchange));
    const nameOf = fieldNames(body);
    const { requestId, address } = exchange;
    const notes = exchange.doorRequest?.notes;
    const call = openCall({ requestId, principal, address, door: 'openai', streaming: false, notes, log });
    exchange.called = true;
    exchange.account = call.context.account;
    exchange.whenLeft(() => call.leave());
    try {
      const result = await only(gateway.embed(request, call.context));
      exchange.answer(
        200,
        embeddingsJson(result, base64),
        answeringHeaders(result, nameOf),
        accountHeaders(call.context.account),
        { 'x-gateway-attempts': triesIn(result.attempts) },
      );
    } catch (cause) {
      throw cause instanceof GatewayError ? renamed(cause, nameOf) : cause;
    }
  };
}

async function only(results: AsyncIterable<EmbeddingResult>): Promise<EmbeddingResult> {
  const last = (await gather(results)).at(-1);
  if (!last) throw new GatewayError('provider_protocol', 'the provider gave no embeddings');
  return last;
}

function readRequest(body: JsonObject, options: CallOptions): Reading {
  const reading: Reading = {
    request: { $typeName: 'llmgateway.v1.EmbeddingRequest', model: '', inputs: [], task: '', options, extraJson: {} },
    extras: {},
    base64: false,
  };
  for (const name in body) {
    const value = body[name];
    if (value === null) continue;
    const readField = fields.get(name);
    if (readField) readField(reading, value, name);
    else reading.extras[name] = value;
  }
  if (Object.keys(reading.extras).length > 0) reading.request.extraJson.openai = JSON.stringify(reading.extras);
  return reading;
}

/** A text, texts, the token ids of one text, or those of several. */
function readInputs(value: unknown, at: string): EmbeddingInput[] {
  if (typeof value === 'string') return [textInput(value)];
  if (!Array.isArray(value)) throw wrong(at, `must be a string or a list, not ${inWords(value)}`);
  if (typeof value[0] === 'number') return [tokensInput(value, at)];
  return value.map((item, index) =>
    Array.isArray(item) ? tokensInput(item, `${at}[${index}]`) : textInput(readText(item, `${at}[${index}]`)),
  );
}

function textInput(text: string): EmbeddingInput {
  return { $typeName: 'llmgateway.v1.EmbeddingInput', kind: { case: 'text', value: text } };
}

function tokensInput(list: readonly unknown[], at: string): EmbeddingInput {
  const ids = list.map((id, index) => readCount(id, `${at}[${index}]`));
  const value = { $typeName: 'llmgateway.v1.TokenIds' as const, ids };
  return { $typeName: 'llmgateway.v1.EmbeddingInput', kind: { case: 'tokens', value } };
}

function embeddingsJson(result: EmbeddingResult, base64: boolean): string {
  const { model, embeddings, usage } = result;
  return JSON.stringify({
    ...openaiExtras(result.extraJson),
    object: 'list',
    data: embeddings.map((embedding) => embeddingJson(embedding, base64)),
    model,
    usage: { prompt_tokens: usage?.promptTokens ?? 0, total_tokens: usage?.totalTokens ?? 0 },
  });
}

function embeddingJson({ index, values }: Embedding, base64: boolean): object {
  return { object: 'embedding', index, embedding: base64 ? toBase64(values) : values.map(rounded) };
}

/**
 * Nine significant digits are enough to tell any two 32-bit floats apart; as doubles they would print seventeen.
 *
 * What is a 32-bit float already is told by the fewest that name it. Those kept for an idempotency key are: with nine digits the
 * 0.1 of a first answer was replayed as 0.100000001.
 */
function rounded(value: number): number {
  if (Math.fround(value) === value) {
    for (const digits of [7, 8]) {
      const short = Number(value.toPrecision(digits));
      if (Math.fround(short) === value) return short;
    }
  }
  return Number(value.toPrecision(9));
}

/** 32-bit floats in little-endian order, as OpenAI's SDKs decode them. */
function toBase64(values: readonly number[]): string {
  const bytes = Buffer.allocUnsafe(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}
