import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';

/** The most characters that are kept of a prompt, and of an answer. */
const MOST = 16_384;

/** Keeps what is said in a call, where that is configured. */
export interface KeptContent<Event> {
  add(event: Event): void;
  kept(): { readonly prompt: string; readonly answer: string };
}

/** Keep the words of a completion; what is no text is named by its kind. */
export function keepWords(request: CompletionRequest): KeptContent<CompletionEvent> {
  let prompt = '';
  for (const { parts } of request.messages) {
    for (const { kind } of parts) {
      if (prompt.length >= MOST) break;
      prompt += `${prompt === '' ? '' : '\n'}${kind.case === 'text' ? kind.value : `[${kind.case}]`}`;
    }
  }
  let answer = '';
  return {
    add({ event }) {
      if (answer.length < MOST && (event.case === 'textDelta' || event.case === 'refusalDelta'))
        answer += event.value.text;
    },
    kept: () => ({ prompt: prompt.slice(0, MOST), answer: answer.slice(0, MOST) }),
  };
}
