import type { CompletionRequest, Part, Tool } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../errors.ts';

/** Where a part or a tool stands in its request. */
export function placeOf(item: Part | Tool, { messages, tools }: CompletionRequest): string {
  if (item.$typeName === 'llmgateway.v1.Tool') return `tools[${tools.indexOf(item)}]`;
  const index = messages.findIndex(({ parts }) => parts.includes(item));
  return `messages[${index}].parts[${messages[index]?.parts.indexOf(item)}]`;
}

/** The refusal of a request for fields that the provider cannot take. */
export function cannotTake(provider: string, fields: readonly string[]): GatewayError {
  return new GatewayError('invalid_request', `${provider} cannot take ${fields.join(', ')}`, {
    provider,
    unsupported: true,
    violations: fields.map((field) => ({ field, description: `${provider} cannot take it` })),
  });
}
