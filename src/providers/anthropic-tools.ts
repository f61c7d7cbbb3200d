import { type CompletionRequest, type Tool, ToolChoiceMode } from '../../gen/llmgateway/v1/completion_pb.ts';
import { type Writing, writeCacheControl } from './anthropic-request-messages.ts';
import { adaptSchema } from './anthropic-schema.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';

/** The members of a request that are about tools. */
export interface WrittenTools {
  readonly tools: string;
  readonly toolChoice: string;
  /** Whether the model has to call a tool: it does not think then. */
  readonly forced: boolean;
}

/** What is offered of `tools`, and what the model shall do with it. */
export function writeTools(request: CompletionRequest, writing: Writing): WrittenTools {
  const offered = toolsToOffer(request)
    .map((tool) => writeTool(tool, writing))
    .filter(Boolean);
  if (offered.length > 0) return { tools: rawMember('tools', array(offered)), ...writeToolChoice(request) };
  // A conversation with calls in it is refused unless it tells what was called.
  const called = calledTools(request).map((name) =>
    object(member('name', name), rawMember('input_schema', noArguments)),
  );
  if (called.length === 0) return { tools: '', toolChoice: '', forced: false };
  return {
    tools: rawMember('tools', array(called)),
    toolChoice: member('tool_choice', { type: 'none' }),
    forced: false,
  };
}

const noArguments = '{"type":"object","properties":{}}';

/** The wire has no choice between several tools: only those are offered, which comes to the same. */
function toolsToOffer({ tools, toolChoice }: CompletionRequest): readonly Tool[] {
  const allowed = toolChoice?.allowedTools ?? [];
  const isOneTool = toolChoice?.mode === ToolChoiceMode.REQUIRED && allowed.length === 1;
  if (allowed.length === 0 || isOneTool) return tools;
  return tools.filter(({ kind }) => kind.case === 'function' && allowed.includes(kind.value.name));
}

function calledTools({ messages }: CompletionRequest): string[] {
  const names = messages.flatMap(({ parts }) =>
    parts.flatMap(({ kind }) => (kind.case === 'toolCall' ? [kind.value.name] : [])),
  );
  return [...new Set(names)];
}

function writeTool(tool: Tool, { extras, refuse }: Writing): string {
  const { kind } = tool;
  if (kind.case === 'function') {
    const { name, description, parametersJson, strict } = kind.value;
    return objectOver(
      extras.read(tool.extraJson, 'tools'),
      member('name', name),
      member('description', description || undefined),
      rawMember('input_schema', writeInputSchema(parametersJson, strict ?? false)),
      member('strict', strict || undefined),
      writeCacheControl(tool.cacheBreakpoint),
    );
  }
  if (kind.case === 'provider' && extras.isOwn(kind.value.family)) return kind.value.json;
  if (kind.case === 'provider') extras.leaveOut(`tools.provider.${kind.value.family}`);
  else refuse(tool, 'custom');
  return '';
}

/** Other providers do without the type of a schema that lists properties. */
function writeInputSchema(json: string, strict: boolean): string {
  if (json === '') return noArguments;
  if (!strict && /^\s*\{\s*"type"\s*:\s*"object"/.test(json)) return json;
  const schema = { type: 'object', ...JSON.parse(json) };
  return JSON.stringify(strict ? adaptSchema(schema) : schema);
}

function writeToolChoice({ toolChoice, parallelToolCalls }: CompletionRequest): Omit<WrittenTools, 'tools'> {
  const mode = toolChoice?.mode ?? ToolChoiceMode.UNSPECIFIED;
  const allowed = toolChoice?.allowedTools ?? [];
  const disable_parallel_tool_use = parallelToolCalls === false || undefined;
  if (mode === ToolChoiceMode.NONE) return { toolChoice: member('tool_choice', { type: 'none' }), forced: false };
  if (mode === ToolChoiceMode.REQUIRED) {
    const choice = allowed.length === 1 ? { type: 'tool', name: allowed[0] } : { type: 'any' };
    return { toolChoice: member('tool_choice', { ...choice, disable_parallel_tool_use }), forced: true };
  }
  if (mode === ToolChoiceMode.UNSPECIFIED && !disable_parallel_tool_use) return { toolChoice: '', forced: false };
  return { toolChoice: member('tool_choice', { type: 'auto', disable_parallel_tool_use }), forced: false };
}
