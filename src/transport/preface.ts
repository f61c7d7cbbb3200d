import type { Socket } from 'node:net';

/** What an HTTP/2 client sends first: no HTTP/1 request begins like it, but several share its first letters. */
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/**
 * Tell HTTP/2 from HTTP/1 by a connection's first bytes, and put them back.
 *
 * The socket arrives at `settle` paused. One that sends nothing within `timeoutMs`, or leaves first, is destroyed.
 */
export function readPreface(socket: Socket, timeoutMs: number, settle: (isHttp2: boolean) => void): void {
  const chunks: Buffer[] = [];
  let matched = 0;
  const destroy = () => socket.destroy();
  const timer = setTimeout(destroy, timeoutMs);
  const stop = () => {
    clearTimeout(timer);
    socket.off('data', onData).off('end', destroy).off('error', destroy).off('close', stop);
  };
  const onData = (chunk: Buffer) => {
    chunks.push(chunk);
    const length = Math.min(chunk.length, preface.length - matched);
    const matches = preface.compare(chunk, 0, length, matched, matched + length) === 0;
    matched += length;
    if (matches && matched < preface.length) return;
    stop();
    socket.pause();
    socket.unshift(Buffer.concat(chunks));
    settle(matches);
  };
  socket.on('data', onData).on('end', destroy).on('error', destroy).on('close', stop);
}
