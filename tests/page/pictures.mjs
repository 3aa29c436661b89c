// Takes the pictures of the documentation (scripts/page-pictures).

import { SIZES, check, go, job, logIn, shoot, until, visit, withBrowser } from './browser.mjs';

SIZES.docs = { width: 1280, height: 800 };

/** Every poster that is on the screen is drawn. */
const drawn = (page) => until('posters', () => page.evaluate(() => {
  const images = [...document.querySelectorAll('.tile img')];
  return images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0);
}));

async function library(tab, name) {
  await go(tab, '#/');
  await tab.page.locator('.tile').first().waitFor();
  await drawn(tab.page);
  await tab.page.mouse.move(0, 0);
  await shoot(tab, name);
}

async function recording({ page }, tile, at) {
  await tile.first().click();
  await page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 1);
  for (const [seconds, key] of [[1500, 'i'], [2100, 'o'], [at, null]]) {
    await page.getByLabel('Position').fill(String(seconds));
    await until('it seeks', () => page.evaluate((to) => Math.abs(document.querySelector('[data-player]').currentTime - to) < 10 && !document.querySelector('[data-player]').seeking, seconds));
    if (key) await page.keyboard.press(key);
  }
  await page.getByText('Delivered to backup').waitFor();
}

await withBrowser(async (browser) => {
  const tab = await visit(browser, job.base, { size: 'docs', zone: 'Europe/London' });
  const { page } = tab;
  await go(tab, '#/');
  await logIn(tab, job.token);
  await page.waitForSelector('.notice', { state: 'detached' });
  await library(tab, 'library');
  await recording(tab, page.locator('.tile', { hasText: 'council-chamber' }), 1800);
  await shoot(tab, 'recording');
  await go(tab, '#/');
  await page.locator('.tile', { hasText: 'Salvaged' }).first().click();
  await page.getByRole('heading', { name: 'Salvage report' }).waitFor();
  await page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 1);
  await page.getByRole('heading', { name: 'Salvage report' }).evaluate((heading) => heading.closest('section').scrollIntoView({ block: 'start' }));
  await shoot(tab, 'salvage');
  await go(tab, '#/streams/council-chamber');
  await page.locator('.day-bar .span').first().waitFor({ state: 'attached' });
  await page.locator('.day-bar .span').last().focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 1);
  await shoot(tab, 'streams');
  await go(tab, '#/pipeline');
  await page.getByText('Upload a reference').waitFor();
  await page.locator('section', { has: page.getByRole('heading', { name: 'Recording now' }) }).getByText('council-chamber').first().waitFor();
  await shoot(tab, 'pipeline');
  await go(tab, '#/doctor');
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.locator('.checks-list li').first().waitFor();
  await shoot(tab, 'doctor');
  await check(tab);
  await tab.context.close();
  const phone = await visit(browser, job.base, { size: 'phone', isMobile: true, hasTouch: true, zone: 'Europe/London' });
  await library(phone, 'phone');
  await check(phone);
  await phone.context.close();
});
