import type { Media } from '../../gen/llmgateway/v1/completion_pb.ts';
import { isObject, textOf } from './json-value.ts';

function media(source: Media['source'], mimeType: string, transcript = ''): Media {
  return { $typeName: 'llmgateway.v1.Media', source, mimeType, name: '', detail: '', transcript };
}

/** Read an image of an answer, as OpenRouter and Gemini's OpenAI path send them; undefined: it is none. */
export function readImage(image: unknown): Media | undefined {
  const url = isObject(image) && isObject(image.image_url) ? textOf(image.image_url.url) : '';
  if (url === '') return undefined;
  const [, mimeType, data] = /^data:([^;,]*);base64,(.*)$/s.exec(url) ?? [];
  if (data === undefined) return media({ case: 'url', value: url }, '');
  return media({ case: 'data', value: bytesOf(data) }, mimeType ?? '');
}

/** Read a piece of a spoken answer: each piece is base64 of its own. */
export function readSound(data: string, transcript: string, mimeType: string): Media {
  const source: Media['source'] = data === '' ? { case: undefined } : { case: 'data', value: bytesOf(data) };
  return media(source, mimeType, transcript.toWellFormed());
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(base64, 'base64'));
}
