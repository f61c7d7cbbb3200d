type Json = Record<string, unknown>;

/**
 * What differs between the request that was recorded and the one that the gateway sent: a path, what was there, what is there.
 *
 * Left aside is what the contract lets the gateway say in another way: a text as a string or as a part, a limit by its newer
 * name, `stop` as a list, one answer by no number, nothing by an empty text or list, and the words that answers carry and requests do not take back.
 */
export function differences(recorded: Json, sent: Json): string[] {
  return compare('', plain(recorded), plain(sent));
}

const byTheCall = ['model', 'stream', 'stream_options', 'provider', 'fallback'];
const answerOnly = [
  'annotations',
  'channel',
  'executed_tools',
  'index',
  'provider_metadata',
  'refusal',
  'function_call',
];

function plain(body: Json): Json {
  const { max_tokens, max_completion_tokens, stop, messages, n, ...rest } = without(body, byTheCall);
  return without({
    ...rest,
    n: n === 1 ? undefined : n,
    limit: max_completion_tokens ?? max_tokens,
    stop: typeof stop === 'string' ? [stop] : stop,
    messages: (messages as Json[]).map(plainMessage),
  });
}

function plainMessage(message: Json): Json {
  const { content, role, tool_calls, ...rest } = without(message, answerOnly);
  return without({
    ...rest,
    role: role === 'developer' ? 'system' : role,
    content: plainContent(content),
    tool_calls: (tool_calls as Json[] | undefined)?.map((call) => without(call, ['index'])),
  });
}

function plainContent(content: unknown): unknown {
  if (!Array.isArray(content)) return content || undefined;
  return content.every(({ type }) => type === 'text') ? content.map(({ text }) => text).join('') || undefined : content;
}

/** A copy without these keys, and without what is unset or as good as unset. */
function without(value: Json, keys: readonly string[] = []): Json {
  return Object.fromEntries(Object.entries(value).filter(([key, own]) => !keys.includes(key) && !isUnset(own)));
}

function isUnset(value: unknown): boolean {
  return value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
}

function compare(path: string, was: unknown, is: unknown): string[] {
  if (isObject(was) && isObject(is)) {
    const keys = new Set([...Object.keys(without(was)), ...Object.keys(without(is))]);
    return [...keys].flatMap((key) => compare(path ? `${path}.${key}` : key, was[key], is[key]));
  }
  if (Array.isArray(was) && Array.isArray(is) && was.length === is.length) {
    return was.flatMap((each, index) => compare(`${path}[${index}]`, each, is[index]));
  }
  const [before, now] = [JSON.stringify(was), JSON.stringify(is)];
  return before === now ? [] : [`${path}: ${before?.slice(0, 120)} became ${now?.slice(0, 120)}`];
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What keeps a body from being a request that OpenAI's chat completions take. */
export function faultsOf(body: unknown): string[] {
  if (!isObject(body)) return ['the body is no object'];
  const faults: string[] = [];
  const expect = (isTrue: boolean, fault: string) => {
    if (!isTrue) faults.push(fault);
  };
  expect(typeof body.model === 'string' && body.model !== '', 'model');
  expect(body.stream === undefined || typeof body.stream === 'boolean', 'stream');
  expect(body.stream === true || body.stream_options === undefined, 'stream_options without stream');
  for (const key of ['provider', 'fallback', 'routing_strategy', 'timeout', 'request_id']) {
    expect(!(key in body), `${key} is ours`);
  }
  const called = new Set<unknown>();
  if (!Array.isArray(body.messages) || body.messages.length === 0) return [...faults, 'messages'];
  for (const [index, message] of body.messages.entries()) {
    const at = `messages[${index}]`;
    expect(['system', 'developer', 'user', 'assistant', 'tool'].includes(message.role), `${at}.role`);
    const calls = message.tool_calls ?? [];
    for (const call of calls) {
      called.add(call.id);
      expect(typeof call.id === 'string' && call.id !== '', `${at}.tool_calls.id`);
      if (call.type === 'function') expect(typeof call.function.arguments === 'string', `${at}.tool_calls.arguments`);
    }
    expect(calls.length === 0 || message.role === 'assistant', `${at}.tool_calls at ${message.role}`);
    expect((message.role === 'tool') === (typeof message.tool_call_id === 'string'), `${at}.tool_call_id`);
    const { content } = message;
    const mayBeMissing = message.role === 'assistant' && (calls.length > 0 || message.audio || message.refusal);
    if (Array.isArray(content)) {
      for (const part of content)
        expect(typeof part.type === 'string' && part.type in part, `${at}.content part ${part.type}`);
    } else expect(typeof content === 'string' || (content === null && mayBeMissing), `${at}.content`);
  }
  for (const tool of Array.isArray(body.tools) ? body.tools : []) {
    expect(typeof tool.type === 'string', 'tools.type');
    if (tool.type === 'function') expect(/^[A-Za-z0-9_.:-]{1,128}$/.test(tool.function?.name), 'tools.function.name');
  }
  return faults;
}
