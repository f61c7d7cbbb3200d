import {
  type CompletionRequest,
  type Message,
  Role,
  type Tool,
  ToolChoiceMode,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { exampleOf } from './demo-example.ts';

/** The most characters of a question that an answer repeats. */
const maxRepeated = 500;

/** What the demo says: a text, or calls of tools. */
export interface DemoAnswer {
  readonly text: string;
  readonly calls: readonly {
    readonly id: string;
    readonly name: string;
    readonly arguments: string;
    readonly custom: boolean;
  }[];
}

/** Make up an answer: a pure function of the request, so the same question is answered the same way every time. */
export function makeUpAnswer(request: CompletionRequest, model: string): DemoAnswer {
  const last = request.messages.at(-1);
  const question = shorten(textOf(request.messages.findLast(({ role }) => role === Role.USER)));
  const tools = last?.role === Role.TOOL ? [] : toolsToCall(request, question);
  if (tools.length > 0) return { text: '', calls: tools.map((tool, place) => callOf(tool, place, request, question)) };
  const said =
    last?.role === Role.TOOL ? `The tool answered: ${shorten(textOf(last))}` : `You said: ${question || 'nothing'}`;
  const text = `This is ${model}, the demo of LLM Gateway: no language model is behind it. ${said}`;
  const format = request.responseFormat?.kind;
  if (format?.case === 'jsonObject') return { text: JSON.stringify({ model, demo: true, text }), calls: [] };
  if (format?.case === 'jsonSchema')
    return { text: JSON.stringify(exampleOf(parse(format.value.schemaJson), said)), calls: [] };
  return { text, calls: [] };
}

function textOf(message: Message | undefined): string {
  return (message?.parts ?? []).flatMap(({ kind }) => (kind.case === 'text' ? [kind.value] : [])).join(' ');
}

function shorten(text: string): string {
  const characters = [...text.slice(0, 2 * maxRepeated)];
  return text.length > maxRepeated ? `${characters.slice(0, maxRepeated).join('')}...` : text;
}

function nameOf({ kind }: Tool): string | undefined {
  return kind.case === 'function' || kind.case === 'custom' ? kind.value.name : undefined;
}

/** The tools that must be called, or that the question names. */
function toolsToCall({ tools, toolChoice, parallelToolCalls }: CompletionRequest, question: string): readonly Tool[] {
  if (toolChoice?.mode === ToolChoiceMode.NONE) return [];
  const allowed = toolChoice?.allowedTools ?? [];
  const callable = tools.filter((tool) => {
    const name = nameOf(tool);
    return name !== undefined && (allowed.length === 0 || allowed.includes(name));
  });
  const plain = (text: string) => text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, ' ');
  const wanted = callable.filter((tool) => plain(question).includes(plain(nameOf(tool) ?? '')));
  if (wanted.length === 0) return toolChoice?.mode === ToolChoiceMode.REQUIRED ? callable.slice(0, 1) : [];
  return parallelToolCalls === false ? wanted.slice(0, 1) : wanted;
}

function callOf(
  tool: Tool,
  place: number,
  { messages }: CompletionRequest,
  question: string,
): DemoAnswer['calls'][number] {
  // Ids are unique in a conversation, and the same whenever it is repeated.
  const before = messages.flatMap(({ parts }) => parts).filter(({ kind }) => kind.case === 'toolCall').length;
  const id = `call_demo_${before + place + 1}`;
  const name = nameOf(tool) ?? '';
  if (tool.kind.case !== 'function') return { id, name, arguments: question, custom: true };
  const schema = tool.kind.value.parametersJson;
  return { id, name, arguments: schema ? JSON.stringify(exampleOf(parse(schema), question)) : '{}', custom: false };
}

function parse(json: string): unknown {
  return json === '' ? {} : JSON.parse(json);
}
