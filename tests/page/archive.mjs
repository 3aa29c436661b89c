// The library with very many VoDs: few nodes, and any month at once.

import assert from 'node:assert/strict';
import { accessible, check, go, job, shoot, until, visit, withBrowser } from './browser.mjs';

const MOST_NODES = 400;

const nodes = (page) => page.evaluate(() => document.querySelectorAll('*').length);
const starts = (page) => page.evaluate(() => [...document.querySelectorAll('.tile:not(.waiting) .tile-meta')].map((meta) => meta.textContent));

await withBrowser(async (browser) => {
  for (const size of ['desktop', 'phone']) {
    const tab = await visit(browser, job.base, { size, isMobile: size === 'phone', hasTouch: size === 'phone' });
    const { page } = tab;
    await page.addInitScript(() => {
      globalThis.longest = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((entry) => { globalThis.longest = Math.max(globalThis.longest, entry.duration); })).observe({ type: 'longtask', buffered: true });
    });
    const begun = Date.now();
    await go(tab, '#/');
    // The first request of a daemon makes its index.
    await page.waitForSelector('.tile:not(.waiting)', { timeout: 300_000 });
    const firstMs = Date.now() - begun;
    await page.waitForSelector('.scrubber');
    const newest = await starts(page);
    await page.evaluate(() => { globalThis.longest = 0; });
    // The last month of the slider is the oldest.
    const jumpMs = await page.evaluate(async (half) => {
      const scrubber = document.querySelector('.scrubber');
      const before = document.querySelector('.tile .tile-meta').textContent;
      const at = performance.now();
      scrubber.focus();
      scrubber.dispatchEvent(new KeyboardEvent('keydown', { key: 'End', bubbles: true, cancelable: true }));
      for (;;) {
        await new Promise(requestAnimationFrame);
        const shown = document.querySelector('.tile:not(.waiting) .tile-meta');
        const index = Number(document.querySelector('.tile [data-at]')?.dataset.at ?? 0);
        if (shown && shown.textContent !== before && index > half) return performance.now() - at;
        if (performance.now() - at > 60_000) throw new Error('the oldest month does not come');
      }
    }, job.vods / 2);
    const oldest = await starts(page);
    assert.notDeepEqual(oldest, newest);
    assert(oldest.every((text) => text.includes(job.oldestYear)), `${oldest[0]} is not of ${job.oldestYear}`);
    const count = await nodes(page);
    assert(count < MOST_NODES, `${count} nodes`);
    // Through everything, as somebody does who drags the bar.
    const most = await page.evaluate(async () => {
      const box = document.querySelector('.scroller');
      let found = 0;
      for (let step = 0; step <= 40; step += 1) {
        box.scrollTop = (box.scrollHeight * step) / 40;
        await new Promise(requestAnimationFrame);
        await new Promise(requestAnimationFrame);
        found = Math.max(found, document.querySelectorAll('*').length);
      }
      return found;
    });
    assert(most < MOST_NODES, `${most} nodes while it scrolls`);
    // Where the space of the list is scaled down, its last row is still the last.
    await page.evaluate(() => { const box = document.querySelector('.scroller'); box.scrollTop = box.scrollHeight; });
    await until('the last one', () => page.evaluate((last) => Boolean(document.querySelector(`.tile:not(.waiting) [data-at="${last}"]`)), job.vods - 1));
    const longestMs = Math.round(await page.evaluate(() => globalThis.longest));
    console.log(`${size}: first tiles ${firstMs} ms, oldest month ${Math.round(jumpMs)} ms, nodes ${count} (most ${most}), longest task ${longestMs} ms`);
    await accessible(tab, `archive ${size}`);
    await shoot(tab, `archive-${size}`);
    await check(tab);
    await tab.context.close();
  }
});
