/** OpenAI's Node SDK against the gateway. GATEWAY_URL says where it is. */
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { connect } from '../../examples/node/openai-client.ts';

const gatewayUrl = process.env.GATEWAY_URL ?? '';
const client = connect(gatewayUrl, { maxRetries: 0 });
const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Tell me a story' }];

async function checkComplete(): Promise<string> {
  const answer = await client.chat.completions.create({ model: 'auto', messages, seed: 1 });
  const [choice] = answer.choices;
  assert.equal(answer.object, 'chat.completion');
  assert.equal(choice?.finish_reason, 'stop');
  assert.ok(answer.usage && answer.usage.total_tokens === answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(choice.message.content && answer._request_id);
  console.log(`complete: ${answer.model}, ${answer.usage.total_tokens} tokens`);
  return choice.message.content;
}

async function checkStream(text: string): Promise<void> {
  const chunks = [];
  const options = { model: 'auto', messages, stream: true, stream_options: { include_usage: true } } as const;
  for await (const chunk of await client.chat.completions.create(options)) chunks.push(chunk);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), text);
  assert.equal(chunks.at(-2)?.choices[0]?.finish_reason, 'stop');
  assert.deepEqual(chunks.at(-1)?.choices, []);
  assert.ok((chunks.at(-1)?.usage?.total_tokens ?? 0) > 0);
  console.log(`stream: ${chunks.length} chunks, the same text as complete`);
}

async function checkStreamHelper(text: string): Promise<void> {
  const stream = client.chat.completions.stream({ model: 'auto', messages, stream_options: { include_usage: true } });
  const deltas: string[] = [];
  stream.on('content', (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal(deltas.join(''), text);
  assert.equal(final.choices[0]?.message.content, text);
  assert.ok((await stream.totalUsage()).total_tokens > 0);
  console.log(`.stream(): ${deltas.length} deltas`);
}

async function checkAbort(): Promise<void> {
  const stream = await client.chat.completions.create({ model: 'auto', messages, stream: true });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
  console.log('stream: may be left early');
}

async function checkTools(): Promise<void> {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const options: OpenAI.ChatCompletionCreateParamsNonStreaming = {
    model: 'auto',
    messages: [{ role: 'user', content: 'What is the weather in Paris?' }],
    tools: [{ type: 'function', function: { name: 'get_weather', parameters } }],
    tool_choice: { type: 'function', function: { name: 'get_weather' } },
  };
  const answer = (await client.chat.completions.create(options)).choices[0];
  const streamed = (await client.chat.completions.stream({ ...options, stream: true }).finalChatCompletion())
    .choices[0];
  for (const choice of [answer, streamed]) {
    const call = choice?.message.tool_calls?.[0];
    assert.equal(choice?.finish_reason, 'tool_calls');
    assert.ok(call?.type === 'function' && call.id);
    assert.equal(call.function.name, 'get_weather');
    assert.equal(typeof JSON.parse(call.function.arguments), 'object');
  }
  console.log('tools: get_weather is called, whole and streamed');
}

async function checkEmbeddings(): Promise<void> {
  const byDefault = await client.embeddings.create({ model: 'auto', input: ['one', 'two'] });
  const floats = await client.embeddings.create({ model: 'auto', input: ['one', 'two'], encoding_format: 'float' });
  assert.deepEqual(
    byDefault.data.map((item) => item.index),
    [0, 1],
  );
  for (const [index, { embedding }] of byDefault.data.entries()) {
    const other = floats.data[index]?.embedding ?? [];
    assert.equal(embedding.length, other.length);
    assert.ok(embedding.every((value, place) => Math.abs(value - (other[place] ?? Number.NaN)) < 1e-6));
  }
  console.log(`embeddings: ${byDefault.data.length} of ${byDefault.data[0]?.embedding.length} values`);
}

async function checkModels(): Promise<void> {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes('rescued'), ids.join());
  for (const id of ids) assert.equal((await client.models.retrieve(id)).id, id);
  await assert.rejects(client.models.retrieve('no/such/model'), OpenAI.NotFoundError);
  console.log(`models: ${ids.join(', ')}`);
}

async function checkErrors(): Promise<void> {
  type Refused = new (...args: never[]) => InstanceType<typeof OpenAI.APIError>;
  async function refused(fields: object, kind: Refused, expected: object): Promise<void> {
    for (const stream of [false, true]) {
      const call = client.chat.completions.create({ model: 'auto', messages, stream, ...fields });
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof kind, `${error}`);
        const { status, type, code, param, requestID } = error;
        assert.partialDeepStrictEqual({ status, type, code, param }, expected);
        assert.ok(requestID);
        if (!stream) console.log(`error: ${kind.name} ${error.message}`);
        return true;
      });
    }
  }

  const type = 'invalid_request_error';
  await refused({ model: 'no-such-model' }, OpenAI.NotFoundError, {
    status: 404,
    type,
    code: 'model_not_found',
    param: 'model',
  });
  await refused({ temperature: 7 }, OpenAI.BadRequestError, { status: 400, type, param: 'temperature' });
  await refused({ model: 'unreachable' }, OpenAI.InternalServerError, {
    status: 503,
    type: 'api_error',
    code: 'upstream_unavailable',
  });

  const stranger = connect(gatewayUrl, { apiKey: 'wrong-key', maxRetries: 0 });
  const call = stranger.chat.completions.create({ model: 'auto', messages });
  await assert.rejects(
    call,
    (error) => error instanceof OpenAI.AuthenticationError && error.code === 'invalid_api_key',
  );
  console.log('error: AuthenticationError with a wrong key');
}

const text = await checkComplete();
await checkStream(text);
await checkStreamHelper(text);
await checkAbort();
await checkTools();
await checkEmbeddings();
await checkModels();
await checkErrors();
