import type { Citation } from '../../gen/llmgateway/v1/completion_pb.ts';
import { geminiFamily } from './gemini-generations.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';

/** A text part of an answer. */
export interface TextPart {
  readonly index: number;
  readonly text: string;
}

/** A source, and the text part that it supports. */
export interface PlacedCitation {
  readonly partIndex: number;
  readonly citation: Citation;
}

/** What a source supports: bytes of the UTF-8 of all texts together. */
interface Claim {
  readonly start: number;
  readonly end: number;
  /** The words of the answer that are supported; empty: not told. */
  readonly text: string;
  readonly source: Omit<Citation, '$typeName' | 'startIndex' | 'endIndex'>;
}

/**
 * Read the sources of an answer, from its grounding and from its citations of works.
 *
 * Gemini counts bytes of UTF-8, we count code points of the part. Where its words and its numbers disagree, or a claim runs over
 * the end of a part, the citation is of the whole part.
 */
export function readCitations(texts: readonly TextPart[], grounding: unknown, works: unknown): PlacedCitation[] {
  const [first] = texts;
  if (!first) return [];
  const claims = [...groundingClaims(grounding), ...workClaims(works)];
  if (claims.length === 0) return [];
  const bytes = Buffer.from(texts.map(({ text }) => text).join(''));
  const points = codePointsAt(bytes, [...claims.flatMap(({ start, end }) => [start, end])]);
  const starts: { part: TextPart; from: number; to: number }[] = [];
  let at = 0;
  for (const part of texts) {
    const length = Buffer.byteLength(part.text);
    starts.push({ part, from: at, to: at + length });
    at += length;
  }
  const offsets = codePointsAt(
    bytes,
    starts.map(({ from }) => from),
  );
  return claims.map(({ start, end, text, source }) => {
    const place = starts.find(({ from, to }) => start >= from && start < to) ?? starts.at(-1);
    const startIndex = points.get(start);
    const endIndex = points.get(end);
    const offset = offsets.get(place?.from ?? 0) ?? 0;
    const agrees =
      place !== undefined &&
      end > start &&
      end <= place.to &&
      start >= place.from &&
      (text === '' || bytes.toString('utf8', start, end) === text);
    const citation: Citation = { $typeName: 'llmgateway.v1.Citation', ...source };
    if (agrees && startIndex !== undefined && endIndex !== undefined) {
      citation.startIndex = startIndex - offset;
      citation.endIndex = endIndex - offset;
    }
    return { partIndex: place?.part.index ?? first.index, citation };
  });
}

/** How many code points stand before each of some bytes; a place within a character, or beyond the end, has no number. */
function codePointsAt(bytes: Buffer, places: readonly number[]): Map<number, number> {
  const sorted = [...new Set(places)].sort((a, b) => a - b);
  const points = new Map<number, number>();
  let count = 0;
  let at = 0;
  for (const place of sorted) {
    if (place > bytes.length) break;
    for (; at < place; at++) if (!continues(bytes[at])) count++;
    if (place === bytes.length || !continues(bytes[place])) points.set(place, count);
  }
  return points;
}

function continues(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

function* groundingClaims(grounding: unknown): Generator<Claim> {
  if (!isObject(grounding) || !Array.isArray(grounding.groundingSupports)) return;
  const chunks = Array.isArray(grounding.groundingChunks) ? grounding.groundingChunks : [];
  for (const support of grounding.groundingSupports) {
    if (!isObject(support) || !Array.isArray(support.groundingChunkIndices)) continue;
    const segment = isObject(support.segment) ? support.segment : {};
    const span = { start: position(segment.startIndex), end: position(segment.endIndex), text: textOf(segment.text) };
    for (const index of support.groundingChunkIndices) {
      const source = sourceOf(chunks[Number(index)]);
      if (source) yield { ...span, source };
    }
  }
}

/** A chunk holds its source under the kind that it is: `web`, `retrievedContext`, `maps`, `image`. */
function sourceOf(chunk: unknown): Claim['source'] | undefined {
  const source = isObject(chunk) ? Object.values(chunk).find(isObject) : undefined;
  if (!source) return undefined;
  const { uri, sourceUri, title, text, ...rest } = source;
  return {
    url: textOf(uri) || textOf(sourceUri),
    title: textOf(title),
    citedText: textOf(text),
    extraJson: extrasOf(rest),
  };
}

function* workClaims(works: unknown): Generator<Claim> {
  if (!isObject(works)) return;
  const list = works.citationSources ?? works.citations;
  if (!Array.isArray(list)) return;
  for (const work of list) {
    if (!isObject(work)) continue;
    const { startIndex, endIndex, uri, title, ...rest } = work;
    const source = { url: textOf(uri), title: textOf(title), citedText: '', extraJson: extrasOf(rest) };
    yield { start: position(startIndex), end: position(endIndex), text: '', source };
  }
}

function extrasOf(rest: JsonObject): Record<string, string> {
  return Object.keys(rest).length > 0 ? { [geminiFamily]: JSON.stringify(rest) } : {};
}

function position(value: unknown): number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : 0;
}
