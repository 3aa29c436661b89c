// Steps of recordings.mjs in the library: what is found, what is selected, and what a fleet without its database shows.

import { accessible, go, shoot, until } from './browser.mjs';

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
  await page.route('**/api/v1/status', (route) => answered(route, (status) => ({ ...status, fleet: fleet(), ...(isThere ? {} : { degraded: [`the other nodes do not see this node's changes: ${problem}`] }) })));
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
  await go(tab, '#/pipeline');
  await banner.waitFor();
  isThere = true;
  await gone(banner);
  await go(tab, '#/');
  await filter.locator('option', { hasText: 'south' }).waitFor({ state: 'attached' });
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.goto('about:blank');
}
