/**
 * A real model behind the gateway, with a dead provider in front of it, by every door. GATEWAY_URL says where the gateway is,
 * its default targets are `dead`, then `local`.
 */
import assert from 'node:assert/strict';
import { createClient } from '@connectrpc/connect';
import { question, transports } from '../../examples/node/connect-client.ts';
import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';

const gatewayUrl = process.env.GATEWAY_URL ?? '';
const asked = 'Name three colours.';
const options = { maxOutputTokens: 24, temperature: 0 };

interface ChatUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

function checkUsage(usage: ChatUsage | undefined): number {
  assert.ok(usage && usage.prompt_tokens > 0 && usage.completion_tokens > 0, JSON.stringify(usage));
  assert.ok(usage.completion_tokens <= options.maxOutputTokens);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  return usage.total_tokens;
}

function checkAttempts(attempts: readonly Attempt[]): void {
  const last = attempts.at(-1);
  const [first] = attempts;
  assert.equal(first?.provider, 'dead');
  // Once five attempts in a row could not connect, its breaker is open and it is skipped.
  assert.match(String(first?.reason), /^(provider_unavailable|no_provider_available)$/);
  assert.deepEqual([last?.provider, last?.outcome], ['local', AttemptOutcome.SUCCEEDED]);
}

async function checkRpc(protocol: string): Promise<void> {
  const makeTransport = transports[protocol];
  assert.ok(makeTransport);
  const client = createClient(CompletionService, makeTransport(gatewayUrl));
  const request = { ...question(asked), ...options };

  const { completion, outputText } = await client.createCompletion({ request });
  assert.ok(outputText && completion?.usage && completion.provider === 'local');
  checkAttempts(completion.attempts);

  let text = '';
  for await (const { event } of client.streamCompletion({ request })) {
    if (event?.event.case === 'textDelta') text += event.event.value.text;
    if (event?.event.case !== 'finished') continue;
    checkAttempts(event.event.value.attempts);
    const usage = event.event.value.usage;
    assert.ok(usage && usage.promptTokens > 0 && usage.completionTokens > 0);
    console.log(`${protocol}: ${usage.totalTokens} tokens, ${JSON.stringify(text)}`);
    return;
  }
  assert.fail(`${protocol}: the stream ended without finished`);
}

const postChat = (fields: object) =>
  fetch(`${gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: asked }], max_tokens: 24, temperature: 0, ...fields }),
  });

async function checkRest(): Promise<void> {
  const response = await postChat({ model: 'auto' });
  const answer = (await response.json()) as { choices: { message: { content: string } }[]; usage: ChatUsage };
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('x-selected-provider'), 'local');
  const text = answer.choices[0]?.message.content;
  assert.ok(text);
  console.log(`REST: ${checkUsage(answer.usage)} tokens, ${JSON.stringify(text)}`);
}

async function checkSse(): Promise<void> {
  const response = await postChat({ model: 'auto', stream: true, stream_options: { include_usage: true } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('x-selected-provider'), 'local');
  const events = (await response.text()).split('\n\n').filter((event) => event.startsWith('data: '));
  assert.equal(events.pop(), 'data: [DONE]');
  const chunks = events.map((event) => JSON.parse(event.slice('data: '.length)));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  assert.ok(text && chunks.length > 3);
  console.log(`SSE: ${chunks.length} chunks, ${checkUsage(chunks.at(-1).usage)} tokens, ${JSON.stringify(text)}`);
}

for (const protocol of Object.keys(transports)) await checkRpc(protocol);
await checkRest();
await checkSse();
