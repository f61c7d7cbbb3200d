/** Vercel's AI SDK, by its provider for APIs like OpenAI's, against the gateway. GATEWAY_URL says where it is. */
import assert from 'node:assert/strict';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from 'ai';
import { z } from 'zod';

const connect = (options = {}) =>
  createOpenAICompatible({
    name: 'gateway',
    baseURL: `${process.env.GATEWAY_URL}/v1`,
    apiKey: process.env.GATEWAY_API_KEY,
    includeUsage: true,
    supportsStructuredOutputs: true,
    ...options,
  });
const gateway = connect();
const story = { model: gateway('auto'), prompt: 'Tell me a story', maxRetries: 0 };

async function checkComplete() {
  const { text, finishReason, usage, response } = await generateText(story);
  assert.ok(text);
  assert.equal(finishReason, 'stop');
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
  assert.equal(response.modelId, 'demo-1');
  console.log(`complete: ${usage.totalTokens} tokens`);
  return { text, usage };
}

async function checkStream(whole) {
  const result = streamText(story);
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  assert.ok(pieces.length > 3);
  assert.equal(pieces.join(''), whole.text);
  assert.equal(await result.finishReason, 'stop');
  assert.equal((await result.usage).totalTokens, whole.usage.totalTokens);
  console.log(`stream: ${pieces.length} pieces, the same text and usage as complete`);
}

async function checkTools() {
  const called = [];
  const places = (name, answer) =>
    tool({
      description: `The ${name} at a place`,
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }, { toolCallId }) => {
        called.push([name, toolCallId]);
        return `${answer} in ${city}`;
      },
    });
  const asked = {
    ...story,
    prompt: 'Get weather and get time of Paris',
    tools: { get_weather: places('weather', 'Sunny'), get_time: places('time', 'Noon') },
    stopWhen: isStepCount(3),
  };

  const whole = await generateText(asked);
  const streamed = streamText(asked);
  await streamed.consumeStream();
  for (const result of [whole, streamed]) {
    const steps = await result.steps;
    assert.deepEqual(
      steps.map(({ finishReason }) => finishReason),
      ['tool-calls', 'stop'],
    );
    assert.deepEqual(
      steps[0].toolCalls.map(({ toolName }) => toolName),
      ['get_weather', 'get_time'],
    );
    assert.match(await result.text, /Noon in/);
  }
  assert.equal(called.length, 4);
  assert.equal(new Set(called.map(([, id]) => id)).size, 2);
  console.log('tools: get_weather and get_time are called in parallel, whole and streamed, and their results taken');
}

async function checkStructured() {
  const schema = z.object({ name: z.string(), age: z.number().int(), mood: z.enum(['happy', 'sad']) });
  const asked = { ...story, prompt: 'Who is it?', output: Output.object({ schema }) };

  const { output } = await generateText(asked);
  assert.equal(typeof output.name, 'string');
  const streamed = streamText(asked);
  let partials = 0;
  for await (const _ of streamed.partialOutputStream) partials++;
  assert.ok(partials > 1);
  assert.deepEqual(await streamed.output, output);
  console.log(`structured output: ${JSON.stringify(output)}, streamed in ${partials} pieces`);
}

async function checkEmbeddings() {
  const { embeddings, usage } = await embedMany({ model: gateway.embeddingModel('auto'), values: ['one', 'two'] });
  assert.equal(embeddings.length, 2);
  assert.ok(embeddings[0].length > 1 && usage.tokens > 0);
  console.log(`embeddings: ${embeddings.length} of ${embeddings[0].length} values`);
}

async function checkErrors() {
  async function refused(model, statusCode, code, isRetryable) {
    const failures = [];
    await generateText({ ...story, model }).catch((error) => failures.push(error));
    await streamText({ ...story, model, onError: ({ error }) => failures.push(error) }).consumeStream();
    assert.equal(failures.length, 2);
    for (const error of failures) {
      assert.ok(APICallError.isInstance(error), `${error}`);
      assert.equal(error.statusCode, statusCode);
      assert.equal(error.data.error.code, code);
      assert.equal(error.isRetryable, isRetryable);
      assert.ok(error.responseHeaders['x-request-id']);
    }
    console.log(`error: ${statusCode} ${code}: ${failures[0].message}`);
  }
  await refused(gateway('no-such-model'), 404, 'model_not_found', false);
  await refused(gateway('unreachable'), 503, 'upstream_unavailable', true);
  await refused(connect({ apiKey: 'wrong-key' })('auto'), 401, 'invalid_api_key', false);
}

await checkStream(await checkComplete());
await checkTools();
await checkStructured();
await checkEmbeddings();
await checkErrors();
