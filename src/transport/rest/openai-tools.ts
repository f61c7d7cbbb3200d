import {
  type ResponseFormat,
  type Tool,
  type ToolChoice,
  ToolChoiceMode,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import {
  extrasOf,
  inWords,
  isSet,
  type JsonObject,
  readBoolean,
  readList,
  readObject,
  readText,
  readWord,
  wrong,
} from './fields.ts';
import { readCacheBreakpoint } from './openai-messages.ts';

const functionToolKeys: ReadonlySet<string> = new Set(['type', 'function', 'prompt_cache_breakpoint']);
const customToolKeys: ReadonlySet<string> = new Set(['type', 'custom', 'prompt_cache_breakpoint']);

/** Translate OpenAI's `tools`; a type that is neither function nor custom is a tool of the provider's own, kept verbatim. */
export function readTools(value: unknown, at: string): Tool[] {
  return readList(value, at).map((item, index) => readTool(readObject(item, `${at}[${index}]`), `${at}[${index}]`));
}

function readTool(item: JsonObject, at: string): Tool {
  const type = readText(item.type, `${at}.type`);
  if (type === 'function') {
    return tool(
      functionTool(readObject(item.function, `${at}.function`), `${at}.function`),
      item,
      functionToolKeys,
      at,
    );
  }
  if (type === 'custom') {
    const { name, description, format } = readObject(item.custom, `${at}.custom`);
    const value = {
      $typeName: 'llmgateway.v1.CustomTool' as const,
      name: readText(name, `${at}.custom.name`),
      description: optionalText(description, `${at}.custom.description`),
      formatJson: optionalObject(format, `${at}.custom.format`),
    };
    return tool({ case: 'custom', value }, item, customToolKeys, at);
  }
  const value = { $typeName: 'llmgateway.v1.ProviderTool' as const, family: 'openai', json: JSON.stringify(item) };
  return { $typeName: 'llmgateway.v1.Tool', kind: { case: 'provider', value }, extraJson: {} };
}

function tool(kind: Tool['kind'], item: JsonObject, known: ReadonlySet<string>, at: string): Tool {
  const extras = extrasOf(item, known);
  const cacheBreakpoint = readCacheBreakpoint(item.prompt_cache_breakpoint, at);
  const extraJson = extras === undefined ? {} : { openai: extras };
  return { $typeName: 'llmgateway.v1.Tool', kind, extraJson, ...(cacheBreakpoint && { cacheBreakpoint }) };
}

function functionTool({ name, description, parameters, strict }: JsonObject, at: string): Tool['kind'] {
  return {
    case: 'function',
    value: {
      $typeName: 'llmgateway.v1.FunctionTool',
      name: readText(name, `${at}.name`),
      description: optionalText(description, `${at}.description`),
      parametersJson: optionalObject(parameters, `${at}.parameters`),
      ...optionalStrict(strict, `${at}.strict`),
    },
  };
}

function optionalText(value: unknown, at: string): string {
  return isSet(value) ? readText(value, at) : '';
}

function optionalObject(value: unknown, at: string): string {
  return isSet(value) ? JSON.stringify(readObject(value, at)) : '';
}

function optionalStrict(value: unknown, at: string): { strict?: boolean } {
  return isSet(value) ? { strict: readBoolean(value, at) } : {};
}

/** Translate the legacy `functions`. */
export function readFunctions(value: unknown, at: string): Tool[] {
  return readList(value, at).map((item, index) => ({
    $typeName: 'llmgateway.v1.Tool',
    kind: functionTool(readObject(item, `${at}[${index}]`), `${at}[${index}]`),
    extraJson: {},
  }));
}

const modes: Readonly<Record<string, ToolChoiceMode>> = {
  none: ToolChoiceMode.NONE,
  auto: ToolChoiceMode.AUTO,
  required: ToolChoiceMode.REQUIRED,
};

function choice(mode: ToolChoiceMode, ...allowedTools: string[]): ToolChoice {
  return { $typeName: 'llmgateway.v1.ToolChoice', mode, allowedTools };
}

/** Translate OpenAI's `tool_choice`: a word, one tool by name, or a list of allowed tools. */
export function readToolChoice(value: unknown, at: string): ToolChoice {
  if (typeof value === 'string') return choice(readWord(value, at, modes));
  const item = readObject(value, at);
  switch (item.type) {
    case 'function':
    case 'custom':
      return choice(ToolChoiceMode.REQUIRED, nameOf(item, at));
    case 'allowed_tools': {
      const { mode, tools } = readObject(item.allowed_tools, `${at}.allowed_tools`);
      const list = `${at}.allowed_tools.tools`;
      const names = readList(tools, list).map((entry, index) =>
        nameOf(readObject(entry, `${list}[${index}]`), `${list}[${index}]`),
      );
      return choice(readWord(mode, `${at}.allowed_tools.mode`, modes), ...names);
    }
    default:
      throw wrong(`${at}.type`, `must be one of function, custom, allowed_tools, not ${inWords(item.type)}`);
  }
}

/** The name in `{"type": "function", "function": {"name": ...}}`, and so for other types. */
function nameOf(item: JsonObject, at: string): string {
  const type = readText(item.type, `${at}.type`);
  const { name } = readObject(item[type], `${at}.${type}`);
  return readText(name, `${at}.${type}.name`);
}

/** Translate the legacy `function_call`: a word, or one function by name. */
export function readFunctionCall(value: unknown, at: string): ToolChoice {
  if (typeof value === 'string') return choice(readWord(value, at, modes));
  return choice(ToolChoiceMode.REQUIRED, readText(readObject(value, at).name, `${at}.name`));
}

/** Translate OpenAI's `response_format`; undefined: plain text. */
export function readResponseFormat(value: unknown, at: string): ResponseFormat | undefined {
  const format = readObject(value, at);
  const type = readWord(format.type, `${at}.type`, {
    text: 'text',
    json_object: 'object',
    json_schema: 'schema',
  } as const);
  if (type === 'text') return undefined;
  if (type === 'object') {
    const jsonObject = { $typeName: 'llmgateway.v1.JsonObjectFormat' as const };
    return { $typeName: 'llmgateway.v1.ResponseFormat', kind: { case: 'jsonObject', value: jsonObject } };
  }
  const { name, description, schema, strict } = readObject(format.json_schema, `${at}.json_schema`);
  const jsonSchema = {
    $typeName: 'llmgateway.v1.JsonSchemaFormat' as const,
    name: readText(name, `${at}.json_schema.name`),
    description: optionalText(description, `${at}.json_schema.description`),
    schemaJson: optionalObject(schema, `${at}.json_schema.schema`),
    ...optionalStrict(strict, `${at}.json_schema.strict`),
  };
  return { $typeName: 'llmgateway.v1.ResponseFormat', kind: { case: 'jsonSchema', value: jsonSchema } };
}
