import { create } from '@bufbuild/protobuf';
import { type CompletionEvent, CompletionEventSchema, MediaSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { extra, heartbeat, mediaDelta, toolCallDelta } from '../../src/completion.ts';

/** Numbers from 0 to below 1. */
export type Random = () => number;

/** A small repeatable source of randomness (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Tell the same answer by other events: deltas cut into pieces and empty ones, parts and choices interleaved, usage reported
 * early, heartbeats anywhere. What the contract lets a provider do, in one function.
 */
export function recut(
  events: readonly CompletionEvent[],
  random: Random,
  early: readonly CompletionEvent[] = [],
): CompletionEvent[] {
  const [first, ...rest] = events;
  const last = rest.pop();
  if (!first || !last) throw new Error('a stream has a first and a last event');
  const choices = new Map<number | undefined, CompletionEvent[]>();
  for (const event of rest) push(choices, choiceOf(event), event);
  const woven = weave([...choices.values()].map((own) => weaveParts(own, random)).concat([[...early]]), random);
  return [first, ...woven, last].flatMap((event) => (random() < 0.2 ? [heartbeat, event] : [event]));
}

function choiceOf({ event }: CompletionEvent): number | undefined {
  return event.value && 'choiceIndex' in event.value ? event.value.choiceIndex : undefined;
}

function partOf({ event }: CompletionEvent): number | undefined {
  return event.value && 'partIndex' in event.value ? event.value.partIndex : undefined;
}

/** Cut the deltas of one choice and interleave its parts; each opens after the one before, and the end stays last. */
function weaveParts(events: readonly CompletionEvent[], random: Random): CompletionEvent[] {
  const ends = events.filter(({ event }) => event.case === 'choiceFinished');
  const parts = new Map<number | undefined, CompletionEvent[]>();
  for (const event of events) if (!ends.includes(event)) push(parts, partOf(event), event);
  const queues = [...parts.entries()].map(([index, own]) => ({
    index,
    own: own.flatMap((event) => cut(event, random)),
  }));
  const woven: CompletionEvent[] = [];
  let opened = 0;
  for (;;) {
    const ready = queues.filter(({ index, own }) => own.length > 0 && (index === undefined || index <= opened));
    const queue = ready[Math.floor(random() * ready.length)];
    const event = queue?.own.shift();
    if (!queue || !event) return [...woven, ...ends];
    woven.push(event);
    if (queue.index === opened) opened++;
  }
}

/** Merge queues at random; each keeps its order. */
function weave(queues: readonly CompletionEvent[][], random: Random): CompletionEvent[] {
  const woven: CompletionEvent[] = [];
  for (;;) {
    const ready = queues.filter((queue) => queue.length > 0);
    const event = ready[Math.floor(random() * ready.length)]?.shift();
    if (!event) return woven;
    woven.push(event);
  }
}

/** One event as several that mean the same. */
function cut(whole: CompletionEvent, random: Random): CompletionEvent[] {
  const { event } = whole;
  switch (event.case) {
    case 'textDelta':
    case 'reasoningDelta':
    case 'refusalDelta': {
      const { value } = event;
      return pieces([...value.text], random).map((piece) =>
        create(CompletionEventSchema, {
          event: { ...event, value: { ...value, text: piece.join('') } } as typeof event,
        }),
      );
    }
    case 'toolCallDelta': {
      const { choiceIndex, partIndex, arguments: args } = event.value;
      return pieces([...args], random).map((piece, at) =>
        toolCallDelta(choiceIndex, partIndex, piece.join(''), at === 0 ? event.value : undefined),
      );
    }
    case 'mediaDelta': {
      const { choiceIndex, partIndex, media } = event.value;
      if (media.case === undefined || media.value.source.case !== 'data') return [whole];
      const { source, transcript, ...fields } = media.value;
      const words = pieces([...transcript], random);
      return pieces([...source.value], random).map((piece, at, all) => {
        const own = at === 0 ? fields : {};
        const said = at < all.length - 1 ? (words[at]?.join('') ?? '') : words.slice(at).flat().join('');
        const value = create(MediaSchema, {
          ...own,
          source: { case: 'data', value: Uint8Array.from(piece) },
          transcript: said,
        });
        return mediaDelta(choiceIndex, partIndex, { case: media.case, value });
      });
    }
    case 'extra': {
      const { family, json, choiceIndex, partIndex } = event.value;
      const halves = pieces(Object.entries(JSON.parse(json)), random);
      return halves.map((half) => extra(family, JSON.stringify(Object.fromEntries(half)), choiceIndex, partIndex));
    }
    case 'logprobs': {
      const { content, refusal, choiceIndex } = event.value;
      return pieces(content, random).map((piece, at, all) =>
        create(CompletionEventSchema, {
          event: {
            case: 'logprobs',
            value: { choiceIndex, content: piece, refusal: at === all.length - 1 ? refusal : [] },
          },
        }),
      );
    }
    default:
      return [whole];
  }
}

/** Cut a list at up to three random places; pieces may be empty, but there is one at least. */
function pieces<T>(list: readonly T[], random: Random): T[][] {
  const cuts = Array.from({ length: Math.floor(random() * 4) }, () => Math.floor(random() * (list.length + 1)));
  const edges = [0, ...cuts.sort((a, b) => a - b), list.length];
  return edges.slice(1).map((end, at) => list.slice(edges[at], end));
}

function push<K>(groups: Map<K, CompletionEvent[]>, key: K, event: CompletionEvent): void {
  const group = groups.get(key);
  if (group) group.push(event);
  else groups.set(key, [event]);
}
