import type { Citation } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { ExtrasReader } from './extras.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';

interface SourceNames {
  readonly url: string | undefined;
  readonly title: string;
}

/** Under which names each type of citation tells its source; all others are about documents of the request. */
const sourceNames: ReadonlyMap<unknown, SourceNames> = new Map([
  ['web_search_result_location', { url: 'url', title: 'title' }],
  ['search_result_location', { url: 'source', title: 'title' }],
]);

const documentNames: SourceNames = { url: undefined, title: 'document_title' };

/** Read a citation; it is about the whole block. Its places within the source have no field. */
export function readCitation(citation: unknown): Citation | undefined {
  if (!isObject(citation)) return undefined;
  const names = namesOf(citation);
  const { cited_text, [names.title]: title, ...rest } = citation;
  const url = names.url === undefined ? '' : textOf(rest[names.url]);
  if (names.url !== undefined) delete rest[names.url];
  return {
    $typeName: 'llmgateway.v1.Citation',
    url,
    title: textOf(title),
    citedText: textOf(cited_text),
    extraJson: { anthropic: JSON.stringify(rest) },
  };
}

/** Write a citation of an earlier answer back; undefined: it came from somebody else, and has no place here. */
export function writeCitation(citation: Citation, extras: ExtrasReader): JsonObject | undefined {
  const own = extras.read(citation.extraJson, 'messages.parts.citations');
  if (!own?.type) {
    extras.leaveOut('messages.parts.citations');
    return undefined;
  }
  const names = namesOf(own);
  // The answer names the file of a document; the request must not.
  const { file_id, ...rest } = own;
  return {
    ...rest,
    cited_text: citation.citedText,
    [names.title]: citation.title || null,
    ...(names.url !== undefined && { [names.url]: citation.url }),
  };
}

function namesOf({ type }: JsonObject): SourceNames {
  return sourceNames.get(type) ?? documentNames;
}
