import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect } from 'node:net';
import { grpcFrame, httpPost } from './raw-http.ts';

/** Leaves: closes the connection on HTTP/1.1, resets the stream on HTTP/2. */
export type Leave = () => void;

const chat = '/v1/chat/completions';
const rpc = '/llmgateway.v1.CompletionService/StreamCompletion';

function chatBody(model: string, text = 'hi'): string {
  return JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: text }] });
}

function rpcBody(model: string): Uint8Array {
  return grpcFrame(JSON.stringify({ request: { model, messages: [{ role: 'ROLE_USER', parts: [{ text: 'hi' }] }] } }));
}

/** Call for a stream over HTTP/1.1 and never read it. */
export function unreadHttp1(port: number, model: string, text?: string): Leave {
  const socket = connect(port, '127.0.0.1').pause();
  socket.on('error', () => {});
  socket.write(httpPost(chat, chatBody(model, text)));
  return () => socket.destroy();
}

/** A connection of HTTP/2 for calls that are never read. */
export function openSession(port: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  return session;
}

/** Call for a stream by gRPC and never read it. */
export function unreadGrpc(session: ClientHttp2Session, model: string): Leave {
  return unread(session, rpc, 'application/grpc+json', rpcBody(model));
}

/** Call for a stream by REST over HTTP/2 and never read it. */
export function unreadHttp2(session: ClientHttp2Session, model: string): Leave {
  return unread(session, chat, 'application/json', Buffer.from(chatBody(model)));
}

function unread(session: ClientHttp2Session, path: string, type: string, body: Uint8Array): Leave {
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': type, te: 'trailers' });
  stream.on('error', () => {});
  stream.end(body);
  return () => stream.close(constants.NGHTTP2_CANCEL);
}
