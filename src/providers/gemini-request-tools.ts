import {
  type CompletionRequest,
  type FunctionTool,
  type Tool,
  type ToolChoice,
  ToolChoiceMode,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { ExtrasReader } from './extras.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import type { JsonObject } from './json-value.ts';

/** Tools as JSON text, and whether and which of them the model must call. Empty, undefined: nothing is said of it. */
export interface WrittenTools {
  readonly tools: string;
  readonly functionCallingConfig: JsonObject | undefined;
}

/** Write the tools: all functions in one list, and after it those that Gemini carries out itself. */
export function writeTools(
  request: CompletionRequest,
  extras: ExtrasReader,
  refuse: (tool: Tool, field: string) => void,
): WrittenTools {
  const { toolChoice } = request;
  const functions: string[] = [];
  const others: string[] = [];
  for (const tool of request.tools) {
    const { kind } = tool;
    if (kind.case === 'function') {
      if (isOffered(kind.value.name, toolChoice)) functions.push(writeFunction(tool.extraJson, kind.value, extras));
    } else if (kind.case === 'custom') refuse(tool, 'custom');
    else if (kind.case === 'provider') {
      if (extras.isOwn(kind.value.family)) others.push(kind.value.json);
      else extras.leaveOut(`tools.provider.${kind.value.family}`);
    }
  }
  const declarations = functions.length > 0 ? [object(rawMember('functionDeclarations', array(functions)))] : [];
  const written = [...declarations, ...others];
  return {
    tools: written.length > 0 ? array(written) : '',
    // Gemini refuses it where there are no functions.
    functionCallingConfig: functions.length > 0 ? writeChoice(toolChoice) : undefined,
  };
}

/** A choice between some tools that leaves out calling one is not known: only these are offered, which comes to the same. */
function isOffered(name: string, choice: ToolChoice | undefined): boolean {
  if (!choice || choice.allowedTools.length === 0 || choice.mode === ToolChoiceMode.REQUIRED) return true;
  return choice.allowedTools.includes(name);
}

function writeFunction(
  extraJson: Tool['extraJson'],
  { name, description, parametersJson, strict }: FunctionTool,
  extras: ExtrasReader,
): string {
  if (strict) extras.leaveOut('tools.function.strict');
  return objectOver(
    extras.read(extraJson, 'tools'),
    member('name', name),
    member('description', description || undefined),
    rawMember('parametersJsonSchema', parametersJson),
  );
}

function writeChoice(choice: ToolChoice | undefined): JsonObject | undefined {
  if (!choice) return undefined;
  const { mode, allowedTools } = choice;
  if (mode === ToolChoiceMode.NONE) return { mode: 'NONE' };
  if (mode === ToolChoiceMode.REQUIRED) {
    return allowedTools.length > 0 ? { mode: 'ANY', allowedFunctionNames: allowedTools } : { mode: 'ANY' };
  }
  return mode === ToolChoiceMode.AUTO ? { mode: 'AUTO' } : undefined;
}
