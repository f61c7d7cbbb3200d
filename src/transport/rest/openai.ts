import type { ChatDoor } from './chat.ts';
import { chatCompletion } from './openai-answer.ts';
import { OpenaiChunks } from './openai-chunks.ts';
import { readOpenaiRequest } from './openai-request.ts';

/** `POST /v1/chat/completions`: OpenAI's own shapes. */
export const openaiDoor: ChatDoor = {
  name: 'openai',
  readRequest: readOpenaiRequest,
  joinFrames: true,
  answer: (completion, { legacyFunctions }, _exchange, facts) => chatCompletion(completion, legacyFunctions, facts),
  frameWriter: ({ includeUsage, legacyFunctions }, { requestId }) =>
    new OpenaiChunks({ requestId, includeUsage, legacyFunctions }),
};
