import type { Media } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { inWords, wrong } from './fields.ts';

const dataUrl = /^data:([^,]*?)(;base64)?,/i;

/** A Media of which nothing is known but what is given. */
export function media(known: Partial<Omit<Media, '$typeName' | '$unknown'>>): Media {
  return {
    $typeName: 'llmgateway.v1.Media',
    source: { case: undefined },
    mimeType: '',
    name: '',
    detail: '',
    transcript: '',
    ...known,
  };
}

/** Where an image is: the bytes of a `data:` URL, or an address that the provider will fetch. */
export function readImageUrl(url: string, at: string): Pick<Media, 'source' | 'mimeType'> {
  if (/^data:/i.test(url)) return readDataUrl(url, at);
  if (!/^https?:\/\/./i.test(url)) throw wrong(at, `must be an https: or data: URL, not ${inWords(url)}`);
  return { source: { case: 'url', value: url }, mimeType: '' };
}

/** The bytes and media type of a `data:` URL. */
export function readDataUrl(url: string, at: string): Pick<Media, 'source' | 'mimeType'> {
  const match = dataUrl.exec(url);
  if (!match) throw wrong(at, `must be a data: URL with a comma before its content, not ${inWords(url)}`);
  const content = url.slice(match[0].length);
  const value = match[2] ? readBase64(content, at) : readPercentEncoded(content, at);
  return { source: { case: 'data', value }, mimeType: match[1] ?? '' };
}

/** Bytes from base64 of the standard or URL alphabet; Buffer itself skips whatever it does not know. */
export function readBase64(text: string, at: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  if (bytes.length === 0 || bytes.length !== Math.floor(((text.length - padding) * 3) / 4)) {
    throw wrong(at, `must be base64, not ${inWords(text)}`);
  }
  return bytes;
}

function readPercentEncoded(text: string, at: string): Uint8Array {
  try {
    return Buffer.from(decodeURIComponent(text), 'utf8');
  } catch {
    throw wrong(at, `must be percent-encoded UTF-8, not ${inWords(text)}`);
  }
}
