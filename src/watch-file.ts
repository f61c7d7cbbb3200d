import { stat } from 'node:fs/promises';

/** A file that is looked at from time to time. */
export interface WatchedFile {
  /** Look at it no more. */
  close(): void;
}

/**
 * Tell when a file has become another one, once it has not changed any more between two looks.
 *
 * It is looked at by its name, since what the system tells of changes is tied to the file or folder that had the name: editors write
 * a new file and rename it, and Kubernetes exchanges a symbolic link two folders further up. A file that is away for a while, as in
 * the middle of a rename, is no change; a file that is written slowly is one when it is finished.
 */
export function watchFile(path: string, onChange: () => void, everyMs: number): WatchedFile {
  let known: string | undefined;
  let before: string | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  const look = async () => {
    const mark = await markOf(path);
    if (closed) return;
    if (known === undefined) known = mark;
    else if (mark !== undefined && mark !== known && mark === before) {
      known = mark;
      onChange();
    }
    before = mark;
    timer = setTimeout(look, everyMs);
    timer.unref();
  };
  void look();

  return {
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** What is different about every other file or content; undefined: there is no such file. */
async function markOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch {
    return undefined;
  }
}
