import { request } from 'node:http';

const TIMEOUT_MS = 4000;

/** Ask the gateway on this machine whether it is ready: 0 if it is, 1 if not. For containers, which have no curl. */
export function checkHealth(environment: Record<string, string | undefined>): Promise<0 | 1> {
  const port = Number(environment.PORT || 8080);
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, path: '/readyz', timeout: TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? 0 : 1);
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(1));
    asked.end();
  });
}
