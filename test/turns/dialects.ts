/** A JSON object, as a test reads it. */
export type Json = Record<string, unknown>;

/** What one side said, whatever the dialect. Ids are numbered by first appearance: some are made up. */
export interface Turn {
  readonly role: 'system' | 'user' | 'assistant';
  readonly text: string;
  /** Signed thoughts, as they were signed. */
  readonly thoughts: readonly Json[];
  readonly calls: readonly { id: string; name: unknown; arguments: unknown; signature?: unknown }[];
  /** Results of tools, in their order. A dialect that names tools in results has the name. */
  readonly results: readonly { id: string; name?: unknown; text: string }[];
  /** Images and files: their type, and their bytes in base64. */
  readonly media: readonly string[];
}

/** A dialect of upstreams: how it says a turn, and how a conversation in it is read. */
export interface Dialect {
  /** What `base_url` ends with. */
  readonly path: string;
  /** An answer of the assistant, whose turn is given as the dialect has it in a conversation. */
  write(turn: Json, streaming: boolean): string;
  /** The turn of an assistant that says a text. */
  saying(text: string): Json;
  /** The turns of a request's body, as they are on the wire. */
  turnsOf(body: Json): readonly Json[];
  read(turn: Json): Partial<Turn>;
}

/** Read the conversation in a request; what one role says in a row is one turn. */
export function readConversation(dialect: Dialect, body: Json): Turn[] {
  const turns: Turn[] = [];
  for (const wire of dialect.turnsOf(body)) {
    const { role = 'user', text = '', thoughts = [], calls = [], results = [], media = [] } = dialect.read(wire);
    const last = turns.at(-1);
    if (last?.role !== role) turns.push({ role, text, thoughts, calls, results, media });
    else {
      turns[turns.length - 1] = {
        role,
        text: [last.text, text].filter(Boolean).join('\n'),
        thoughts: [...last.thoughts, ...thoughts],
        calls: [...last.calls, ...calls],
        results: [...last.results, ...results],
        media: [...last.media, ...media],
      };
    }
  }
  const ids = [...new Set(turns.flatMap(({ calls }) => calls.map(({ id }) => id)))];
  const numbered = <Item extends { id: string }>(item: Item) => ({ ...item, id: `#${ids.indexOf(item.id)}` });
  return turns.map((turn) => ({ ...turn, calls: turn.calls.map(numbered), results: turn.results.map(numbered) }));
}

const objects = (value: unknown): Json[] => (Array.isArray(value) ? value : []);
const joined = (blocks: readonly Json[]) => blocks.map(({ text }) => text ?? '').join('');
const textIn = (content: unknown) => (typeof content === 'string' ? content : joined(objects(content)));
const bytes = (type: unknown, base64: unknown) =>
  `${type}: ${Buffer.from(String(base64), 'base64').toString('base64')}`;
const sse = (events: readonly unknown[], end = '\n\n') =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}${end}`).join('');

const openai: Dialect = {
  path: '/v1',
  write(turn, streaming) {
    const calls = objects(turn.tool_calls);
    const finish_reason = calls.length > 0 ? 'tool_calls' : 'stop';
    const usage = { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 };
    if (!streaming) return JSON.stringify({ choices: [{ index: 0, message: turn, finish_reason }], usage });
    const { tool_calls: _, ...said } = turn;
    const deltas: Json[] = [said];
    for (const [index, call] of calls.entries()) {
      const { name, arguments: args } = call.function as { name: string; arguments: string };
      const middle = Math.floor(args.length / 2);
      deltas.push({ tool_calls: [{ ...call, index, function: { name, arguments: args.slice(0, middle) } }] });
      deltas.push({ tool_calls: [{ index, function: { arguments: args.slice(middle) } }] });
    }
    const choices = [...deltas.map((delta) => ({ delta, finish_reason: null })), { delta: {}, finish_reason }];
    const chunks = choices.map((choice) => ({ choices: [{ index: 0, ...choice }] }));
    return sse([...chunks, { choices: [], usage }, '[DONE]']);
  },
  saying: (content) => ({ role: 'assistant', content }),
  turnsOf: ({ messages }) => objects(messages),
  read({ role, content, tool_calls, tool_call_id }) {
    if (role === 'tool') return { results: [{ id: String(tool_call_id), text: textIn(content) }] };
    const calls = objects(tool_calls).map(({ id, function: called }) => {
      const { name, arguments: args } = called as { name: string; arguments: string };
      return { id: String(id), name, arguments: JSON.parse(args) };
    });
    const media = (Array.isArray(content) ? (content as Json[]) : []).flatMap(({ image_url }) => {
      const [, type, data] = /^data:(.*?);base64,(.*)$/.exec(String((image_url as Json | undefined)?.url)) ?? [];
      return type ? [bytes(type, data)] : [];
    });
    return { role: role as Turn['role'], text: textIn(content), calls, media };
  },
};

const ollama: Dialect = {
  path: '',
  write(message, streaming) {
    const end = { done: true, done_reason: 'stop', prompt_eval_count: 5, eval_count: 2 };
    if (!streaming) return JSON.stringify({ model: 'm', message, ...end });
    const { content, tool_calls, ...more } = message;
    const pieces = [{ content, ...more }, ...objects(tool_calls).map((call) => ({ content: '', tool_calls: [call] }))];
    const lines = pieces.map((piece) => ({ model: 'm', message: { role: 'assistant', ...piece }, done: false }));
    return [...lines, { model: 'm', message: { role: 'assistant', content: '' }, ...end }]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join('');
  },
  saying: (content) => ({ role: 'assistant', content }),
  turnsOf: ({ messages }) => objects(messages),
  read({ role, content, tool_calls, tool_call_id, tool_name }) {
    if (role === 'tool') return { results: [{ id: String(tool_call_id), name: tool_name, text: textIn(content) }] };
    const calls = objects(tool_calls).map(({ id, function: called }) => {
      const { name, arguments: args } = called as Json;
      return { id: String(id), name, arguments: args };
    });
    return { role: role as Turn['role'], text: textIn(content), calls };
  },
};

const gemini: Dialect = {
  path: '/v1beta',
  write(content, streaming) {
    const usageMetadata = { promptTokenCount: 5, candidatesTokenCount: 2, totalTokenCount: 7 };
    const end = { finishReason: 'STOP', index: 0 };
    if (!streaming) return JSON.stringify({ candidates: [{ content, ...end }], usageMetadata });
    const pieces = objects(content.parts).map((part) => ({ content: { role: 'model', parts: [part] }, index: 0 }));
    return sse(
      [...pieces, end].map((candidate) => ({ candidates: [candidate], usageMetadata })),
      '\r\n\r\n',
    );
  },
  saying: (text) => ({ role: 'model', parts: [{ text }] }),
  turnsOf: ({ contents, systemInstruction }) => [
    ...(systemInstruction ? [{ ...(systemInstruction as Json), role: 'system' }] : []),
    ...objects(contents),
  ],
  read({ role, parts }) {
    const all = objects(parts);
    const responses = all.flatMap(({ functionResponse }) => (functionResponse ? [functionResponse as Json] : []));
    const calls = all.filter(({ functionCall }) => functionCall);
    return {
      role: role === 'model' ? 'assistant' : role === 'system' ? 'system' : 'user',
      text: joined(all.filter(({ thought }) => !thought)),
      calls: calls.map(({ functionCall, thoughtSignature }) => {
        const { id, name, args = {} } = functionCall as Json;
        return { id: String(id), name, arguments: args, signature: thoughtSignature };
      }),
      media: all.flatMap(({ inlineData }) =>
        inlineData ? [bytes((inlineData as Json).mimeType, (inlineData as Json).data)] : [],
      ),
      results: responses.map(({ id, name, response }) => ({ id: String(id), name, text: JSON.stringify(response) })),
    };
  },
};

const anthropic: Dialect = {
  path: '/v1',
  write({ content }, streaming) {
    const blocks = objects(content);
    const stop_reason = blocks.some(({ type }) => type === 'tool_use') ? 'tool_use' : 'end_turn';
    const usage = { input_tokens: 5, output_tokens: 2 };
    const message = { id: 'msg', type: 'message', role: 'assistant', model: 'm', content: blocks, stop_reason, usage };
    if (!streaming) return JSON.stringify(message);
    const events: Json[] = [{ type: 'message_start', message: { ...message, content: [], stop_reason: null } }];
    for (const [index, { text, thinking, signature, input, ...block }] of blocks.entries()) {
      const opening = { ...block, ...(text !== undefined && { text: '' }), ...(input !== undefined && { input: {} }) };
      events.push({
        type: 'content_block_start',
        index,
        content_block: thinking === undefined ? opening : { ...opening, thinking: '', signature: '' },
      });
      const delta = (type: string, fields: Json) =>
        events.push({ type: 'content_block_delta', index, delta: { type, ...fields } });
      if (text !== undefined) delta('text_delta', { text });
      if (thinking !== undefined) delta('thinking_delta', { thinking });
      if (signature !== undefined) delta('signature_delta', { signature });
      if (input !== undefined) delta('input_json_delta', { partial_json: JSON.stringify(input) });
      events.push({ type: 'content_block_stop', index });
    }
    events.push({ type: 'message_delta', delta: { stop_reason }, usage }, { type: 'message_stop' });
    return events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
  },
  saying: (text) => ({ role: 'assistant', content: [{ type: 'text', text }] }),
  turnsOf: ({ messages, system }) => [...(system ? [{ role: 'system', content: system }] : []), ...objects(messages)],
  read({ role, content }) {
    const blocks = typeof content === 'string' ? [{ type: 'text', text: content }] : objects(content);
    const of = (type: string): Json[] => blocks.filter((block) => block.type === type);
    const inResults = of('tool_result').flatMap(({ content: result }) => objects(result));
    return {
      role: role as Turn['role'],
      text: joined(of('text')),
      media: [...blocks, ...inResults].flatMap(({ source }) =>
        source ? [bytes((source as Json).media_type, (source as Json).data)] : [],
      ),
      thoughts: [...of('thinking'), ...of('redacted_thinking')],
      calls: of('tool_use').map(({ id, name, input }) => ({ id: String(id), name, arguments: input })),
      results: of('tool_result').map(({ tool_use_id, content: result }) => ({
        id: String(tool_use_id),
        text: textIn(result),
      })),
    };
  },
};

/** The dialects, by the kind of provider that speaks them. */
export const dialects = { openai_compatible: openai, groq: openai, ollama, gemini, anthropic } as const;
