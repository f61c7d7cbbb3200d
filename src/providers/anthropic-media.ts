import type { Media } from '../../gen/llmgateway/v1/completion_pb.ts';
import { member } from './json-text.ts';

/** The members of the block for an image or a file; undefined: the wire has no place for it. */
export function writeMedia(kind: 'image' | 'audio' | 'file', media: Media): string[] | undefined {
  const mimeType = media.mimeType.toLowerCase();
  if (kind === 'image' || (kind === 'file' && mimeType.startsWith('image/'))) {
    const source = sourceOf(media, mimeType || 'image/png');
    return source && [member('type', 'image'), member('source', source)];
  }
  if (kind === 'audio') return undefined;
  const source = isText(mimeType) ? textOf(media) : isPdf(mimeType, media) ? sourceOf(media, pdf) : undefined;
  return source && [member('type', 'document'), member('source', source), member('title', media.name || undefined)];
}

const pdf = 'application/pdf';

function sourceOf({ source }: Media, mimeType: string): object | undefined {
  switch (source.case) {
    case 'url':
      return { type: 'url', url: source.value };
    case 'fileId':
      return { type: 'file', file_id: source.value };
    case 'data':
      return { type: 'base64', media_type: mimeType, data: bufferOf(source.value).toString('base64') };
    default:
      return undefined;
  }
}

/** Plain text travels as it is; where it is elsewhere, the provider finds out what it is. */
function textOf(media: Media): object | undefined {
  if (media.source.case !== 'data') return sourceOf(media, 'text/plain');
  return { type: 'text', media_type: 'text/plain', data: bufferOf(media.source.value).toString() };
}

function isText(mimeType: string): boolean {
  return mimeType.startsWith('text/') || /^application\/(.+\+)?(json|xml|yaml)$/.test(mimeType);
}

/** Of bytes it must be certain: anything else is refused by the provider, with a message that helps nobody. */
function isPdf(mimeType: string, { source }: Media): boolean {
  if (source.case !== 'data') return true;
  return mimeType === pdf || (mimeType === '' && bufferOf(source.value).subarray(0, 5).toString('latin1') === '%PDF-');
}

function bufferOf(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
