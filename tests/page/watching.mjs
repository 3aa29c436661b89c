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
