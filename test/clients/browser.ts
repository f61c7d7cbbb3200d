/**
 * The example page in headless Chromium, on another origin than the gateway: Connect, gRPC-Web and server-sent events.
 *
 * GATEWAY_URL says where the gateway is, CHROMIUM which browser to use; SCREENSHOTS is a folder for pictures of the page.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { context } from 'esbuild';
import { chromium, type Page } from 'playwright-core';

const gatewayUrl = process.env.GATEWAY_URL ?? '';
const scratch = mkdtempSync(join(tmpdir(), 'llm-gateway-browser.'));
const screenshots = process.env.SCREENSHOTS ?? scratch;
const folder = new URL('../../examples/browser/', import.meta.url).pathname;

async function servePage(): Promise<{ url: string; stop: () => Promise<void> }> {
  const build = await context({
    entryPoints: [join(folder, 'page.ts')],
    outdir: folder,
    bundle: true,
    write: false,
    format: 'esm',
    logLevel: 'error',
  });
  const { port } = await build.serve({ host: '127.0.0.1', port: 0, servedir: folder });
  return { url: `http://127.0.0.1:${port}/`, stop: () => build.dispose() };
}

/** Counts in the page how often the answer becomes longer. */
async function countPieces(page: Page): Promise<void> {
  await page.evaluate(() => {
    const answer = document.querySelector('#answer') as HTMLElement;
    new MutationObserver((changes) => {
      const more = changes.flatMap(({ addedNodes }) => [...addedNodes]).length;
      answer.dataset.grew = `${Number(answer.dataset.grew) + more}`;
    }).observe(answer, { childList: true });
  });
}

/** Presses a button of the page and waits for the whole answer; `grew` says in how many pieces it came. */
async function ask(page: Page, action: 'complete' | 'stream', protocol: string, model = '') {
  await page.selectOption('#protocol', protocol);
  await page.fill('#model', model);
  await page.evaluate(() => document.querySelector('#answer')?.setAttribute('data-grew', '0'));
  await page.click(`#${action}`);
  await page.waitForSelector('#answer[data-state=ready]', { timeout: 60_000 });
  const answer = page.locator('#answer');
  return { text: (await answer.textContent()) ?? '', grew: Number(await answer.getAttribute('data-grew')) };
}

/** What the browser says of the page, to be told if the check fails. */
const heard: string[] = [];
const { url, stop } = await servePage();
const browser = await chromium.launchPersistentContext(scratch, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  const page = await browser.newPage();
  page.on('console', (message) => heard.push(message.text()));
  page.on('pageerror', (error) => heard.push(`${error}`));
  await page.goto(url);
  await page.fill('#gateway', gatewayUrl);
  await page.fill('#key', process.env.GATEWAY_API_KEY ?? '');

  await countPieces(page);
  const texts = new Set<string>();
  for (const protocol of ['connect', 'grpc-web', 'sse']) {
    const whole = await ask(page, 'complete', protocol);
    assert.match(whole.text, /\S\n\[.*demo.*, [1-9]\d* tokens\]$/);
    const streamed = await ask(page, 'stream', protocol);
    assert.match(streamed.text, /\S\n\[(finished, [1-9]\d* tokens|done)\]$/);
    assert.ok(streamed.grew > 3, `the text came in ${streamed.grew} pieces`);
    texts.add(whole.text.replace(/\n\[.*\]$/, '')).add(streamed.text.replace(/\n\[.*\]$/, ''));
    await page.screenshot({ path: join(screenshots, `${protocol}.png`) });
    console.log(`${protocol}: completes, and streams in ${streamed.grew} pieces`);

    for (const action of ['complete', 'stream'] as const) {
      const unknown = await ask(page, action, protocol, 'no-such-model');
      assert.match(
        unknown.text,
        /^\[failed: (NotFound|404) model_not_found: .*no-such-model.* \(request [\w.:-]+\)\]$/,
      );
      const unreachable = await ask(page, action, protocol, 'unreachable');
      assert.match(unreachable.text, /^\[failed: (Unavailable provider_unavailable|503 upstream_unavailable): /);
      console.log(`${protocol}: ${action}: ${unknown.text}`);
    }
  }
  assert.equal(texts.size, 1, `one question, answers that differ: ${[...texts].join(' | ')}`);
} catch (error) {
  for (const words of heard) console.log(`browser: ${words}`);
  throw error;
} finally {
  await browser.close();
  await stop();
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}
