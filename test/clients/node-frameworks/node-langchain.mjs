/** LangChain's model for OpenAI's API, the one for Node, against the gateway. GATEWAY_URL says where it is. */
import assert from 'node:assert/strict';
import { HumanMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { concat } from '@langchain/core/utils/stream';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { z } from 'zod';

const story = 'Tell me a story';
const place = z.object({ city: z.string() });
const tools = {
  get_weather: tool(({ city }) => `Sunny in ${city}`, {
    name: 'get_weather',
    description: 'The weather',
    schema: place,
  }),
  get_time: tool(({ city }) => `Noon in ${city}`, { name: 'get_time', description: 'The time of day', schema: place }),
};

const configuration = { baseURL: `${process.env.GATEWAY_URL}/v1` };
const connect = (options = {}) =>
  new ChatOpenAI({ model: 'auto', apiKey: process.env.GATEWAY_API_KEY, maxRetries: 0, configuration, ...options });
const model = connect();

async function joined(stream) {
  let whole;
  let pieces = 0;
  for await (const chunk of stream) {
    whole = whole === undefined ? chunk : concat(whole, chunk);
    if (chunk.content) pieces++;
  }
  return { whole, pieces };
}

async function checkComplete() {
  const answer = await model.invoke(story);
  const { total_tokens: total, input_tokens: input, output_tokens: output } = answer.usage_metadata;
  assert.ok(answer.content && input > 0 && output > 0 && total === input + output);
  assert.equal(answer.response_metadata.finish_reason, 'stop');
  assert.equal(answer.response_metadata.model_name, 'demo-1');
  console.log(`complete: ${total} tokens`);
  return answer;
}

async function checkStream(answer) {
  const { whole, pieces } = await joined(await model.stream(story));
  assert.ok(pieces > 3);
  assert.equal(whole.content, answer.content);
  assert.equal(whole.usage_metadata.total_tokens, answer.usage_metadata.total_tokens);
  console.log(`stream: ${pieces} pieces, the same text and usage as complete`);
}

async function checkTools() {
  const asking = model.bindTools(Object.values(tools));
  const messages = [new HumanMessage('Get weather and get time of Paris')];
  const answers = [await asking.invoke(messages), (await joined(await asking.stream(messages))).whole];
  for (const answer of answers) {
    assert.deepEqual(
      answer.tool_calls.map(({ name }) => name),
      ['get_weather', 'get_time'],
    );
    assert.deepEqual(answer.tool_calls, answers[0].tool_calls);
    assert.deepEqual(answer.invalid_tool_calls, []);
    const results = await Promise.all(answer.tool_calls.map((call) => tools[call.name].invoke(call)));
    const last = await asking.invoke([...messages, answer, ...results]);
    assert.match(last.content, /Noon in/);
    assert.deepEqual(last.tool_calls, []);
  }
  console.log('tools: get_weather and get_time are called in parallel, streamed alike, results taken');
}

async function checkStructured() {
  const schema = z.object({ name: z.string(), age: z.number().int(), mood: z.enum(['happy', 'sad']) });
  for (const method of ['jsonSchema', 'functionCalling', 'jsonMode']) {
    const given = method === 'jsonMode' ? z.object({ text: z.string() }) : schema;
    const person = await model.withStructuredOutput(given, { method, name: 'person' }).invoke('Who is it, in JSON?');
    given.parse(person);
    console.log(`structured output by ${method}: ${JSON.stringify(person)}`);
  }
}

async function checkEmbeddings() {
  const apiKey = process.env.GATEWAY_API_KEY;
  const embeddings = new OpenAIEmbeddings({ model: 'auto', apiKey, maxRetries: 0, configuration });
  const vectors = await embeddings.embedDocuments(['one', 'two']);
  assert.equal(vectors.length, 2);
  assert.deepEqual(vectors[1], await embeddings.embedQuery('two'));
  console.log(`embeddings: ${vectors.length} of ${vectors[0].length} values`);
}

async function checkErrors() {
  async function refused(options, status, code) {
    const refusing = connect(options);
    for (const ask of [() => refusing.invoke(story), async () => joined(await refusing.stream(story))]) {
      await assert.rejects(ask, (error) => {
        assert.equal(error.status, status, `${error}`);
        assert.equal(error.code, code);
        assert.ok(error.requestID);
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
await checkEmbeddings();
await checkErrors();
