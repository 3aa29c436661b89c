// A browser before the page, and what every visit is held to: no violation of the content security policy, no request to another
// origin, no error on the console, no accessibility fault, in both themes.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

export const job = JSON.parse(process.env.PAGE_TEST);
const require = createRequire(path.join(job.modules, 'package.json'));
export const { chromium } = require('playwright-core');
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const OPTIONS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'];
export const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
export const PATIENCE_MS = 60_000;

export async function withBrowser(work) {
  const browser = await chromium.launch({ executablePath: job.chromium, args: OPTIONS });
  try {
    await work(browser);
  } finally {
    await browser.close();
  }
}

/** A tab and what was seen in it. */
export async function visit(browser, base, { size = 'desktop', theme = 'light', zone = 'Pacific/Auckland', ...more } = {}) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: theme, timezoneId: zone, locale: 'en-GB', acceptDownloads: true, bypassCSP: false, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const seen = { faults: [], requests: [] };
  const origin = new URL(base).origin;
  page.on('request', (request) => {
    seen.requests.push(request.url());
    if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== origin) seen.faults.push(`request to another origin: ${request.url()}`);
  });
  page.on('pageerror', (error) => seen.faults.push(`error: ${error.message}`));
  page.on('dialog', (dialog) => {
    seen.faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  return { context, page, seen, base, theme, size };
}

/** Goes to a view; `hash` begins with `#/`. */
export async function go(tab, hash) {
  await tab.page.goto(`${tab.base}${hash}`);
  await tab.page.waitForSelector('main h1, main .closed');
}

/** Fails for what every visit is held to, but accessibility. */
export async function check(tab) {
  const violations = await tab.page.evaluate(() => globalThis.violations);
  assert.deepEqual(violations, [], 'the content security policy was violated');
  assert.deepEqual(tab.seen.faults, []);
}

/** Fails if axe finds a fault in what is shown now, in either theme. */
export async function accessible(tab, name) {
  const { page } = tab;
  // axe is the tester's, not the page's: it is let in beside the policy.
  const before = await page.evaluate(() => globalThis.violations.length);
  await page.evaluate(AXE);
  const own = await page.evaluate(() => document.documentElement.dataset.theme);
  for (const theme of ['light', 'dark']) {
    await page.evaluate((to) => { document.documentElement.dataset.theme = to; }, theme);
    const found = await page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
      return violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.slice(0, 3).map((node) => `    ${node.html.slice(0, 160)} ${node.any[0]?.message ?? ''}`).join('\n')}`);
    });
    assert.deepEqual(found, [], `${name}, ${theme}`);
  }
  await page.evaluate((to) => { document.documentElement.dataset.theme = to; }, own);
  await page.evaluate((length) => { globalThis.violations.length = length; }, before);
}

/** Writes what is seen. */
export async function shoot(tab, name) {
  await tab.page.evaluate(() => document.fonts.ready);
  await tab.page.screenshot({ path: path.join(job.shots, `${name}.png`) });
}

export async function logIn(tab, token = job.operator) {
  const { page } = tab;
  await page.getByRole('button', { name: 'Log in' }).first().click();
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.locator('dialog footer').getByRole('button', { name: 'Log in' }).click();
  await page.waitForSelector('dialog', { state: 'detached' });
}

/** Looks until something holds. */
export async function until(what, look) {
  const begun = Date.now();
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() - begun < 2 * PATIENCE_MS, `waited in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
