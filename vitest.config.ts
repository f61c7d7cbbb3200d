import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Processes, not threads: tests listen for signals, count sockets and measure memory.
    pool: 'forks',
    testTimeout: 15_000,
    hookTimeout: 30_000,
  },
});
