import { type CompletionEvent, type CompletionRequest, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import type { SpanAttributes } from './call-trace.ts';
import { keepWords } from './kept-content.ts';
import type { Observed, Telling } from './observe.ts';

/** What completions tell; `keepsContent`: what is said, too. */
export function observedCompletions(keepsContent: boolean): Observed<CompletionRequest, CompletionEvent> {
  return {
    name: 'chat',
    tell: tellOfCompletion,
    userOf: ({ options }) => options?.userId ?? '',
    attributesOf: samplingOf,
    content: keepsContent ? keepWords : undefined,
  };
}

/** What embeddings tell. */
export const observedEmbeddings: Observed<EmbeddingRequest, EmbeddingResult> = {
  name: 'embeddings',
  tell: (result) => ({ answering: result, whole: result }),
  userOf: ({ options }) => options?.userId ?? '',
  attributesOf: ({ dimensions }) => ({ 'gen_ai.embeddings.dimension.count': dimensions }),
};

const finishReasons: Readonly<Record<FinishReason, string>> = {
  [FinishReason.UNSPECIFIED]: 'error',
  [FinishReason.STOP]: 'stop',
  [FinishReason.LENGTH]: 'length',
  [FinishReason.TOOL_CALLS]: 'tool_calls',
  [FinishReason.CONTENT_FILTER]: 'content_filter',
  [FinishReason.OTHER]: 'other',
};

function tellOfCompletion({ event }: CompletionEvent): Telling | undefined {
  switch (event.case) {
    case 'started':
      return { answering: event.value };
    case 'choiceFinished':
      return { finishReason: finishReasons[event.value.reason] };
    case 'finished':
      return { whole: event.value };
    default:
      return undefined;
  }
}

/** How the answer shall be made, by the names of the conventions; never what is asked. */
function samplingOf(request: CompletionRequest): SpanAttributes {
  return {
    'gen_ai.request.max_tokens': request.maxOutputTokens,
    'gen_ai.request.temperature': request.temperature,
    'gen_ai.request.top_p': request.topP,
    'gen_ai.request.top_k': request.topK,
    'gen_ai.request.frequency_penalty': request.frequencyPenalty,
    'gen_ai.request.presence_penalty': request.presencePenalty,
    'gen_ai.request.stop_sequences': request.stop.length > 0 ? request.stop : undefined,
    'gen_ai.request.seed': request.seed,
    'gen_ai.request.choice.count': request.n === 1 ? undefined : request.n,
    'gen_ai.output.type': request.responseFormat ? 'json' : undefined,
  };
}
