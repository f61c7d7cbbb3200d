import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { brotliDecompress, gunzip, type InputType, inflate, zstdDecompress } from 'node:zlib';
import type { Principal } from '../../completion.ts';
import { atEndOfTurn } from '../../end-of-turn.ts';
import { GatewayError } from '../../errors.ts';
import type { DoorDependencies } from '../call.ts';
import type { JsonObject } from './fields.ts';
import { parseObject } from './json.ts';

type Decompress = (
  bytes: InputType,
  options: { maxOutputLength: number },
  done: (error: Error | null, result: Buffer) => void,
) => void;

const decompressors: Readonly<Record<string, Decompress>> = {
  gzip: gunzip,
  'x-gzip': gunzip,
  deflate: inflate,
  br: brotliDecompress,
  zstd: zstdDecompress,
};

/** The content encodings a body may have, as `Accept-Encoding` lists them. */
export const ACCEPTED_ENCODINGS = 'gzip, deflate, br, zstd';

/** `application/json` or a type built on it; a body without a type is taken for JSON. */
const jsonType = /^application\/(?:[\w.+-]+\+)?json$/i;
const utf8 = /^"?utf-?8"?$/i;

/** Read a request's body as a JSON object: see `readBody`. */
export async function readJsonBody(request: IncomingMessage, limitBytes: number): Promise<JsonObject> {
  return parseBody(await readBody(request, limitBytes));
}

/** What a body says. Throws `invalid_request` unless it is a JSON object in UTF-8. */
export function parseBody(bytes: Buffer): JsonObject {
  if (!isUtf8(bytes)) throw new GatewayError('invalid_request', 'the body is not valid UTF-8');
  return parseObject(bytes.toString('utf8'));
}

/**
 * Read a request's body, which is JSON of at most so many bytes, before and after decompression.
 *
 * What the headers tell is judged before the first byte is read.
 */
function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  refuseType(request.headers['content-type']);
  const decompress = decompressorFor(request.headers['content-encoding']);
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > limitBytes) throw tooLarge(`the body has ${announced} bytes`, limitBytes);
  const bytes = readBytes(request, limitBytes);
  return decompress ? bytes.then((known) => decompressed(known, decompress, limitBytes)) : bytes;
}

/** Read the body of a call, which has a place among those in flight meanwhile. */
export async function readCallBytes(
  request: IncomingMessage,
  principal: Principal,
  { arrive, bodyLimitBytes }: Pick<DoorDependencies, 'arrive' | 'bodyLimitBytes'>,
): Promise<Buffer> {
  const isRead = arrive(principal);
  if (isRead instanceof Promise) {
    // To keep the body of a call until it is refused would cost more than to refuse it.
    request.resume();
    return isRead;
  }
  try {
    return await readBody(request, bodyLimitBytes);
  } finally {
    isRead();
  }
}

function refuseType(contentType: string | undefined): void {
  if (contentType === undefined || contentType === 'application/json') return;
  const [type = '', ...parameters] = contentType.split(';');
  const charset = parameters.map((text) => /^\s*charset\s*=\s*(.*?)\s*$/i.exec(text)?.[1]).find(Boolean);
  if (jsonType.test(type.trim()) && (charset === undefined || utf8.test(charset))) return;
  throw new GatewayError(
    'unsupported_media_type',
    `the content type must be application/json in UTF-8, not ${JSON.stringify(contentType)}`,
  );
}

function decompressorFor(encoding: string | undefined): Decompress | undefined {
  const name = encoding?.trim().toLowerCase();
  if (name === undefined || name === '' || name === 'identity') return undefined;
  if (Object.hasOwn(decompressors, name)) return decompressors[name];
  throw new GatewayError(
    'unsupported_media_type',
    `the content encoding must be one of ${ACCEPTED_ENCODINGS}, not ${JSON.stringify(encoding)}`,
  );
}

function tooLarge(what: string, limitBytes: number): GatewayError {
  return new GatewayError('request_too_large', `${what}, the limit is ${limitBytes}`);
}

/** By `data` and `end`: an async iterator over the request costs several times as much. */
function readBytes(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let isOver = false;
    const onData = (chunk: Buffer) => {
      if (isOver) return;
      size += chunk.length;
      if (size <= limitBytes) chunks.push(chunk);
      else fail(tooLarge(`the body has more than ${limitBytes} bytes`, limitBytes));
    };
    const onEnd = () => {
      if (isOver) return;
      isOver = true;
      const [only] = chunks;
      const bytes = only && chunks.length === 1 ? only : Buffer.concat(chunks, size);
      // The request, which lives as long as its answer, holds what listens to it.
      chunks.length = 0;
      atEndOfTurn(() => resolve(bytes));
    };
    const onClose = () => {
      // Also follows a request that was read whole: an error made then would cost every call its stack trace.
      if (!isOver) fail(new GatewayError('cancelled', 'the caller left before the body was whole'));
    };
    function fail(error: GatewayError): void {
      isOver = true;
      chunks.length = 0;
      reject(error);
    }
    request.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose);
  });
}

function decompressed(bytes: Buffer, decompress: Decompress, limitBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    decompress(bytes, { maxOutputLength: limitBytes }, (error, result) => {
      if (!error) return resolve(result);
      if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') {
        return reject(tooLarge(`the body has more than ${limitBytes} bytes once decompressed`, limitBytes));
      }
      reject(
        new GatewayError('invalid_request', `the body cannot be decompressed: ${error.message}`, { cause: error }),
      );
    });
  });
}
