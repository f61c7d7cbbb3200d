import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role, ToolChoiceMode } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import { typedRequestPaths, writeRequestBody } from '../../src/providers/gemini-request-body.ts';

type Fields = MessageInitShape<typeof CompletionRequestSchema>;
type MessageFields = NonNullable<Fields['messages']>[number];

const dummy = 'c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=';
const text = (value: string, more: object = {}) => ({ kind: { case: 'text' as const, value }, ...more });
const reasoning = (value: string, more: object = {}) => ({ kind: { case: 'reasoning' as const, value }, ...more });
const call = (id: string, name: string, args = '{}', more: object = {}) => ({
  kind: { case: 'toolCall' as const, value: { id, name, arguments: args } },
  ...more,
});
const media = (kind: 'image' | 'audio' | 'file', value: object) => ({ kind: { case: kind, value } }) as never;
const user = (...parts: object[]) => ({ role: Role.USER, parts }) as MessageFields;
const model = (...parts: object[]) => ({ role: Role.ASSISTANT, parts }) as MessageFields;
const result = (toolCallId: string, value: string, more: object = {}): MessageFields => ({
  role: Role.TOOL,
  toolCallId,
  parts: [text(value)],
  ...more,
});
const gemini = (extras: object) => ({ extraJson: { gemini: JSON.stringify(extras) } });
const openai = (extras: object) => ({ extraJson: { openai: JSON.stringify(extras) } });

function write(fields: Fields, more: { model?: string; drop?: boolean } = {}) {
  const request = create(CompletionRequestSchema, { messages: [user(text('hi'))], ...fields });
  const { body, droppedFields } = writeRequestBody(request, {
    provider: 'upstream',
    model: more.model ?? 'gemini-3.5-flash',
    dropUnsupported: more.drop ? 'drop' : 'error',
  });
  return { body: JSON.parse(body), text: body, droppedFields };
}

const contentsOf = (...messages: MessageFields[]) => write({ messages }).body.contents;
const partsOf = (...parts: object[]) => contentsOf(user(...parts))[0].parts;

function refusalOf(fields: Fields, more: { model?: string } = {}): GatewayError {
  try {
    write(fields, more);
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError);
    return error as GatewayError;
  }
  throw new Error('nothing was refused');
}

const fieldsOf = ({ violations }: GatewayError) => violations.map(({ field }) => field);

describe('a request to Gemini', () => {
  it('of one line is as short as can be', () => {
    expect(write({}).body).toEqual({ contents: [{ role: 'user', parts: [{ text: 'hi' }] }] });
  });

  it('writes every plain field into generationConfig', () => {
    const { body, droppedFields } = write({
      temperature: 0,
      topP: 0.5,
      topK: 40,
      maxOutputTokens: 9,
      stop: ['a'],
      n: 2,
      seed: -7,
      frequencyPenalty: 1,
      presencePenalty: -1,
      logprobs: true,
      topLogprobs: 3,
      outputModalities: ['text', 'audio'],
      audioOutput: { voice: 'Kore', format: 'pcm16' },
    });

    expect(body.generationConfig).toEqual({
      temperature: 0,
      topP: 0.5,
      topK: 40,
      maxOutputTokens: 9,
      stopSequences: ['a'],
      candidateCount: 2,
      seed: -7,
      frequencyPenalty: 1,
      presencePenalty: -1,
      responseLogprobs: true,
      logprobs: 3,
      responseModalities: ['TEXT', 'AUDIO'],
      speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: 'Kore' } } },
    });
    expect(droppedFields).toEqual([]);
  });

  it.each([
    ['flex', 'flex'],
    ['priority', 'priority'],
    ['auto', undefined],
  ])('says the tier %s as %s', (serviceTier, written) => {
    expect(write({ serviceTier }).body.serviceTier).toBe(written);
  });

  it.each([
    [{ kind: { case: 'jsonObject', value: {} } }, { responseMimeType: 'application/json' }],
    [
      { kind: { case: 'jsonSchema', value: { name: 'x', strict: true, schemaJson: '{"type":"object","b":1,"a":2}' } } },
      { responseMimeType: 'application/json', responseJsonSchema: { type: 'object', b: 1, a: 2 } },
    ],
  ])('asks for JSON: %j', (responseFormat, written) => {
    expect(write({ responseFormat: responseFormat as never }).body.generationConfig).toEqual(written);
  });

  it('keeps the order of a schema and its numbers', () => {
    const schemaJson = '{"type":"object","maximum":12345678901234567890,"a":1.0}';
    const kind = { case: 'jsonSchema' as const, value: { name: 'x', schemaJson } };

    expect(write({ responseFormat: { kind } }).text).toContain(`"responseJsonSchema":${schemaJson}`);
  });

  it.each<[string, Fields, string?]>([
    ['logit_bias', { logitBias: { '5': 1 } }],
    ['parallel_tool_calls', { parallelToolCalls: false }],
    ['stop', { stop: ['1', '2', '3', '4', '5', '6'] }],
    ['audio_output.format', { audioOutput: { voice: 'Kore', format: 'mp3' } }],
    ['tools[0].custom', { tools: [{ kind: { case: 'custom', value: { name: 'x' } } }] }],
    ['reasoning.effort', { reasoning: { effort: 'high' } }, 'gemini-2.0-flash'],
    ['reasoning.budget_tokens', { reasoning: { budgetTokens: 5 } }, 'gemini-2.0-flash'],
    ['reasoning.effort', { reasoning: { effort: 'unheard-of' } }, 'gemini-2.5-flash'],
    [
      'response_format',
      {
        responseFormat: { kind: { case: 'jsonObject', value: {} } },
        tools: [{ kind: { case: 'function', value: { name: 'x' } } }],
      },
      'gemini-2.5-flash',
    ],
  ])('cannot hold %s: it is refused, or left out and named', (field, fields, named) => {
    const more = named === undefined ? {} : { model: named };

    const refused = refusalOf(fields, more);
    expect(refused).toMatchObject({ reason: 'invalid_request', provider: 'upstream' });
    expect(fieldsOf(refused)).toEqual([field]);
    expect(write(fields, { ...more, drop: true }).droppedFields).toEqual([field]);
  });

  it('keeps the first five texts to stop at where more may be dropped', () => {
    const { body } = write({ stop: ['1', '2', '3', '4', '5', '6'] }, { drop: true });

    expect(body.generationConfig.stopSequences).toEqual(['1', '2', '3', '4', '5']);
  });

  it('leaves out what asks for nothing, and hints', () => {
    const messages = [{ ...user(text('hi', { cacheBreakpoint: { ttl: '1h' } })), name: 'Ann' }];
    const { body, droppedFields } = write({
      messages,
      parallelToolCalls: true,
      options: { userId: 'u', metadata: { a: 'b' } },
    });

    expect(body).toEqual({ contents: [{ role: 'user', parts: [{ text: 'hi' }] }] });
    expect(droppedFields).toEqual([]);
  });
});

describe('extras of a request', () => {
  it('go beside what is typed, and within it', () => {
    const safetySettings = [{ category: 'HARM_CATEGORY_HARASSMENT', threshold: 'OFF' }];
    const { body } = write({
      temperature: 1,
      toolChoice: { mode: ToolChoiceMode.NONE },
      tools: [{ kind: { case: 'function', value: { name: 'f' } } }],
      ...gemini({
        safetySettings,
        cachedContent: 'cachedContents/x',
        generationConfig: { mediaResolution: 'MEDIA_RESOLUTION_LOW' },
        tool_config: { retrievalConfig: { languageCode: 'en' } },
      }),
    });

    expect(body).toMatchObject({ safetySettings, cachedContent: 'cachedContents/x' });
    expect(body.generationConfig).toEqual({ mediaResolution: 'MEDIA_RESOLUTION_LOW', temperature: 1 });
    expect(body.toolConfig).toEqual({
      retrievalConfig: { languageCode: 'en' },
      functionCallingConfig: { mode: 'NONE' },
    });
    expect(body).not.toHaveProperty('tool_config');
  });

  it('of others are left out and named', () => {
    const extraJson = { openai: '{"user":"u"}', upstream: '{"labels":{"a":"b"}}' };
    const { body, droppedFields } = write({ extraJson });

    expect(body.labels).toEqual({ a: 'b' });
    expect(body).not.toHaveProperty('user');
    expect(droppedFields).toEqual(['extra_json.openai']);
  });

  it.each([
    [{ contents: [] }, 'contents'],
    [{ system_instruction: {} }, 'system_instruction'],
    [{ model: 'x' }, 'model'],
    [{ serviceTier: 'flex' }, 'serviceTier'],
    [{ generationConfig: { maxOutputTokens: 1 } }, 'generationConfig.maxOutputTokens'],
    [{ generation_config: { max_output_tokens: 1 } }, 'generation_config.max_output_tokens'],
    [{ generationConfig: { thinking_config: {} } }, 'generationConfig.thinking_config'],
    [{ toolConfig: { functionCallingConfig: {} } }, 'toolConfig.functionCallingConfig'],
  ])('must not hold what has a field: %j', (extras, path) => {
    expect(fieldsOf(refusalOf(gemini(extras)))).toEqual([`extra_json.gemini.${path}`]);
  });

  it('are refused in both spellings of every path', () => {
    expect(typedRequestPaths).toContain('generation_config.responseMimeType');
    expect(typedRequestPaths).toContain('generationConfig.response_mime_type');
  });
});

describe('a conversation', () => {
  it('puts instructions beside the turns', () => {
    const { body } = write({
      messages: [
        { role: Role.SYSTEM, parts: [text('be brief')] },
        user(text('hi')),
        { role: Role.DEVELOPER, parts: [text('be kind')] },
      ],
    });

    expect(body.systemInstruction).toEqual({ parts: [{ text: 'be brief' }, { text: 'be kind' }] });
    expect(body.contents).toEqual([{ role: 'user', parts: [{ text: 'hi' }] }]);
  });

  it('of instructions alone is said by the user', () => {
    const { body } = write({ messages: [{ role: Role.SYSTEM, parts: [text('tell a joke')] }] });

    expect(body).toEqual({ contents: [{ role: 'user', parts: [{ text: 'tell a joke' }] }] });
  });

  it('alternates: what one role says in a row is one turn', () => {
    expect(contentsOf(user(text('a')), user(text('b')), model(text('c')), model(text('d')), user(text('e')))).toEqual([
      { role: 'user', parts: [{ text: 'a' }, { text: 'b' }] },
      { role: 'model', parts: [{ text: 'c' }, { text: 'd' }] },
      { role: 'user', parts: [{ text: 'e' }] },
    ]);
  });

  it('leaves out empty texts and turns without parts', () => {
    expect(contentsOf(user(text('a')), model(text('')), user(text(''), text('b')))).toEqual([
      { role: 'user', parts: [{ text: 'a' }, { text: 'b' }] },
    ]);
  });

  it('writes media by bytes, by address and by what was said', () => {
    const data = new Uint8Array([1, 2, 3]);
    const parts = partsOf(
      media('image', { source: { case: 'data', value: data }, mimeType: 'image/webp', detail: 'low' }),
      media('image', { source: { case: 'data', value: data } }),
      media('audio', { source: { case: 'data', value: data }, mimeType: 'audio/mp3' }),
      media('file', { source: { case: 'data', value: data }, name: 'a.pdf' }),
      media('image', { source: { case: 'url', value: 'https://example.com/a.png' } }),
      media('file', { source: { case: 'fileId', value: 'https://host/v1beta/files/x' }, mimeType: 'video/mp4' }),
      media('audio', { source: { case: 'fileId', value: 'audio_1' }, transcript: 'hello' }),
      {
        ...(media('file', { source: { case: 'url', value: 'https://youtu.be/x' } }) as object),
        ...gemini({ videoMetadata: { fps: 1 } }),
      },
    );

    expect(parts).toEqual([
      { inlineData: { mimeType: 'image/webp', data: 'AQID' } },
      { inlineData: { mimeType: 'image/png', data: 'AQID' } },
      { inlineData: { mimeType: 'audio/mp3', data: 'AQID' } },
      { inlineData: { mimeType: 'application/pdf', data: 'AQID' } },
      { fileData: { fileUri: 'https://example.com/a.png' } },
      { fileData: { mimeType: 'video/mp4', fileUri: 'https://host/v1beta/files/x' } },
      { text: 'hello' },
      { videoMetadata: { fps: 1 }, fileData: { fileUri: 'https://youtu.be/x' } },
    ]);
  });

  it('sends blocks back to their own family, and says which it left out', () => {
    const block = { executableCode: { language: 'PYTHON', code: '1' }, thoughtSignature: 's' };
    const messages = [
      user(text('a')),
      model({ ...gemini(block) }, { extraJson: { anthropic: '{"type":"x"}' } }, text('b')),
    ];
    const { body, droppedFields } = write({ messages });

    expect(body.contents[1].parts).toEqual([block, { text: 'b' }]);
    expect(droppedFields).toEqual(['messages.parts.extra_json.anthropic']);
  });

  it('has no place for extras of a message', () => {
    const { body, droppedFields } = write({ messages: [{ ...user(text('a')), ...gemini({ x: 1 }) }] });

    expect(body.contents).toEqual([{ role: 'user', parts: [{ text: 'a' }] }]);
    expect(droppedFields).toEqual(['messages.extra_json.gemini']);
  });
});

describe('tools', () => {
  const tool = (name: string, more: object = {}) =>
    ({ kind: { case: 'function', value: { name, ...more } } }) as NonNullable<Fields['tools']>[number];

  it('are declared with the schema as it is', () => {
    const parametersJson = '{"type":"object","properties":{"z":{"$ref":"#/$defs/x"},"a":{}}}';
    const search = { kind: { case: 'provider' as const, value: { family: 'gemini', json: '{"googleSearch":{}}' } } };
    const foreign = { kind: { case: 'provider' as const, value: { family: 'openai', json: '{"type":"x"}' } } };
    const declared = {
      ...tool('f', { description: 'does', parametersJson, strict: true }),
      ...gemini({ behavior: 'BLOCKING' }),
    };
    const { text: json, body, droppedFields } = write({ tools: [search, declared, foreign, tool('g')] });

    expect(body.tools).toEqual([
      {
        functionDeclarations: [
          { behavior: 'BLOCKING', name: 'f', description: 'does', parametersJsonSchema: JSON.parse(parametersJson) },
          { name: 'g' },
        ],
      },
      { googleSearch: {} },
    ]);
    expect(json).toContain(`"parametersJsonSchema":${parametersJson}`);
    expect(droppedFields).toEqual(['tools.function.strict', 'tools.provider.openai']);
  });

  it.each([
    [{ mode: ToolChoiceMode.AUTO }, { mode: 'AUTO' }, ['f', 'g']],
    [{ mode: ToolChoiceMode.NONE }, { mode: 'NONE' }, ['f', 'g']],
    [{ mode: ToolChoiceMode.REQUIRED }, { mode: 'ANY' }, ['f', 'g']],
    [{ mode: ToolChoiceMode.REQUIRED, allowedTools: ['g'] }, { mode: 'ANY', allowedFunctionNames: ['g'] }, ['f', 'g']],
    [{ mode: ToolChoiceMode.AUTO, allowedTools: ['g'] }, { mode: 'AUTO' }, ['g']],
    [{ allowedTools: ['g'] }, undefined, ['g']],
    [{}, undefined, ['f', 'g']],
  ])('are chosen by %j', (toolChoice, functionCallingConfig, offered) => {
    const { body } = write({ tools: [tool('f'), tool('g')], toolChoice });

    expect(body.toolConfig).toEqual(functionCallingConfig && { functionCallingConfig });
    expect(body.tools[0].functionDeclarations.map(({ name }: { name: string }) => name)).toEqual(offered);
  });

  it('are not chosen between where there are no functions', () => {
    const { body } = write({ toolChoice: { mode: ToolChoiceMode.AUTO } });

    expect(body).not.toHaveProperty('toolConfig');
  });

  it('are called and answered in one turn each, by name and id', () => {
    const contents = contentsOf(
      user(text('weather in both?')),
      model(text('let me see'), call('1', 'weather', '{"city":"Rome"}'), call('2', 'time', '')),
      result('2', 'noon'),
      result('1', '{"sky":"blue"}'),
      user(text('and?')),
    );

    expect(contents).toEqual([
      { role: 'user', parts: [{ text: 'weather in both?' }] },
      {
        role: 'model',
        parts: [
          { text: 'let me see' },
          { functionCall: { id: '1', name: 'weather', args: { city: 'Rome' } }, thoughtSignature: dummy },
          { functionCall: { id: '2', name: 'time', args: {} } },
        ],
      },
      {
        role: 'user',
        parts: [
          { functionResponse: { id: '2', name: 'time', response: { result: 'noon' } } },
          { functionResponse: { id: '1', name: 'weather', response: { sky: 'blue' } } },
          { text: 'and?' },
        ],
      },
    ]);
  });

  it.each([
    ['{"n":12345678901234567890}', '{"n":12345678901234567890}'],
    ['["a"]', '{"input":"[\\"a\\"]"}'],
    ['{"a":', '{"input":"{\\"a\\":"}'],
  ])('called with %s are called with an object', (args, written) => {
    const { text: json } = write({ messages: [user(text('a')), model(call('1', 'f', args)), result('1', '')] });

    expect(json).toContain(`"args":${written}`);
  });

  it('called with free text are called with an object', () => {
    const custom = { kind: { case: 'toolCall', value: { id: '1', name: 'f', arguments: '{"a":1}', custom: true } } };

    expect(contentsOf(user(text('a')), model(custom))[1].parts[0].functionCall.args).toEqual({ input: '{"a":1}' });
  });

  it.each([
    ['15', { result: '15' }],
    ['[1, 2]', { result: [1, 2] }],
    ['[1, 2', { result: '[1, 2' }],
    ['{"a":[]}', { a: [] }],
    ['', { result: '' }],
  ])('that say %s are told to have said an object', (said, response) => {
    const contents = contentsOf(user(text('a')), model(call('1', 'f')), result('1', said));

    expect(contents[2].parts[0].functionResponse.response).toEqual(response);
  });

  it('that failed say so', () => {
    const contents = contentsOf(
      user(text('a')),
      model(call('1', 'f')),
      result('1', 'no such city', { toolFailed: true }),
    );

    expect(contents[2].parts[0].functionResponse.response).toEqual({ error: 'no such city' });
  });

  it.each([
    ['gemini-3.5-flash', 1],
    ['gemini-2.5-flash', 2],
  ])('of %s that answer with an image hold it in %i part(s)', (named, count) => {
    const image = media('image', { source: { case: 'data', value: new Uint8Array([1]) }, mimeType: 'image/png' });
    const answered = result('1', 'here', { parts: [text('here'), image] });
    const { body } = write({ messages: [user(text('a')), model(call('1', 'f')), answered] }, { model: named });
    const parts = body.contents[2].parts;

    expect(parts).toHaveLength(count);
    expect(count === 1 ? parts[0].functionResponse.parts[0] : parts[1]).toEqual({
      inlineData: { mimeType: 'image/png', data: 'AQ==' },
    });
  });

  it('that nobody called cannot answer, unless they are named', () => {
    const refused = refusalOf({ messages: [user(text('a')), result('9', 'x')] });

    expect(refused.reason).toBe('invalid_request');
    expect(fieldsOf(refused)).toEqual(['messages[1].tool_call_id']);
    expect(contentsOf(user(text('a')), result('9', 'x', { name: 'f' }))[0].parts[1].functionResponse.name).toBe('f');
  });
});

describe('thought signatures', () => {
  const turn = (message: MessageFields, named = 'gemini-3.5-flash') => {
    const { body, droppedFields } = write({ messages: [user(text('a')), message] }, { model: named });
    const parts: { thoughtSignature?: string }[] = body.contents[1].parts;
    return { parts, signatures: parts.map(({ thoughtSignature }) => thoughtSignature), droppedFields };
  };
  const signed = gemini({ thoughtSignature: 'own' });
  const google = { extra_content: { google: { thought_signature: 'echoed' } } };
  const detail = (more: object) => ({ format: 'google-gemini-v1', index: 0, ...more });

  it('go back with their part', () => {
    const { parts } = turn(model(reasoning('hm', signed), text('', signed), text('b'), call('1', 'f', '{}', signed)));

    expect(parts).toEqual([
      { thoughtSignature: 'own', text: 'hm', thought: true },
      { thoughtSignature: 'own', text: '' },
      { text: 'b' },
      { thoughtSignature: 'own', functionCall: { id: '1', name: 'f', args: {} } },
    ]);
  });

  it("are taken from Google's form of OpenAI's tool calls", () => {
    const { signatures, droppedFields } = turn(model(call('1', 'f', '{}', openai(google)), call('2', 'g')));

    expect(signatures).toEqual(['echoed', undefined]);
    expect(droppedFields).toEqual([]);
  });

  it('of the text are taken from the message', () => {
    expect(turn({ ...model(text('b'), call('1', 'f')), ...openai(google) }).signatures).toEqual(['echoed', dummy]);
  });

  it('are taken from reasoning_details: by id, for the first call, for the text, for the thought', () => {
    const byId = [detail({ type: 'reasoning.encrypted', id: '2', data: 's2' })];
    const lost = [detail({ type: 'reasoning.encrypted', id: 'another', data: 's1' })];
    const ofText = [detail({ type: 'reasoning.encrypted', data: 's0' })];
    const ofThought = [detail({ type: 'reasoning.text', text: 'hm', signature: 'st' })];
    const said = (reasoning_details: object[]) =>
      turn({
        ...model(reasoning('hm'), text('b'), call('1', 'f'), call('2', 'g')),
        ...openai({ reasoning_details }),
      }).signatures;

    expect(said(byId)).toEqual([undefined, undefined, dummy, 's2']);
    expect(said(lost)).toEqual([undefined, undefined, 's1', undefined]);
    expect(said(ofText)).toEqual([undefined, 's0', dummy, undefined]);
    expect(said(ofThought)).toEqual(['st', undefined, dummy, undefined]);
  });

  it("of other providers are not Gemini's", () => {
    const reasoning_details = [{ type: 'reasoning.encrypted', id: '1', data: 'x', format: 'anthropic-claude-v1' }];

    expect(turn({ ...model(call('1', 'f')), ...openai({ reasoning_details }) }).signatures).toEqual([dummy]);
  });

  it('that came back twice count by the part of their own', () => {
    const both = { extraJson: { ...signed.extraJson, ...openai(google).extraJson } };

    expect(turn(model(call('1', 'f', '{}', both))).signatures).toEqual(['own']);
  });

  it.each([
    ['gemini-3-pro-preview', [dummy, undefined]],
    ['gemini-flash-latest', [dummy, undefined]],
    ['gemini-2.5-pro', [undefined, undefined]],
  ])('that nobody echoes are made up where %s wants them', (named, signatures) => {
    expect(turn(model(call('1', 'f'), call('2', 'g')), named).signatures).toEqual(signatures);
  });

  it('beside which more came are told to be left out', () => {
    const { droppedFields } = turn(model(text('b', openai({ ...google, other: 1 }))));

    expect(droppedFields).toEqual(['messages.parts.extra_json.openai']);
  });
});

describe('thinking', () => {
  it.each<[string, object, object | undefined, string[]]>([
    ['gemini-3.5-flash', { effort: 'low' }, { thinkingLevel: 'LOW' }, []],
    ['gemini-3.5-flash', { effort: 'none' }, { thinkingLevel: 'MINIMAL' }, []],
    ['gemini-3.1-pro-preview', { effort: 'minimal' }, { thinkingLevel: 'LOW' }, []],
    ['gemini-3.5-flash', { effort: 'xhigh' }, { thinkingLevel: 'HIGH' }, []],
    ['gemini-4-flash', { effort: 'vast' }, { thinkingLevel: 'VAST' }, []],
    ['gemini-3.5-flash', { budgetTokens: 99 }, { thinkingBudget: 99 }, []],
    ['gemini-3.5-flash', { effort: 'high', budgetTokens: 99 }, { thinkingLevel: 'HIGH' }, ['reasoning.budget_tokens']],
    ['gemini-3.5-flash', { includeText: true }, { includeThoughts: true }, []],
    ['gemini-2.5-flash', { effort: 'none', includeText: false }, { thinkingBudget: 0, includeThoughts: false }, []],
    ['gemini-2.5-flash', { effort: 'medium' }, { thinkingBudget: 8192 }, []],
    ['gemini-2.5-flash', { effort: 'auto' }, { thinkingBudget: -1 }, []],
    ['gemini-2.5-flash', { effort: 'high', budgetTokens: 99 }, { thinkingBudget: 99 }, ['reasoning.effort']],
    ['gemini-2.5-pro', { effort: 'none' }, { thinkingBudget: 128 }, []],
    ['gemini-2.5-pro', { effort: 'auto' }, { thinkingBudget: -1 }, []],
    ['gemini-2.0-flash', { effort: 'none', includeText: true }, undefined, []],
    ['gemini-3.5-flash', {}, undefined, []],
  ])('of %s by %j is %j', (named, reasoning, thinkingConfig, dropped) => {
    const { body, droppedFields } = write({ reasoning }, { model: named });

    expect(body.generationConfig?.thinkingConfig).toEqual(thinkingConfig);
    expect(droppedFields).toEqual(dropped);
  });
});
