// Steps of recordings.mjs in the pipeline: what is listed in parts, what waits, and what is on its way.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { accessible, check, go, job, shoot, until, visit } from './browser.mjs';

export const heading = (page, name) => page.getByRole('heading', { name, exact: false });
const sectionOf = (page, name) => page.locator('section', { has: heading(page, name) });

/** Another view does not end the charts. */
export async function chartsStay(tab) {
  const { page } = tab;
  const charts = () => page.evaluate(() => [...document.querySelectorAll('.gauge .spark')].map((chart) => chart.querySelector('polyline')?.points.length ?? 0));
  await go(tab, '#/pipeline');
  const before = await until('a few values are measured', async () => {
    const now = await charts();
    return now.length > 1 && now.every((points) => points > 2) && now;
  });
  await page.evaluate(() => { location.hash = '#/doctor'; });
  await page.locator('.doctor').waitFor();
  await page.evaluate(() => { location.hash = '#/pipeline'; });
  await page.locator('.gauges').waitFor();
  const after = await charts();
  assert(after.every((points, chart) => points >= before[chart]), `${before} points were ${after}`);
}

/** More is quarantined than is shown at first. */
export async function longLists(browser) {
  const BROKEN = 55;
  for (let number = 0; number < BROKEN; number += 1) {
    const name = `many-2026-03-05_10-00-${String(number).padStart(2, '0')}.000.mp4`;
    fs.writeFileSync(path.join(job.root, name), Buffer.from('\0\0\0\x10ftypisom\0\0\0\0 no media follows', 'latin1'));
  }
  const tab = await visit(browser, job.base);
  const { page } = tab;
  await go(tab, '#/pipeline');
  const section = sectionOf(page, 'Quarantined');
  // One is there from before.
  await section.locator('.count', { hasText: String(BROKEN + 1) }).waitFor();
  assert.equal(await section.locator('.group').count(), 50);
  await section.getByText('and 6 more').waitFor();
  await section.locator('.more').scrollIntoViewIfNeeded();
  await accessible(tab, 'a long list');
  await shoot(tab, 'long-list');
  await section.getByRole('button', { name: 'Show all' }).click();
  await section.locator('.group').nth(BROKEN).waitFor();
  assert.equal(await section.locator('.more').count(), 0);
  await check(tab);
  await tab.context.close();
}
