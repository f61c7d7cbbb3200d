import type { Citation } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, textOf } from './json-value.ts';

/** Read an annotation of type `url_citation`, with or without its place in the text; undefined: it is of another type. */
export function readCitation(annotation: unknown, withPlace: boolean): Citation | undefined {
  if (!isObject(annotation) || annotation.type !== 'url_citation' || !isObject(annotation.url_citation))
    return undefined;
  const { url, title, start_index, end_index, content, ...rest } = annotation.url_citation;
  return {
    $typeName: 'llmgateway.v1.Citation',
    url: textOf(url),
    title: textOf(title),
    citedText: textOf(content),
    ...(withPlace && isIndex(start_index) && { startIndex: start_index }),
    ...(withPlace && isIndex(end_index) && { endIndex: end_index }),
    extraJson: Object.keys(rest).length > 0 ? { openai: JSON.stringify({ url_citation: rest }) } : {},
  };
}

function isIndex(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0;
}
