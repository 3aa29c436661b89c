// Steps of recordings.mjs with a recording: what the player shows and does, and what its page says.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { accessible, go, job, shoot, until } from './browser.mjs';

/** The first VoD of a list for which something holds. */
const vodWhere = (query, holds) => until(`a VoD of ${query}`, async () => {
  const { items } = await fetch(`${job.base}api/v1/vods?${query}`).then((answer) => answer.json());
  return items.find(holds);
});
const opened = async (tab, vod, more = '') => {
  await go(tab, `#/vod/${vod.vodId}${more}`);
  await tab.page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 0);
};
const now = (page) => page.evaluate(() => document.querySelector('[data-player]').currentTime);

/** What a crash and a broken disk lost is marked where it was. */
export async function marksWhatIsLost(tab) {
  const { page } = tab;
  const bytes = fs.readFileSync(job.crashed);
  const [from, to] = [0.3, 0.4].map((part) => Math.round(bytes.length * part));
  fs.writeFileSync(path.join(job.root, 'lesson-2026-03-04_12-00-00.000.mp4'), bytes.fill(0, from, to));
  const vod = await vodWhere('outcome=salvaged', ({ salvage }) => salvage.gaps.length > 0);
  await opened(tab, vod);
  const mark = page.locator('.seek .mark.bad');
  assert.equal(await mark.count(), vod.salvage.gaps.length);
  const [bar, box] = [await page.locator('.seek').boundingBox(), await mark.first().boundingBox()];
  const place = (box.x - bar.x) / bar.width;
  assert(place > 0.25 && place < 0.35, `the mark is at ${place}`);
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.locator('.bubble').getByText(/^Lost about here: \d+ pictures/).waitFor();
  await shoot(tab, 'mark');
  await page.locator('summary', { hasText: 'gap' }).click();
  await page.getByRole('group', { name: 'Gaps' }).getByRole('button').first().click();
  await until('it seeks to the gap', async () => Math.abs((await now(page)) / (vod.duration / 1000) - place) < 0.03);
  await accessible(tab, 'marks');
}

/** A recording whose pictures do not decode says so. */
export async function saysWhyThereIsNoPicture(tab) {
  const { page } = tab;
  const bytes = fs.readFileSync(job.teacher);
  const [from, to] = ['mdat', 'moov'].map((box) => bytes.lastIndexOf(box));
  // The header stays, and no packet is one of its codec.
  for (let at = from + 4; at < to - 4; at += 1) bytes[at] = (at * 73 + (at >> 8) * 151) & 255;
  const file = path.join(job.root, 'noise-2026-03-04_13-00-00.000.mp4');
  fs.writeFileSync(file, bytes);
  const vod = await vodWhere('stream=noise', ({ pictures }) => pictures?.missing);
  await go(tab, `#/vod/${vod.vodId}`);
  const step = page.locator('.journey li', { hasText: 'No poster' });
  await step.getByText('The recording itself was not changed.').waitFor();
  assert.match(await step.textContent(), /decode/);
  await accessible(tab, 'no picture');
  await shoot(tab, 'no-picture');
}

/** Pictures of the sheet follow the pointer, on the tile and on the seek bar. */
export async function showsTheSprite(tab) {
  const { page } = tab;
  const vod = await vodWhere('stream=lesson&outcome=spliced', ({ pictures }) => pictures?.sprite);
  await go(tab, '#/?stream=lesson&outcome=spliced');
  const poster = page.locator('.tile', { has: page.locator(`[href="#/vod/${vod.vodId}"]`) }).locator('.poster');
  await poster.hover({ position: { x: 40, y: 40 } });
  const isOfSprite = (element) => getComputedStyle(element).backgroundImage.includes('/sprite');
  assert(await poster.locator('.scrub').evaluate(isOfSprite));
  await shoot(tab, 'sprite');
  await page.mouse.move(5, 5);
  await until('the poster is back', async () => (await poster.locator('.scrub').count()) === 0);
  await opened(tab, vod);
  const bar = await page.locator('.seek').boundingBox();
  await page.mouse.move(bar.x + bar.width / 2, bar.y + bar.height / 2);
  const cue = page.locator('.bubble .cue');
  await cue.waitFor();
  assert(await cue.evaluate(isOfSprite));
  const { width } = await cue.boundingBox();
  assert.equal(Math.round(width), vod.pictures.sprite.tiles.width);
  // At the very edge it stays within the player.
  await page.mouse.move(bar.x + 1, bar.y + bar.height / 2);
  await until('the bubble is within the player', async () => (await page.locator('.bubble').boundingBox()).x >= (await page.locator('.player').boundingBox()).x);
}

/** Keys that no other step uses, and the speed. */
export async function keysAndSpeed(tab) {
  const { page } = tab;
  await opened(tab, await vodWhere('stream=lesson&outcome=spliced', () => true));
  const isAt = (what, holds) => until(what, async () => holds(await now(page)) && page.evaluate(() => !document.querySelector('[data-player]').seeking));
  await page.getByLabel('Position').fill('6');
  await isAt('it seeks', (at) => Math.abs(at - 6) < 0.1);
  await page.keyboard.press('ArrowRight');
  await isAt('5 s on', (at) => Math.abs(at - 11) < 0.1);
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  await isAt('10 s back', (at) => Math.abs(at - 1) < 0.1);
  await page.getByLabel('Position').fill('8');
  await page.keyboard.press('j');
  await isAt('it rewinds', (at) => at < 7.5);
  await page.keyboard.press('k');
  const stopped = await now(page);
  await page.keyboard.press(',');
  await isAt('one frame back', (at) => at < stopped && at > stopped - 0.2);
  const speed = () => page.evaluate(() => document.querySelector('[data-player]').playbackRate);
  await page.getByLabel('Speed').selectOption('2×');
  assert.equal(await speed(), 2);
  await page.getByRole('button', { name: 'Play' }).focus();
  await page.keyboard.press('l');
  await until('it plays at its own speed', async () => (await speed()) === 1 && page.evaluate(() => !document.querySelector('[data-player]').paused));
  await page.keyboard.press('l');
  await until('twice as fast', async () => (await speed()) === 2);
  await page.keyboard.press('k');
  await page.keyboard.press('m');
  await page.getByRole('button', { name: 'Sound on (M)' }).waitFor();
}

const copied = (page) => page.evaluate(() => navigator.clipboard.readText());

/** Links: to a time, and one for others. */
export async function links(tab) {
  const { page } = tab;
  await tab.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const vod = await vodWhere('stream=lesson&outcome=spliced', () => true);
  await opened(tab, vod);
  await page.getByLabel('Position').fill('3');
  await page.getByRole('button', { name: 'Copy link at time' }).click();
  await page.getByText('Link to 0:03 copied.').waitFor();
  const link = await copied(page);
  assert.equal(link, `${tab.base}#/vod/${vod.vodId}?t=3`);
  await page.goto('about:blank');
  await page.goto(link);
  await until('it begins there', async () => Math.abs((await page.evaluate(() => document.querySelector('[data-player]')?.currentTime ?? 0)) - 3) < 0.1);
  await page.getByRole('button', { name: 'Share' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Valid for').selectOption('1 hour');
  await dialog.getByRole('button', { name: 'Make a link' }).click();
  await dialog.getByText('Valid until').waitFor();
  await accessible(tab, 'share');
  await shoot(tab, 'share');
  const shared = await dialog.locator('.command code').textContent();
  await dialog.getByRole('button', { name: 'Copy link' }).click();
  await until('it is copied', async () => (await copied(page)) === shared);
  // Whoever has it needs no token.
  const answer = await fetch(shared, { headers: { range: 'bytes=0-0' } });
  assert(answer.ok, `${shared}: ${answer.status}`);
  await answer.body.cancel();
  await dialog.getByRole('button', { name: 'Close' }).last().click();
}

/** Times are in the viewer's zone; pointing at one shows the server's, too. */
export async function timesOfBothZones(tab) {
  const { page } = tab;
  // 14:30:15 in the server's zone, which is UTC, is the next day in that of the viewer.
  await go(tab, '#/?stream=lesson&outcome=spliced');
  const meta = page.locator('.tile-meta', { hasText: '5 Mar 2026, 03:30' });
  assert.match(await meta.getAttribute('title'), /^5 Mar 2026, 03:30:15 GMT\+13 · server: 4 Mar 2026, 14:30:15 UTC$/);
  await page.locator('.tile a').first().click();
  assert.match(await page.locator('.vod-head time').getAttribute('title'), /03:30:15 .* · server: 4 Mar 2026, 14:30:15 UTC$/);
}
