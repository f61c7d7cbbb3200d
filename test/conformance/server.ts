// The server that connectconformance tests: its service on our listener and our RPC adapter. `run.sh` starts the suite.
import { readSync, writeSync } from 'node:fs';
import { create, createRegistry, fromBinary, toBinary } from '@bufbuild/protobuf';
import pino from 'pino';
import { createRpcHandler } from '../../src/transport/rpc/adapter.ts';
import { mapErrors } from '../../src/transport/rpc/interceptors.ts';
import { createServer } from '../../src/transport/server.ts';
import {
  ServerCompatRequestSchema,
  ServerCompatResponseSchema,
} from './gen/connectrpc/conformance/v1/server_compat_pb.ts';
import {
  ConformanceService,
  file_connectrpc_conformance_v1_service,
} from './gen/connectrpc/conformance/v1/service_pb.ts';
import { conformanceService } from './service.ts';

const STDIN = 0;
const STDOUT = 1;

/** A message of the suite: its size as four bytes, then itself. */
function readSized(): Buffer {
  return readBytes(readBytes(4).readUInt32BE());
}

function readBytes(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const read = readSync(STDIN, bytes, at, size - at, null);
    if (read === 0) throw new Error(`the suite sent ${at} bytes of ${size}`);
    at += read;
  }
  return bytes;
}

function writeSized(message: Uint8Array): void {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(message.length);
  writeSync(STDOUT, Buffer.concat([size, message]));
}

const log = pino({ level: 'warn' }, pino.destination({ dest: 2, sync: true }));
const { useTls, serverCreds, clientTlsCert, messageReceiveLimit } = fromBinary(ServerCompatRequestSchema, readSized());
const rpc = createRpcHandler({
  addressOf: () => '',
  log,
  writeStallMs: 60_000,
  readMaxBytes: messageReceiveLimit || 20 * 1024 * 1024,
  registry: createRegistry(file_connectrpc_conformance_v1_service),
  interceptors: [mapErrors(log)],
  routes: (router) => router.service(ConformanceService, conformanceService),
});
const server = createServer({
  host: '127.0.0.1',
  port: 0,
  log,
  handler: (request, response) => rpc(request, response, request.url?.split('?', 1)[0] ?? ''),
  ...(useTls &&
    serverCreds && {
      tls: {
        cert: Buffer.from(serverCreds.cert),
        key: Buffer.from(serverCreds.key),
        ...(clientTlsCert.length > 0 && { clientCa: Buffer.from(clientTlsCert) }),
      },
    }),
});
const { address, port } = await server.listen();
const response = create(ServerCompatResponseSchema, {
  host: address,
  port,
  ...(useTls && serverCreds && { pemCert: serverCreds.cert }),
});
writeSized(toBinary(ServerCompatResponseSchema, response));
