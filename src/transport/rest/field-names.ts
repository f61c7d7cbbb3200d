import { isObject, isSet, type JsonObject } from './fields.ts';

/** Fields of the contract whose names differ from the caller's, by what they begin with. */
const renames: readonly (readonly [contract: RegExp, name: string])[] = [
  [/^options\.idempotency_key/, 'Idempotency-Key'],
  [/^options\.cache_mode/, 'Cache-Control'],
  [/^options\./, ''],
  [/^reasoning\.effort/, 'reasoning_effort'],
  [/^output_modalities/, 'modalities'],
  [/^audio_output/, 'audio'],
  [/^tool_choice.*/, 'tool_choice'],
  [/^response_format\.json_schema\.schema_json/, 'response_format.json_schema.schema'],
  [/^inputs\b/, 'input'],
  [/^extra_json\.openai\./, ''],
];

const partNames: Readonly<Record<string, string>> = {
  '.image': '.image_url',
  '.audio': '.input_audio',
};

/**
 * The caller's names for the fields of the contract, made for one body: `max_output_tokens` becomes whichever of its two names
 * the body uses, `messages[2].parts[0].text` becomes `messages[2].content[0].text`.
 */
export function fieldNames(body: JsonObject): (field: string) => string {
  return (field) => {
    if (field.startsWith('messages[')) return messageField(field, body);
    if (field.startsWith('tools[')) return toolField(field, body);
    if (field === 'max_output_tokens') return 'max_completion_tokens' in body ? 'max_completion_tokens' : 'max_tokens';
    if (field === 'options.user_id') {
      return ['user_id', 'safety_identifier'].find((name) => typeof body[name] === 'string') ?? 'user';
    }
    if (field.startsWith('stop[') && typeof body.stop === 'string') return 'stop';
    if (field.startsWith('inputs[') && !Array.isArray(body.input)) return 'input';
    const rename = renames.find(([contract]) => contract.test(field));
    return rename ? field.replace(...rename) : field;
  };
}

function messageField(field: string, body: JsonObject): string {
  const match = /^(messages\[(\d+)\])\.parts\[(\d+)\](\.\w+)?(.*)$/.exec(field);
  const message = match && Array.isArray(body.messages) ? body.messages[Number(match[2])] : undefined;
  if (!match || !isObject(message)) return field;
  const [, at, , part, kind = '', rest = ''] = match;
  return `${at}.${partField(message, Number(part), kind)}${rest}`;
}

/** Where a part stands in OpenAI's message; readMessages puts reasoning first, then content, refusal, audio, tool calls. */
function partField(message: JsonObject, part: number, kind: string): string {
  const reasoning = ['reasoning_content', 'reasoning'].find(
    (name) => typeof message[name] === 'string' && message[name],
  );
  let index = part;
  if (reasoning) {
    if (index === 0) return reasoning;
    index--;
  }
  const { content, tool_calls: calls } = message;
  const contents = Array.isArray(content) ? content.length : typeof content === 'string' && (content || !calls) ? 1 : 0;
  if (index < contents) return Array.isArray(content) ? `content[${index}]${partNames[kind] ?? kind}` : 'content';
  index -= contents;
  for (const name of ['refusal', 'audio']) {
    if (!isSet(message[name])) continue;
    if (index === 0) return name;
    index--;
  }
  return calls ? `tool_calls[${index}]` : 'function_call';
}

function toolField(field: string, body: JsonObject): string {
  const renamed = field
    .replace(/\.function\.parameters_json$/, '.function.parameters')
    .replace(/\.custom\.format_json$/, '.custom.format')
    .replace(/\.provider(\.json)?$/, '');
  const legacy = 'functions' in body && !('tools' in body);
  return legacy ? renamed.replace(/^tools(\[\d+\])\.function/, 'functions$1') : renamed;
}
