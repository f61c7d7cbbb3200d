import { describe, expect, it } from 'vitest';
import { FinishReason } from '../../../gen/llmgateway/v1/completion_pb.ts';
import {
  choiceFinished,
  finished,
  reasoningDelta,
  started,
  textDelta,
  toolCallDelta,
} from '../../../src/completion.ts';
import { beginning, sampleUsage, scripted, send, serve } from './serve.ts';

const messages = [{ role: 'user', content: 'hi' }];
const cost = { $typeName: 'llmgateway.v1.Cost' as const, promptUsd: 0.1, completionUsd: 0.2, totalUsd: 0.3 };

describe('POST /completion', () => {
  it('answers with every field of its shape', async () => {
    const complete = scripted(
      started('gpt-oss', beginning),
      textDelta(0, 0, 'Hello'),
      choiceFinished(0, FinishReason.STOP),
      finished(sampleUsage, { cost }),
    );
    const body = { messages, metadata: { team: 'a' }, request_id: 'mine', user_id: 'u', routing_strategy: 'quality' };
    const { json, headers, status } = await send(await serve({ complete }), '/completion', { body });
    expect(status).toBe(200);
    expect(json).toEqual({
      content: 'Hello',
      provider_name: 'groq',
      model: 'gpt-oss',
      usage: {
        prompt_tokens: 3,
        completion_tokens: 2,
        total_tokens: 5,
        prompt_cost: 0.1,
        completion_cost: 0.2,
        total_cost: 0.3,
      },
      response_time: expect.any(Number),
      request_id: 'mine',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/),
      finish_reason: 'stop',
      metadata: { team: 'a' },
    });
    expect(headers).toMatchObject({ 'x-request-id': 'mine', 'x-selected-provider': 'groq' });
    expect(headers).not.toHaveProperty('openai-processing-ms');
  });

  it('says null for costs and tokens that are unknown', async () => {
    const complete = scripted(started('m', beginning), choiceFinished(0, FinishReason.OTHER), finished(undefined));
    const { json } = await send(await serve({ complete }), '/completion', { body: { messages } });
    expect(Object.values(json.usage)).toEqual([null, null, null, null, null, null]);
    expect([json.content, json.finish_reason, json.metadata]).toEqual(['', 'stop', {}]);
  });

  it('shows reasoning and tool calls beside the content', async () => {
    const complete = scripted(
      started('m', beginning),
      reasoningDelta(0, 0, 'hm'),
      toolCallDelta(0, 1, '{}', { id: 'c', name: 'f' }),
      choiceFinished(0, FinishReason.TOOL_CALLS),
      finished(undefined),
    );
    const served = await serve({ complete });
    const { json } = await send(served, '/completion', { body: { messages } });
    const calls = [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }];
    expect(json).toMatchObject({
      content: '',
      reasoning_content: 'hm',
      tool_calls: calls,
      finish_reason: 'tool_calls',
    });
    const { text } = await send(served, '/completion', { body: { messages, stream: true } });
    expect(text).toContain('"tool_calls":[{"index":0,"id":"c","type":"function"');
  });
});
