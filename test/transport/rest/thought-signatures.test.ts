import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, FinishReason } from '../../../gen/llmgateway/v1/completion_pb.ts';
import {
  choiceFinished,
  extra,
  finished,
  reasoningDelta,
  started,
  textDelta,
  toolCallDelta,
} from '../../../src/completion.ts';
import { writeRequestBody } from '../../../src/providers/gemini-request-body.ts';
import { readMessages } from '../../../src/transport/rest/openai-messages.ts';
import { beginning, frames, scripted, send, serve } from './serve.ts';

const sign = (signature: string, part: number) =>
  extra('gemini', JSON.stringify({ thoughtSignature: signature }), 0, part);

const signing = scripted(
  started('gemini-3.5-flash', beginning),
  extra('gemini', '{"responseId":"of the whole"}'),
  reasoningDelta(0, 0, 'hm'),
  sign('s0', 0),
  textDelta(0, 1, 'I look.'),
  sign('s1', 1),
  toolCallDelta(0, 2, '{}', { id: 'call_a', name: 'clock' }),
  sign('s2', 2),
  toolCallDelta(0, 3, '{}', { id: 'call_b', name: 'clock' }),
  extra('gemini', '{"executableCode":{"code":"a block"},"thoughtSignature":"s4"}', 0, 4),
  choiceFinished(0, FinishReason.TOOL_CALLS, 'STOP', { extraJson: { gemini: '{"safetyRatings":[]}' } }),
  finished(undefined),
);

const format = 'google-gemini-v1';
const details = [
  { type: 'reasoning.text', signature: 's0', format, index: 0 },
  { type: 'reasoning.encrypted', data: 's1', format, index: 1 },
  { type: 'reasoning.encrypted', id: 'call_a', data: 's2', format, index: 2 },
];
const beside = { extra_content: { google: { thought_signature: 's2' } } };
const clock = (id: string) => ({ id, type: 'function', function: { name: 'clock', arguments: '{}' } });

const body = { model: 'm', messages: [{ role: 'user', content: 'what time is it?' }] };

async function answered(more: object = {}): Promise<Record<string, unknown>> {
  const { json } = await send(await serve({ complete: signing }), '/v1/chat/completions', {
    body: { ...body, ...more },
  });
  return (json as { choices: { message: Record<string, unknown> }[] }).choices[0]?.message ?? {};
}

/** The signatures of the model's turn, as they reach Gemini when a client sends this message back. */
function sentBack(message: object): unknown[] {
  const messages = readMessages([...body.messages, { role: 'assistant', ...message }], 'messages');
  const request = create(CompletionRequestSchema, { messages });
  const written = writeRequestBody(request, { provider: 'g', model: 'gemini-3.5-flash', dropUnsupported: 'error' });
  expect(written.droppedFields).toEqual([]);
  const { parts } = JSON.parse(written.body).contents[1];
  return parts.map(({ thoughtSignature }: { thoughtSignature?: string }) => thoughtSignature);
}

describe('thought signatures', () => {
  it('go out beside their tool call and as reasoning_details, and nothing else of the family', async () => {
    expect(await answered()).toEqual({
      role: 'assistant',
      content: 'I look.',
      refusal: null,
      reasoning_content: 'hm',
      reasoning_details: details,
      tool_calls: [{ ...beside, ...clock('call_a') }, clock('call_b')],
    });
  });

  it('go out on streams, each once it is known', async () => {
    const { text } = await send(await serve({ complete: signing }), '/v1/chat/completions', {
      body: { ...body, stream: true },
    });
    const deltas = frames(text).flatMap((chunk) => chunk.choices?.[0]?.delta ?? []);

    expect(deltas.flatMap((delta) => delta.reasoning_details ?? [])).toEqual(details);
    expect(deltas.flatMap((delta) => delta.tool_calls ?? [])).toEqual([
      { index: 0, ...clock('call_a') },
      { ...beside, index: 0, function: { arguments: '' } },
      { index: 1, ...clock('call_b') },
    ]);
    expect(text).not.toMatch(/a block|s4|of the whole|safetyRatings/);
  });

  it('come back to Gemini from a client that echoes all, or only one of the two forms', async () => {
    const { reasoning_details, tool_calls, ...rest } = await answered();
    const bare = [clock('call_a'), clock('call_b')];

    expect(sentBack({ ...rest, reasoning_details, tool_calls })).toEqual(['s0', 's1', 's2', undefined]);
    expect(sentBack({ ...rest, reasoning_details, tool_calls: bare })).toEqual(['s0', 's1', 's2', undefined]);
    expect(sentBack({ ...rest, tool_calls })).toEqual([undefined, undefined, 's2', undefined]);
  });

  it('are made up for a client that echoes nothing', async () => {
    const dummy = Buffer.from('skip_thought_signature_validator').toString('base64');

    expect(sentBack({ content: null, tool_calls: [clock('call_a'), clock('call_b')] })).toEqual([dummy, undefined]);
  });

  it('of the first call come back from callers of the old functions', async () => {
    const functions = [{ name: 'clock', parameters: {} }];
    const { reasoning_details, function_call } = await answered({ functions });

    expect(function_call).toEqual({ name: 'clock', arguments: '{}' });
    expect(sentBack({ content: null, reasoning_details, function_call })).toEqual(['s2']);
  });
});
