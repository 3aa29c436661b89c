// Steps of recordings.mjs in the library: what is found, what is selected, and what a fleet without its database shows.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { accessible, go, job, shoot, until } from './browser.mjs';

export const tile = (page, name) => page.locator('.tile', { hasText: name });
export const gone = (locator) => until(`${locator} goes`, async () => (await locator.count()) === 0);

/** A daemon with a fleet, as its answers say it; the database is there or is not. */
export async function fleetAway(tab) {
  const { page } = tab;
  let isThere = true;
  const problem = 'the fleet database failed: connection refused';
  const fleet = () => ({ nodeId: 'n1', name: 'north', isConnected: isThere, ...(isThere ? {} : { problem, hint: 'Start it.' }), epoch: 3, waitingVods: isThere ? 0 : 2, waitingEvents: 7 });
  const node = (id, name, isThis) => ({ id, name, version: '1', isThis, isAlive: true, lastSeenMs: Date.now() });
  const answered = async (route, change) => {
    const url = new URL(route.request().url());
    url.searchParams.delete('node');
    const response = await route.fetch({ url: url.href });
    return route.fulfill({ response, json: change(await response.json()) });
  };
  await page.route('**/api/v1/status', (route) => answered(route, (status) => ({ ...status, fleet: fleet(), ...(isThere ? {} : { degraded: [`the other nodes do not see this node's changes: ${problem}`], roots: status.roots.map((root) => ({ ...root, refusal: 'belongs to the node `south`, which is running' })) }) })));
  await page.route('**/api/v1/nodes', (route) => route.fulfill({ json: { items: [node('n1', 'north', true), node('n2', 'south', false)] } }));
  await page.route(/\/api\/v1\/vods(\/histogram)?\?.*node=/, (route) => answered(route, (page1) => page1));
  await page.goto('about:blank');
  await go(tab, '#/');
  const filter = page.getByLabel('Node', { exact: true });
  await filter.locator('option', { hasText: 'south' }).waitFor({ state: 'attached' });
  isThere = false;
  const banner = page.locator('.offline', { hasText: 'No connection to the fleet database since' });
  await banner.getByText('only recordings of this node (north) are listed').waitFor();
  await banner.getByText('2 changed recordings of this node').waitFor();
  await banner.getByText('connection refused').waitFor();
  await until('no other node is offered', async () => (await filter.isDisabled()) && (await filter.textContent()) === 'north only');
  await tile(page, 'lesson').first().waitFor();
  await accessible(tab, 'fleet away');
  await shoot(tab, 'fleet-away');
  // Who was sent the address of another node's recordings can leave that.
  await go(tab, '#/?node=n2');
  await until('the node of the address is named', async () => (await filter.inputValue()) === 'n2' && !(await filter.isDisabled()));
  await filter.selectOption('north only');
  await page.waitForURL(/#\/\?$/);
  await go(tab, '#/pipeline');
  await banner.waitFor();
  await page.locator('.warn-text', { hasText: 'belongs to the node south, which is running' }).waitFor();
  isThere = true;
  await gone(banner);
  await go(tab, '#/');
  await filter.locator('option', { hasText: 'south' }).waitFor({ state: 'attached' });
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.goto('about:blank');
}

/** Each filter shows what it says, is in the address, and is left again. */
export async function filters(tab) {
  const { page } = tab;
  const holds = (what, wanted) => until(what, async () => {
    const found = await page.locator('.tile:not(.waiting)').evaluateAll((tiles) => tiles.map((each) => [each.querySelector('.tile-name').textContent, each.textContent.includes('Salvaged')]));
    return found.length > 0 && found.every(wanted);
  });
  const chooses = async (label, option, address, what, wanted) => {
    const field = page.getByLabel(label, { exact: true });
    if (option) await (label === 'Stream' ? field.fill(option) : field.selectOption(option));
    await page.waitForURL(address);
    await holds(what, wanted);
  };
  await go(tab, '#/');
  await chooses('Stream', 'studio', /stream=studio/, 'of one stream', ([name]) => name === 'studio');
  await chooses('Stream', 'lesson', /stream=lesson/, 'of another stream', ([name]) => name === 'lesson');
  await chooses('Outcome', 'Salvaged', /outcome=salvaged/, 'only what was salvaged', ([name, isSalvaged]) => name === 'lesson' && isSalvaged);
  await chooses('State', 'With defects', /state=defective/, 'with defects', ([, isSalvaged]) => isSalvaged);
  await page.getByLabel('State', { exact: true }).selectOption('Freed');
  await page.getByText('Nothing found').waitFor();
  await accessible(tab, 'nothing found');
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await page.waitForURL(/#\/$/);
  await tile(page, 'studio').first().waitFor();
  await page.goto('about:blank');
  // As somebody opens it who was sent the address.
  await go(tab, '#/?stream=lesson&outcome=spliced&state=delivered');
  await holds('the filters of the address', ([name, isSalvaged]) => name === 'lesson' && !isSalvaged);
  assert.equal(await page.getByLabel('Outcome', { exact: true }).inputValue(), 'spliced');
  // 5 March in the zone of the viewer, 4 March in that of the server.
  await go(tab, '#/?stream=lesson&from=2026-03-05&to=2026-03-05');
  await tile(page, '5 Mar 2026, 03:30').waitFor();
  await page.getByLabel('To', { exact: true }).fill('2026-03-04');
  await page.getByText('Nothing found').waitFor();
}

/** With several selected: their URLs, the files themselves, and their deliveries again. */
export async function bulk(tab) {
  const { page } = tab;
  await tab.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await go(tab, '#/?stream=lesson&view=table');
  const ids = [];
  for (const index of [0, 1]) {
    const row = page.locator('.row', { has: page.locator(`[data-at="${index}"]`) });
    await row.getByRole('checkbox').check();
    ids.push(/vod\/(.+)$/.exec(await row.locator('a').getAttribute('href'))[1]);
  }
  const bar = page.getByRole('toolbar');
  await bar.getByText('2 selected').waitFor();
  await accessible(tab, 'a selection');
  await bar.getByRole('button', { name: 'Copy URLs' }).click();
  await page.getByText('2 URLs copied.').waitFor();
  assert.deepEqual((await page.evaluate(() => navigator.clipboard.readText())).split('\n'), ids.map((id) => `${tab.base}api/v1/vods/${id}/media`));
  const files = [];
  page.on('download', (download) => files.push(download));
  await bar.getByRole('button', { name: 'Download' }).click();
  await until('both are downloaded', () => files.length === 2);
  for (const file of files) assert(fs.statSync(await file.path()).size > 100_000, file.suggestedFilename());
  await bar.getByRole('button', { name: 'Deliver again' }).click();
  await page.getByText('Nothing of these waits for delivery.').waitFor();
  await bar.getByRole('button', { name: 'Clear selection' }).click();
  await gone(bar);
}

/** What waits for a store that is away is delivered again at a wish. */
export async function deliversAgain(tab) {
  const { page } = tab;
  const mount = path.dirname(job.away);
  fs.renameSync(mount, `${mount}-hidden`);
  fs.copyFileSync(job.teacher, path.join(job.root, 'again-2026-03-04_19-00-00.000.mp4'));
  await go(tab, '#/');
  await tile(page, 'again').hover();
  await tile(page, 'again').getByRole('checkbox').check();
  const queued = () => fetch(`${job.base}api/v1/queue`).then((answer) => answer.json()).then(({ deliveries }) => deliveries.some(({ delivery }) => delivery.state.lastFault));
  await until('a delivery fails', queued);
  fs.renameSync(`${mount}-hidden`, mount);
  await page.getByRole('toolbar').getByRole('button', { name: 'Deliver again' }).click();
  await page.getByText(/^\d (delivery|deliveries) tried again now\.$/).waitFor();
  await page.getByRole('button', { name: 'Clear selection' }).click();
  await tile(page, 'again').locator('a').click();
  await page.getByText('Delivered to archive').waitFor();
}
