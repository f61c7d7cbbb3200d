/**
 * Sends one HTTP/1.1 request again and again over connections that stay open, and tells what was answered, and how soon.
 *
 *     node bench/load.ts PORT CONNECTIONS RATE SECONDS SKIPPED < REQUEST      the bytes of the request; prints a Report as JSON
 *
 * RATE is how many a second, whether they are answered or not, as long as a connection is free; 0: each connection asks again as soon
 * as it is answered. SKIPPED is how many seconds of the beginning do not count. By sockets and nothing else: the generator shares
 * its machine with what it measures, and with 2,000 connections a usual one takes more of it than the gateway does.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';

/** What a load has brought. Times in milliseconds. */
export interface Report {
  /** Requests answered with 200, a second. */
  readonly goodput: number;
  /** How long these took. */
  readonly p50: number;
  readonly p99: number;
  /** Other answers a second, and how long they took. */
  readonly refused: number;
  readonly refusedP50: number;
  /** Requests a second that no connection was free for. */
  readonly unsent: number;
  /** Connections lost before their answer. */
  readonly lost: number;
  /** When the last request was sent that was not answered with 200, in seconds since the beginning; 0: none. */
  readonly lastRefusedAt: number;
}

const [port, connections, rate, seconds, skipped] = process.argv.slice(2).map(Number) as [
  number,
  number,
  number,
  number,
  number,
];
const request = readFileSync(0);
const startedAt = performance.now();
const endAt = startedAt + seconds * 1000;
const countsFrom = startedAt + skipped * 1000;
const good: number[] = [];
const bad: number[] = [];
let lost = 0;
let unsent = 0;
let lastRefusedAt = 0;

class Connection {
  #socket: Socket | undefined;
  #sentAt = 0;
  #received = '';

  send(): void {
    this.#sentAt = performance.now();
    this.#received = '';
    this.#socket ??= this.#open();
    this.#socket.write(request);
  }

  #open(): Socket {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.#received = this.#received === '' ? text : this.#received + text;
      this.#read();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      lost++;
      this.#socket = undefined;
      done(this);
    });
    return socket;
  }

  #read(): void {
    const bodyAt = this.#received.indexOf('\r\n\r\n') + 4;
    if (bodyAt === 3) return;
    const length = /\r\ncontent-length: *(\d+)/i.exec(this.#received)?.[1];
    if (this.#received.length < bodyAt + Number(length)) return;
    note(this.#received.startsWith('HTTP/1.1 200'), this.#sentAt);
    if (/\r\nconnection: *close/i.test(this.#received)) {
      this.#socket?.destroy();
      this.#socket = undefined;
    }
    done(this);
  }
}

function note(isGood: boolean, sentAt: number): void {
  if (!isGood) lastRefusedAt = Math.max(lastRefusedAt, (sentAt - startedAt) / 1000);
  if (sentAt >= countsFrom) (isGood ? good : bad).push(performance.now() - sentAt);
}

const free: Connection[] = [];

function done(connection: Connection): void {
  if (rate > 0) free.push(connection);
  else if (performance.now() < endAt) connection.send();
}

/** Requests that are due go out, over the connections that have been free for the longest time. */
function sendDue(): void {
  let due = ((performance.now() - startedAt) / 1000) * rate - sent;
  const now = free.splice(0, Math.floor(due));
  for (const connection of now) connection.send();
  sent += now.length;
  due -= now.length;
  if (due < 1) return;
  sent += Math.floor(due);
  if (performance.now() >= countsFrom) unsent += Math.floor(due);
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

let sent = 0;
const all = Array.from({ length: connections }, () => new Connection());
for (const connection of all) done(connection);
const timer = rate > 0 ? setInterval(sendDue, 1) : undefined;
setTimeout(() => {
  clearInterval(timer);
  const counted = seconds - skipped;
  const report: Report = {
    goodput: good.length / counted,
    p50: quantile(good, 0.5),
    p99: quantile(good, 0.99),
    refused: bad.length / counted,
    refusedP50: quantile(bad, 0.5),
    unsent: unsent / counted,
    lost,
    lastRefusedAt,
  };
  console.log(JSON.stringify(report));
  process.exit();
}, seconds * 1000);
