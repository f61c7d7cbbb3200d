import type { CompletionRequest, Media, Part, Tool } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest } from '../../gen/llmgateway/v1/embedding_service_pb.ts';

/** What a request asks of the target that answers it, as far as one can tell without asking. */
export interface Need {
  /** All that is billed as prompt; estimated. */
  readonly promptTokens: number;
  /** What of it has to fit into one context window; estimated. Each input of an embedding has a window of its own. */
  readonly windowTokens: number;
  /** The most tokens an answer may have; undefined: left to the model. */
  readonly outputTokens: number | undefined;
  /** How many answers are asked for. */
  readonly n: number;
  readonly tools: boolean;
  readonly vision: boolean;
  readonly jsonSchema: boolean;
}

/** What is known of a target beside a Need. */
export interface Offer {
  /** The most tokens of prompt and answer together; undefined: unknown. */
  readonly contextWindow: number | undefined;
  /** What it can do; what is unset is unknown. */
  readonly capabilities: { readonly [Each in 'tools' | 'vision' | 'jsonSchema']?: boolean } | undefined;
}

/** About what a token holds of English and of code. No tokeniser fits all models, and one would cost more than it tells here. */
const charactersPerToken = 4;

/**
 * What an image, a sound or a document counts: nobody has looked into it, and most are only an address.
 *
 * It lies in the middle of what providers count for a picture of one megapixel: OpenAI 765, Gemini 258 a tile, Anthropic
 * about 1,600.
 */
const tokensPerMedia = 1_000;

/**
 * What a request needs of a target.
 *
 * Takes a look at every part, but reads none: lengths of texts are known. Still, ask only where some target's window,
 * capabilities or price are compared with it.
 */
export function needOf(request: CompletionRequest | EmbeddingRequest): Need {
  return request.$typeName === 'llmgateway.v1.CompletionRequest' ? needOfCompletion(request) : needOfEmbedding(request);
}

function needOfCompletion(request: CompletionRequest): Need {
  let characters = 0;
  let vision = false;
  for (const message of request.messages) {
    characters += message.name.length;
    for (const part of message.parts) {
      characters += charactersOf(part);
      if (part.kind.case === 'image') vision = true;
    }
  }
  let tools = false;
  for (const tool of request.tools) {
    characters += charactersOfTool(tool);
    // A provider's own tools are run by the provider: they say nothing about calling ours.
    if (tool.kind.case !== 'provider') tools = true;
  }
  const format = request.responseFormat?.kind;
  const jsonSchema = format?.case === 'jsonSchema';
  if (jsonSchema) characters += format.value.schemaJson.length + format.value.description.length;
  const promptTokens = Math.ceil(characters / charactersPerToken);
  const { maxOutputTokens: outputTokens, n = 1 } = request;
  return { promptTokens, windowTokens: promptTokens, outputTokens, n, tools, vision, jsonSchema };
}

function charactersOf({ kind, extraJson }: Part): number {
  switch (kind.case) {
    case 'text':
    case 'refusal':
    case 'reasoning':
      return kind.value.length;
    case 'toolCall':
      return kind.value.name.length + kind.value.arguments.length;
    case 'image':
    case 'audio':
    case 'file':
      return charactersOfMedia(kind.value);
    default: {
      // An opaque block of a provider. Extras of other parts are settings and signatures, of which models read nothing.
      let characters = 0;
      for (const family in extraJson) characters += extraJson[family]?.length ?? 0;
      return characters;
    }
  }
}

/** Files of text that came along are read as the text they are. */
function charactersOfMedia({ mimeType, source }: Media): number {
  const isText = source.case === 'data' && mimeType.startsWith('text/');
  return isText ? source.value.length : tokensPerMedia * charactersPerToken;
}

function charactersOfTool({ kind }: Tool): number {
  switch (kind.case) {
    case 'function':
      return kind.value.name.length + kind.value.description.length + kind.value.parametersJson.length;
    case 'custom':
      return kind.value.name.length + kind.value.description.length + kind.value.formatJson.length;
    case 'provider':
      return kind.value.json.length;
    default:
      return 0;
  }
}

function needOfEmbedding({ inputs }: EmbeddingRequest): Need {
  let promptTokens = 0;
  let windowTokens = 0;
  for (const { kind } of inputs) {
    const tokens =
      kind.case === 'tokens' ? kind.value.ids.length : Math.ceil((kind.value?.length ?? 0) / charactersPerToken);
    promptTokens += tokens;
    windowTokens = Math.max(windowTokens, tokens);
  }
  return { promptTokens, windowTokens, outputTokens: 0, n: 1, tools: false, vision: false, jsonSchema: false };
}

/**
 * Why a target cannot answer a request; undefined: nothing speaks against it.
 *
 * What is unknown fits. The answer counts as far as its length was asked for: without that, models make it as long as there is room.
 */
export function misfit(need: Need, offer: Offer): 'window_too_small' | 'lacks_capability' | undefined {
  const { contextWindow, capabilities } = offer;
  if (contextWindow !== undefined && need.windowTokens + (need.outputTokens ?? 0) > contextWindow) {
    return 'window_too_small';
  }
  const lacks =
    (need.tools && capabilities?.tools === false) ||
    (need.vision && capabilities?.vision === false) ||
    (need.jsonSchema && capabilities?.jsonSchema === false);
  return lacks ? 'lacks_capability' : undefined;
}
