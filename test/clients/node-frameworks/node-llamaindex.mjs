/** LlamaIndex's model for OpenAI's API, the one for Node, against the gateway. GATEWAY_URL says where it is. */
import assert from 'node:assert/strict';
import { tool } from '@llamaindex/core/tools';
import { OpenAI } from '@llamaindex/openai';
import { z } from 'zod';

const story = [{ role: 'user', content: 'Tell me a story' }];
const parameters = z.object({ city: z.string() });
const tools = [
  tool({ name: 'get_weather', description: 'The weather', parameters, execute: ({ city }) => `Sunny in ${city}` }),
  tool({ name: 'get_time', description: 'The time of day', parameters, execute: ({ city }) => `Noon in ${city}` }),
];

const connect = (options = {}) =>
  new OpenAI({
    model: 'auto',
    baseURL: `${process.env.GATEWAY_URL}/v1`,
    apiKey: process.env.GATEWAY_API_KEY,
    maxRetries: 0,
    supportToolCall: true,
    ...options,
  });
const model = connect();

/** All of a stream. Each piece tells the call that is being made as far as it is known: the last one of an id is whole. */
async function joined(stream) {
  const calls = new Map();
  let content = '';
  let pieces = 0;
  for await (const { delta, options } of stream) {
    content += delta;
    pieces++;
    for (const call of options?.toolCall ?? []) calls.set(call.id, call);
  }
  return { content, pieces, options: { toolCall: [...calls.values()] } };
}

async function checkComplete() {
  const { message, raw } = await model.chat({ messages: story });
  assert.ok(message.content && raw.usage.total_tokens > 0);
  console.log(`complete: ${raw.model}, ${raw.usage.total_tokens} tokens`);
  return message.content;
}

async function checkStream(text) {
  const { content, pieces } = await joined(await model.chat({ messages: story, stream: true }));
  assert.ok(pieces > 3);
  assert.equal(content, text);
  console.log(`stream: ${pieces} pieces, the same text as complete`);
}

async function checkTools() {
  const messages = [{ role: 'user', content: 'Get weather and get time of Paris' }];
  const { message } = await model.chat({ messages, tools });
  const streamed = await joined(await model.chat({ messages, tools, stream: true }));
  for (const { options } of [message, streamed]) {
    assert.deepEqual(
      options.toolCall.map(({ name }) => name),
      ['get_weather', 'get_time'],
    );
    const results = [];
    for (const { id, name, input } of options.toolCall) {
      const called = tools.find(({ metadata }) => metadata.name === name);
      const result = await called.call(typeof input === 'string' ? JSON.parse(input) : input);
      results.push({ role: 'user', content: result, options: { toolResult: { id, result, isError: false } } });
    }
    const last = await model.chat({
      messages: [...messages, { role: 'assistant', content: '', options }, ...results],
      tools,
    });
    assert.match(last.message.content, /Noon in/);
  }
  console.log('tools: get_weather and get_time are called in parallel, whole and streamed, and their results taken');
}

async function checkStructured() {
  const schema = z.object({ name: z.string(), age: z.number() });
  const { message } = await model.chat({ messages: story, responseFormat: schema });
  const person = schema.parse(JSON.parse(message.content));
  const streamed = await joined(await model.chat({ messages: story, responseFormat: schema, stream: true }));
  assert.deepEqual(JSON.parse(streamed.content), person);
  console.log(`structured output: ${JSON.stringify(person)}, streamed alike`);
}

async function checkErrors() {
  async function refused(options, status, code) {
    const refusing = connect(options);
    for (const stream of [false, true]) {
      const ask = async () => {
        const answer = await refusing.chat({ messages: story, stream });
        if (stream) await joined(answer);
      };
      await assert.rejects(ask, (error) => {
        assert.equal(error.status, status, `${error}`);
        assert.equal(error.code, code);
        return true;
      });
    }
    console.log(`error: ${status} ${code}`);
  }
  await refused({ model: 'no-such-model' }, 404, 'model_not_found');
  await refused({ model: 'unreachable' }, 503, 'upstream_unavailable');
  await refused({ apiKey: 'wrong-key' }, 401, 'invalid_api_key');
}

await checkStream(await checkComplete());
await checkTools();
await checkStructured();
await checkErrors();
