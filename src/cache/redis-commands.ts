import { createHash } from 'node:crypto';

/** A script in Lua, known to Redis by its digest. */
export interface RedisScript {
  readonly source: string;
  readonly sha1: string;
}

/**
 * What the stores here ask of a Redis. Texts in, texts out; while it is away everything rejects at once.
 *
 * In a cluster the key says where a command goes, and all keys of a script have to be in one place.
 */
export interface RedisCommands {
  send(key: string, command: readonly string[]): Promise<unknown>;
  run(script: RedisScript, keys: readonly string[], args: readonly string[]): Promise<unknown>;
}

export function redisScript(source: string): RedisScript {
  return { source, sha1: createHash('sha1').update(source).digest('hex') };
}
