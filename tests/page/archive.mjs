// The library with very many VoDs: few nodes, and any month at once.

import assert from 'node:assert/strict';
import { PATIENCE_MS, accessible, check, go, job, shoot, until, visit, withBrowser } from './browser.mjs';

const MOST_NODES = 400;
const MOST_TILES = 200;
/** Times are held to these bounds in the long form alone (scripts/prove-page): machines that run all tests are slow now and then. */
const IS_LONG = process.env.AFTERCAST_PAGE_VODS !== undefined;
const MOST_JUMP_MS = 500;
const MOST_TASK_MS = 200;
/** What the first view may load before its first posters, as it is sent. */
const MOST_BYTES = 60_000;
/** Parts of other views, which are not waited for. */
const LATER = /\/(vod|player|journey|streams|pipeline|doctor)\.js$/;

/** Sums up what a page receives, by the length of what is sent: compressed, with its headers. */
async function received(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  const urls = new Map();
  const sizes = new Map();
  const add = (id, bytes) => sizes.set(id, (sizes.get(id) ?? 0) + bytes);
  session.on('Network.requestWillBeSent', ({ requestId, request }) => urls.set(requestId, request.url));
  session.on('Network.responseReceived', ({ requestId, response }) => sizes.set(requestId, response.encodedDataLength));
  session.on('Network.dataReceived', ({ requestId, encodedDataLength }) => add(requestId, encodedDataLength));
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => sizes.set(requestId, encodedDataLength));
  return () => {
    const counted = [...sizes].map(([id, bytes]) => [urls.get(id) ?? '', bytes]).filter(([url]) => !LATER.test(url) && !url.includes('/poster'));
    return { total: counted.reduce((sum, [, bytes]) => sum + bytes, 0), list: counted.map(([url, bytes]) => `${bytes} ${url}`).join('\n') };
  };
}

/** Fails if the page has more nodes than it may, wherever it is in the list. */
async function isSmall(page, when) {
  const [nodes, tiles] = await page.evaluate(() => ['*', '.tile, .row'].map((each) => document.querySelectorAll(each).length));
  assert(nodes < MOST_NODES && tiles > 0 && tiles <= MOST_TILES, `${nodes} nodes, ${tiles} tiles ${when}`);
  return nodes;
}
const starts = (page) => page.evaluate(() => [...document.querySelectorAll('.tile:not(.waiting) .tile-meta')].map((meta) => meta.textContent));

/** A range with recordings that were never loaded is selected as a whole, or not at all; and what the filters hide is counted. */
async function selectsARange({ page }) {
  const RANGE = 700;
  const tileAt = (index) => page.locator('.tile:not(.waiting)', { has: page.locator(`[data-at="${index}"]`) });
  /** Selects up to the first recording that is seen in a row below a position. */
  const upTo = async (position) => {
    await page.evaluate((part) => { const scroller = document.querySelector('.scroller'); scroller.scrollTop = scroller.scrollHeight * part; }, position / job.vods);
    const at = await until('it scrolls', () => page.evaluate((least) => Number([...document.querySelectorAll('.tile:not(.waiting) [data-at]')].find((each) => Number(each.dataset.at) > least)?.dataset.at ?? 0), position - 20));
    await tileAt(at).getByRole('checkbox').click({ modifiers: ['Shift'] });
    return at;
  };
  await page.evaluate(() => { document.querySelector('.scroller').scrollTop = 0; });
  await tileAt(0).hover();
  await tileAt(0).getByRole('checkbox').check();
  const last = await upTo(RANGE);
  const bar = page.getByRole('toolbar');
  await isSmall(page, 'with a selection');
  await bar.getByText(`${last + 1} selected`).waitFor();
  await upTo(RANGE + 3000);
  await page.getByText('Select at most 1,000 at once.').waitFor();
  assert.equal(await page.locator('.tile.picked').count(), 0, 'nothing more is selected');
  await page.getByLabel('Search name, stream, description').fill('no recording has this');
  await bar.getByText(`${last + 1} hidden by the filters`).waitFor();
  await page.getByLabel('Search name, stream, description').fill('');
  await page.locator('.tile.picked').first().waitFor();
  await bar.getByText('hidden').waitFor({ state: 'detached' });
  await bar.getByRole('button', { name: 'Clear selection' }).click();
}

/** Days are those of the viewer's zone, whichever the server's is; the months at the side are those of the period. */
async function showsAPeriod(tab) {
  const { page } = tab;
  const inZone = (day, add) => page.evaluate(([text, days]) => { const date = new Date(`${text}T00:00`); date.setDate(date.getDate() + days); return date.getTime(); }, [day, add]);
  const [fromMs, toMs] = [await inZone('2022-04-20', 0), await inZone('2022-06-10', 1)];
  const expected = [];
  let after = '';
  do {
    const answer = await fetch(`${job.base}api/v1/vods?fromMs=${fromMs}&toMs=${toMs}&limit=1000${after}`).then((said) => said.json());
    expected.push(...answer.items.filter((vod) => vod.startTime >= fromMs));
    after = answer.next && `&after=${answer.next}`;
  } while (after);
  expected.sort((a, b) => b.startTime - a.startTime);
  const [newest, oldest] = [expected[0].vodId, expected.at(-1).vodId];
  assert(expected.length > 100);
  const shows = (at, id) => page.locator(`.tile:not(.waiting) [data-at="${at}"][href="#/vod/${id}"]`).waitFor();
  await page.getByLabel('Time', { exact: true }).selectOption('From … to …');
  await page.getByLabel('From', { exact: true }).fill('2022-04-20');
  await page.getByLabel('To', { exact: true }).fill('2022-06-10');
  await page.waitForURL(/from=2022-04-20&to=2022-06-10/);
  await shows(0, newest);
  await page.locator(`.tile[aria-setsize="${expected.length}"]`).first().waitFor();
  await page.locator('.scrubber[aria-valuemax="2"]').press('End');
  await until('the first month', () => page.evaluate(() => /^April 2022/.test(document.querySelector('.scrubber').ariaValueText)));
  await page.evaluate(() => { const box = document.querySelector('.scroller'); box.scrollTop = box.scrollHeight; });
  await shows(expected.length - 1, oldest);
  await page.getByLabel('Order', { exact: true }).selectOption('Oldest first');
  await shows(0, oldest);
  await isSmall(page, 'with a period');
  await accessible(tab, 'a period');
  await shoot(tab, `period-${tab.size}`);
  await page.getByLabel('Time', { exact: true }).selectOption('Any time');
  await page.locator(`.tile[aria-setsize="${job.vods}"]`).first().waitFor();
}

await withBrowser(async (browser) => {
  // Whoever opens the page has a browser that runs: its processes have drawn something before. Of this page it has nothing.
  const other = await browser.newPage();
  await other.goto('data:text/html,<script type="module">document.body.append("ready")</script>');
  await other.close();
  for (const size of ['desktop', 'phone']) {
    const tab = await visit(browser, job.base, { size, isMobile: size === 'phone', hasTouch: size === 'phone' });
    const { page } = tab;
    // The page tells: asking it again and again would run in the middle of what is measured.
    let told;
    const hasPosters = new Promise((done) => { told = done; });
    await page.exposeFunction('tellPosters', () => told());
    await page.addInitScript(() => {
      globalThis.longest = 0;
      const firstTile = () => {
        if (document.querySelector('.tile:not(.waiting)')) globalThis.firstTile = performance.now();
        else requestAnimationFrame(firstTile);
      };
      requestAnimationFrame(firstTile);
      const firstPoster = () => {
        if ([...document.querySelectorAll('.tile img')].some((image) => image.complete && image.naturalWidth)) {
          globalThis.firstPoster = performance.now();
          globalThis.tellPosters();
        } else requestAnimationFrame(firstPoster);
      };
      requestAnimationFrame(firstPoster);
      new PerformanceObserver((list) => list.getEntries().forEach((entry) => { globalThis.longest = Math.max(globalThis.longest, entry.duration); })).observe({ type: 'longtask', buffered: true });
    });
    const bytes = await received(page);
    await page.goto(`${job.base}#/`);
    await Promise.race([hasPosters, new Promise((_, fail) => { setTimeout(fail, 5 * PATIENCE_MS, new Error('the first posters do not come')).unref(); })]);
    // From the request for the page to the paint of its first tiles and posters, as the browser's clock says it.
    const firstMs = await page.evaluate(() => new Promise((done) => {
      requestAnimationFrame(() => setTimeout(() => done({ tile: Math.round(globalThis.firstTile), poster: Math.round(globalThis.firstPoster) }), 0));
    }));
    const sent = bytes();
    // The months need the index, which the first request for them makes.
    await page.waitForSelector('.scrubber', { timeout: 300_000 });
    assert(sent.total > 20_000 && sent.total <= MOST_BYTES, `the first view loads ${sent.total} bytes:\n${sent.list}`);
    await isSmall(page, 'at first');
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
    const count = await isSmall(page, 'at the oldest month');
    // Through everything, as somebody does who drags the bar.
    const most = await page.evaluate(async () => {
      const box = document.querySelector('.scroller');
      const found = [0, 0];
      for (let step = 0; step <= 40; step += 1) {
        box.scrollTop = (box.scrollHeight * step) / 40;
        await new Promise(requestAnimationFrame);
        await new Promise(requestAnimationFrame);
        ['*', '.tile'].forEach((each, at) => { found[at] = Math.max(found[at], document.querySelectorAll(each).length); });
      }
      return found;
    });
    assert(most[0] < MOST_NODES && most[1] <= MOST_TILES, `${most[0]} nodes, ${most[1]} tiles while it scrolls`);
    // Where the space of the list is scaled down, its last row is still the last.
    await page.evaluate(() => { const box = document.querySelector('.scroller'); box.scrollTop = box.scrollHeight; });
    await until('the last one', () => page.evaluate((last) => Boolean(document.querySelector(`.tile:not(.waiting) [data-at="${last}"]`)), job.vods - 1));
    const longestMs = Math.round(await page.evaluate(() => globalThis.longest));
    console.log(`${size}: first tiles ${firstMs.tile} ms, first posters ${firstMs.poster} ms, ${sent.total} bytes, oldest month ${Math.round(jumpMs)} ms, nodes ${count} (most ${most[0]}), tiles at most ${most[1]}, longest task ${longestMs} ms`);
    if (IS_LONG) assert(jumpMs < MOST_JUMP_MS && longestMs <= MOST_TASK_MS, `the oldest month takes ${Math.round(jumpMs)} ms, the longest task ${longestMs} ms`);
    await accessible(tab, `archive ${size}`);
    await shoot(tab, `archive-${size}`);
    // The archive of a measurement has other days.
    if (!job.isMeasured) {
      await selectsARange(tab);
      await showsAPeriod(tab);
    }
    await go(tab, '#/?view=table');
    await page.locator('.row a').first().waitFor();
    await isSmall(page, 'as a table');
    await check(tab);
    await tab.context.close();
  }
});
