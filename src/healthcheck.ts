import http from 'node:http';
import https from 'node:https';

const TIMEOUT_MS = 4000;

/** Where the gateway on this machine listens. */
export interface Listener {
  readonly port: number;
  readonly tls: boolean;
}

/** Ask the gateway on this machine whether it is ready: 0 if it is, 1 if not. For containers, which have no curl. */
export function checkHealth({ port, tls }: Listener): Promise<0 | 1> {
  const options = { host: '127.0.0.1', port, path: '/readyz', timeout: TIMEOUT_MS };
  return new Promise((resolve) => {
    // The certificate is for the name that callers use, not for this address; and nothing secret is said.
    const asked = tls ? https.request({ ...options, rejectUnauthorized: false }) : http.request(options);
    asked.on('response', (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? 0 : 1);
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(1));
    asked.end();
  });
}
