import { describe, expect, it } from 'vitest';
import { Stop } from '../src/stop.ts';

describe('a stop signal', () => {
  it('tells everybody once, with the first reason', () => {
    const stop = new Stop();
    const told: string[] = [];
    stop.addEventListener('abort', () => told.push(`one: ${stop.reason}`));
    stop.addEventListener('abort', () => told.push(`two: ${stop.reason}`));
    stop.throwIfAborted();
    stop.abort('first');
    stop.abort('second');
    expect(told).toEqual(['one: first', 'two: first']);
    expect(stop).toMatchObject({ aborted: true, reason: 'first' });
    expect(() => stop.throwIfAborted()).toThrow('first');
  });

  it('tells nobody who was taken off, and nobody but them', () => {
    const stop = new Stop();
    const told: string[] = [];
    const gone = () => told.push('gone');
    stop.addEventListener('abort', gone);
    stop.addEventListener('abort', () => told.push('there'));
    stop.removeEventListener('abort', gone);
    stop.removeEventListener('abort', () => {});
    stop.abort('now');
    expect(told).toEqual(['there']);
  });

  it('lets a listener take others off while it is told', () => {
    const stop = new Stop();
    const told: string[] = [];
    const last = () => told.push('last');
    stop.addEventListener('abort', () => stop.removeEventListener('abort', last));
    stop.addEventListener('abort', last);
    stop.abort('now');
    expect(told).toEqual(['last']);
  });
});
