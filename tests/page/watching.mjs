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
