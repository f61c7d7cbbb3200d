import { ConfigError, type Problem } from './problems.ts';
import { show } from './show.ts';

/** Where a setting was given, and how it was written there. */
export interface Origin {
  /** Its line in the file. */
  readonly line?: number;
  /** The environment variable that gave it. */
  readonly variable?: string;
  /** Which part of the variable, for people: `entry 2`. */
  readonly part?: string;
  /** The value as written, fit to be shown; unset for secrets, and for lists and maps that hold something. */
  readonly text?: string;
  /** Whether a `${NAME:-}` left it empty, which is the same as not given. */
  readonly isEmpty?: boolean;
}

/** What reading finds out: which settings were given, and where, and everything that is wrong with them. */
export class Findings {
  readonly #origins = new Map<string, Origin>();
  readonly #problems: Problem[] = [];
  readonly #refused = new Set<string>();

  /** Note that a setting was given; a later origin replaces an earlier one. */
  give(path: string, origin: Origin): void {
    this.#origins.set(path, origin);
  }

  /** Where exactly this setting was given; undefined: it was not. */
  origin(path: string): Origin | undefined {
    return this.#origins.get(path);
  }

  isGiven(path: string): boolean {
    const origin = this.#origins.get(path);
    return origin !== undefined && !origin.isEmpty;
  }

  /** A setting's text as messages may show it: as it was written, so that no `${NAME}` gives away what it stands for. */
  shown(path: string, text: string): string {
    const origin = this.#origins.get(path);
    return origin === undefined ? show(text) : (origin.text ?? 'what was given');
  }

  /** The paths of all settings that were given, with their origins. */
  given(): [path: string, origin: Origin][] {
    return [...this.#origins].filter(([, { isEmpty }]) => !isEmpty);
  }

  /**
   * Add a problem with a setting, placed where the setting or else the nearest thing around it was given.
   *
   * A setting that was refused before is refused once only, and nothing inside of it again: the later problems would be
   * consequences of the first.
   */
  refuse(path: string, message: string, line?: number): void {
    for (const outer of outwards(path)) if (this.#refused.has(outer)) return;
    this.#refused.add(path);
    const origin = this.#around(path);
    if (origin?.variable !== undefined) {
      this.refuseVariable(origin.variable, origin.part === undefined ? message : `${origin.part}: ${message}`);
    } else {
      const place = line ?? origin?.line;
      this.#problems.push({ path, message, ...(place === undefined ? {} : { line: place }) });
    }
  }

  /** Refuse a name that is among those taken, which map to the paths that took them; otherwise it is taken from now on. */
  refuseTaken(path: string, name: string, taken: Map<string, string>): void {
    const before = taken.get(name);
    if (before) this.refuse(path, `the name ${this.shown(path, name)} is taken by ${before}`);
    else if (name !== '') taken.set(name, path.slice(0, path.lastIndexOf('.')));
  }

  /** Add a problem with a key rather than with its value, which may have others. */
  refuseKey(path: string, message: string, line: number): void {
    this.#problems.push({ path, message, line });
  }

  refuseVariable(name: string, message: string): void {
    this.#problems.push({ path: name, message });
  }

  isRefused(path: string): boolean {
    return this.#refused.has(path);
  }

  /** Throws a ConfigError if anything is wrong. */
  finish(): void {
    if (this.#problems.length > 0) throw new ConfigError(this.#problems);
  }

  #around(path: string): Origin | undefined {
    for (const outer of outwards(path)) {
      const origin = this.#origins.get(outer);
      if (origin) return origin;
    }
    return undefined;
  }
}

/** A path, and the paths of what it lies in, innermost first. */
function* outwards(path: string): Generator<string> {
  for (let end = path.length; end > 0; ) {
    const outer = path.slice(0, end);
    yield outer;
    end = Math.max(outer.lastIndexOf('.'), outer.lastIndexOf('['));
  }
}
