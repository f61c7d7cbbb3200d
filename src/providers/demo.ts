import {
  type CompletionEvent,
  type CompletionRequest,
  FinishReason,
  type Usage,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { choiceFinished, finished, started, textDelta, toolCallDelta } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { StopSignal } from '../stop.ts';
import { type DemoAnswer, makeUpAnswer } from './demo-answer.ts';
import { makeUpVector } from './demo-vector.ts';
import type { ListedModel, Provider, ProviderCall } from './provider.ts';

/** 40 tokens a second. */
const paceMs = 25;
const maxDimensions = 4_096;

/**
 * The provider that needs nothing: no key, no network, no model. Its answers are made up, always the same, and say so.
 *
 * It streams at a human pace, calls tools, keeps to formats, limits and stop texts, and stops at once when it is told to.
 */
export function demo({ name, kind, defaultModel }: { name: string; kind: string; defaultModel: string }): Provider {
  return {
    name,
    kind,
    defaultModel,
    unavailable: undefined,
    complete: (request, call) => complete(request, call, defaultModel),
    embed: (request, call) => embed(request, call, defaultModel),
    async listModels(): Promise<readonly ListedModel[]> {
      return [{ id: defaultModel, ownedBy: name }];
    },
    async close() {},
  };
}

async function* complete(
  request: CompletionRequest,
  { signal, streaming, onResponse }: ProviderCall,
  model: string,
): AsyncGenerator<CompletionEvent> {
  signal.throwIfAborted();
  onResponse?.({ requestId: undefined });
  yield started(model, { droppedFields: Object.keys(request.extraJson).map((family) => `extra_json.${family}`) });
  const answer = makeUpAnswer(request, model);
  let told = 0;
  for (let choiceIndex = 0; choiceIndex < (request.n ?? 1); choiceIndex++) {
    for (const event of tell(answer, request, choiceIndex)) {
      if (streaming && isDelta(event)) await pause(signal);
      if (isDelta(event)) told++;
      yield event;
    }
  }
  yield finished(usageOf(promptText(request), told));
}

function isDelta({ event }: CompletionEvent): boolean {
  return event.case === 'textDelta' || event.case === 'toolCallDelta';
}

function pause(signal: StopSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', leave);
      resolve();
    }, paceMs);
    const leave = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener('abort', leave);
  });
}

/** Cut a text where tokens might end. */
function tokensOf(text: string): string[] {
  return text.match(/\s*\S{1,6}|\s+$/gu) ?? [];
}

function* tell(answer: DemoAnswer, request: CompletionRequest, choiceIndex: number): Generator<CompletionEvent> {
  let left = request.maxOutputTokens ?? Number.POSITIVE_INFINITY;
  const { text, stopSequence } = cutAtStop(answer.text, request.stop);
  for (const token of tokensOf(text)) {
    if (left-- <= 0) return yield choiceFinished(choiceIndex, FinishReason.LENGTH, 'length');
    yield textDelta(choiceIndex, 0, token);
  }
  for (const [partIndex, call] of answer.calls.entries()) {
    let opening: typeof call | undefined = call;
    for (const token of tokensOf(call.arguments)) {
      if (left-- <= 0) return yield choiceFinished(choiceIndex, FinishReason.LENGTH, 'length');
      yield toolCallDelta(choiceIndex, partIndex, token, opening);
      opening = undefined;
    }
    if (opening) yield toolCallDelta(choiceIndex, partIndex, '', opening);
  }
  if (answer.calls.length > 0) yield choiceFinished(choiceIndex, FinishReason.TOOL_CALLS, 'tool_calls');
  else yield choiceFinished(choiceIndex, FinishReason.STOP, 'stop', { stopSequence });
}

function cutAtStop(text: string, stops: readonly string[]): { text: string; stopSequence: string } {
  let end = text.length;
  let stopSequence = '';
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at < 0 || at >= end) continue;
    end = at;
    stopSequence = stop;
  }
  return { text: text.slice(0, end), stopSequence };
}

function promptText({ messages }: CompletionRequest): string {
  return messages
    .flatMap(({ parts }) => parts)
    .map(({ kind }) => (kind.case === 'text' ? kind.value : ''))
    .join('\n');
}

function usageOf(prompt: string, completionTokens: number): Usage {
  const promptTokens = Math.max(1, tokensOf(prompt).length);
  return {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens: promptTokens + completionTokens,
    estimated: true,
  };
}

async function* embed(request: EmbeddingRequest, call: ProviderCall, model: string): AsyncGenerator<EmbeddingResult> {
  call.signal.throwIfAborted();
  call.onResponse?.({ requestId: undefined });
  const { dimensions } = request;
  if (dimensions !== undefined && dimensions > maxDimensions) {
    const description = `${dimensions} must be <= ${maxDimensions}`;
    const violations = [{ field: 'dimensions', description }];
    throw new GatewayError('invalid_request', `dimensions ${description}`, { violations });
  }
  const texts = request.inputs.map(({ kind }) =>
    kind.case === 'tokens' ? kind.value.ids.join(' ') : (kind.value ?? ''),
  );
  yield {
    $typeName: 'llmgateway.v1.EmbeddingResult',
    id: '',
    requestId: '',
    provider: '',
    model,
    cached: false,
    droppedFields: Object.keys(request.extraJson).map((family) => `extra_json.${family}`),
    embeddings: texts.map((text, index) => ({
      $typeName: 'llmgateway.v1.Embedding',
      index,
      values: makeUpVector(text, dimensions),
    })),
    usage: usageOf(texts.join('\n'), 0),
    attempts: [],
    extraJson: {},
  };
}
