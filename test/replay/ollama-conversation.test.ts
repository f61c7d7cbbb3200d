import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGateway, type TestGateway } from '../support/gateway.ts';

/** An Ollama that wants to know the weather of two cities, and sums up what it is told. */
async function startOllama() {
  const asked: { messages: Record<string, unknown>[]; stream: boolean }[] = [];
  const server = createServer(async (request, response) => {
    if (request.method === 'GET') {
      return response.end('{"version":"0.13.0","models":[{"name":"qwen3","model":"qwen3"}]}');
    }
    let body = '';
    for await (const bytes of request) body += bytes;
    const question = JSON.parse(body);
    asked.push(question);
    const call = (city: string) => ({ function: { index: 0, name: 'weather', arguments: { city } } });
    const messages =
      question.messages.at(-1).role === 'tool'
        ? [{ content: 'Cold in Paris, ' }, { content: 'warm in 東京.' }]
        : [
            { content: '', thinking: 'Two cities.' },
            { content: '', tool_calls: [call('Paris')] },
            { content: '', tool_calls: [call('東京')] },
          ];
    const end = { done: true, done_reason: 'stop', prompt_eval_count: 9, eval_count: 4 };
    const line = (message: object, more: object) =>
      `${JSON.stringify({ model: 'qwen3', message: { role: 'assistant', ...message }, ...more })}\n`;
    if (question.stream) {
      for (const message of messages) response.write(line(message, { done: false }));
      return response.end(line({ content: '' }, end));
    }
    const whole = {
      content: messages.map(({ content }) => content).join(''),
      thinking: messages.map((message) => ('thinking' in message ? message.thinking : '')).join(''),
      tool_calls: messages.flatMap((message) => ('tool_calls' in message ? (message.tool_calls ?? []) : [])),
    };
    return response.end(line(whole, end));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked, close: () => server.close() };
}

describe('a conversation with tools through OpenAI’s library and Ollama', () => {
  let ollama: Awaited<ReturnType<typeof startOllama>>;
  let gateway: TestGateway;
  let client: OpenAI;
  beforeAll(async () => {
    ollama = await startOllama();
    gateway = await startGateway({ providers: [{ name: 'local', kind: 'ollama', base_url: ollama.url }] });
    client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  afterAll(async () => {
    await gateway.close();
    ollama.close();
  });

  const tools: OpenAI.ChatCompletionTool[] = [
    {
      type: 'function',
      function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
    },
  ];

  it.each([true, false])('calls two tools at once, and answers with their results (streamed: %s)', async (streamed) => {
    const ask = async (messages: OpenAI.ChatCompletionMessageParam[]) => {
      const request = { model: 'local/qwen3', messages, tools };
      if (!streamed) return client.chat.completions.create(request);
      return client.chat.completions.stream(request).finalChatCompletion();
    };
    const question: OpenAI.ChatCompletionMessageParam = { role: 'user', content: 'Weather in Paris and 東京?' };

    const first = (await ask([question])).choices[0];
    const calls = first?.message.tool_calls ?? [];
    const results = calls.map(({ id }, index) => ({
      role: 'tool' as const,
      tool_call_id: id,
      content: index ? 'warm' : 'cold',
    }));
    const last = (await ask([question, first?.message as OpenAI.ChatCompletionMessageParam, ...results])).choices[0];

    expect(first?.finish_reason).toBe('tool_calls');
    expect(calls.map((call) => call.type === 'function' && call.function.arguments)).toEqual([
      '{"city":"Paris"}',
      '{"city":"東京"}',
    ]);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2);
    const sent = ollama.asked.at(-1);
    expect(sent?.stream).toBe(streamed);
    expect(sent?.messages[1]).toMatchObject({
      role: 'assistant',
      tool_calls: [{ function: { arguments: { city: 'Paris' } } }, { function: { arguments: { city: '東京' } } }],
    });
    expect(sent?.messages.slice(2)).toEqual([
      { role: 'tool', content: 'cold', tool_name: 'weather', tool_call_id: calls[0]?.id },
      { role: 'tool', content: 'warm', tool_name: 'weather', tool_call_id: calls[1]?.id },
    ]);
    expect(last).toMatchObject({ finish_reason: 'stop', message: { content: 'Cold in Paris, warm in 東京.' } });
  });
});
