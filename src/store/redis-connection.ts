import type { RedisPlace } from './redis-url.ts';

/** Commands on their way to a Redis, wherever it is. */
export interface RedisConnection {
  /** Whether keys of one command have to belong together. */
  readonly clustered: boolean;
  /** Send a command; in a cluster to where the key is. Rejects at once while there is no connection. */
  send(key: string, command: readonly string[]): Promise<unknown>;
  /** Connect anew: the server at the other end is not the one it was. */
  reconnect(): void;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 2000;
const PING_MS = 1000;
/** A connection on which nothing comes, not even answers to pings, is dead though nobody said so. */
const SILENCE_MS = 5000;
const LONGEST_PAUSE_MS = 1000;

/** Pauses between tries to connect: short at first, and never the same for all replicas. */
function pauseMs(tries: number): number {
  return Math.min(LONGEST_PAUSE_MS, 25 * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2);
}

/** What each of the client's three forms has, as far as it is used here. */
interface Client {
  connect(): Promise<unknown>;
  destroy(): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/**
 * Connect to a Redis, and go on trying for as long as it takes; whoever sends meanwhile is refused at once.
 *
 * The client is loaded only here, since a gateway without Redis need not have it in memory.
 */
export async function connectRedis(place: RedisPlace, onError: (error: Error) => void): Promise<RedisConnection> {
  const { createClient, createCluster, createSentinel } = await import('redis');
  const { kind, nodes, tls, username, password, database, master } = place;
  // Not `commandOptions.timeout`: it ends with the write, and a server that has stopped takes what is written to it.
  const commandOptions = { timeout: 0 };
  const socket = {
    ...(tls && { tls: true as const }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENCE_MS,
    reconnectStrategy: pauseMs,
  };
  const common = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    disableOfflineQueue: true,
    pingInterval: PING_MS,
    maintNotifications: 'disabled' as const,
  };
  const [first = { host: 'localhost', port: 6379 }] = nodes;

  switch (kind) {
    case 'single': {
      const open = () =>
        createClient({ ...common, RESP: 2, commandOptions, database, socket: { ...socket, ...first } });
      return new Connection(open, false, onError, (client, _key, command) => client.sendCommand(command));
    }
    case 'sentinel': {
      const open = () =>
        createSentinel({
          name: master,
          sentinelRootNodes: [...nodes],
          nodeClientOptions: { ...common, database, socket },
          sentinelClientOptions: { socket },
          RESP: 2,
          commandOptions,
          scanInterval: PING_MS,
          passthroughClientErrorEvents: true,
        });
      return new Connection(open, false, onError, (client, _key, command) => client.sendCommand(false, command));
    }
    case 'cluster': {
      const open = () =>
        createCluster({
          rootNodes: nodes.map((node) => ({ socket: { ...socket, ...node } })),
          defaults: { ...common, socket },
          RESP: 2,
          commandOptions,
          topologyRefreshOnReconnectionAttemptStrategy: PING_MS,
        });
      return new Connection(open, true, onError, (client, key, command) => client.sendCommand(key, false, command));
    }
  }
}

class Connection<Kind extends Client> implements RedisConnection {
  readonly clustered: boolean;
  readonly #open: () => Kind;
  readonly #onError: (error: Error) => void;
  readonly #send: (client: Kind, key: string, command: string[]) => Promise<unknown>;
  #client: Kind | undefined;

  constructor(
    open: () => Kind,
    clustered: boolean,
    onError: (error: Error) => void,
    send: (client: Kind, key: string, command: string[]) => Promise<unknown>,
  ) {
    this.#open = open;
    this.clustered = clustered;
    this.#onError = onError;
    this.#send = send;
    this.#connect(0);
  }

  send(key: string, command: readonly string[]): Promise<unknown> {
    return this.#client ? this.#send(this.#client, key, command as string[]) : Promise.reject(new Error('closed'));
  }

  reconnect(): void {
    this.close();
    this.#connect(0);
  }

  close(): void {
    const client = this.#client;
    this.#client = undefined;
    if (client) end(client);
  }

  /** A single client goes on trying by itself; the other two give up when none of their nodes answers. */
  #connect(tries: number): void {
    const client = this.#open();
    this.#client = client;
    client.on('error', this.#onError);
    client.connect().catch((error: Error) => {
      if (this.#client !== client) return;
      this.#onError(error);
      end(client);
      setTimeout(() => {
        if (this.#client === client) this.#connect(tries + 1);
      }, pauseMs(tries)).unref();
    });
  }
}

/** One that never was connected throws or rejects when it is ended. */
function end(client: Client): void {
  try {
    Promise.resolve(client.destroy()).catch(() => {});
  } catch {
    // nothing is left to end
  }
}
