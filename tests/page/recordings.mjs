// The page before a real daemon with real recordings: one is made, watched, cut, salvaged, fails to be delivered, is deleted.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { accessible, check, go, job, logIn, shoot, until, visit, withBrowser } from './browser.mjs';
import { bulk, deliversAgain, filters, fleetAway, gone, tile } from './library.mjs';
import { chartsStay, heading, longLists, uploadsAreShown } from './pipeline.mjs';
import { keysAndSpeed, links, marksWhatIsLost, saysWhyThereIsNoPicture, showsTheSprite, timesOfBothZones } from './watching.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>';
const { base, root } = job;


/** A recording that is being written, at the speed of its clock. */
function record(name, seconds) {
  return spawn('ffmpeg', ['-v', 'error', '-y', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=25', '-f', 'lavfi', '-i', 'sine=frequency=440',
    '-t', String(seconds), '-c:v', 'libx264', '-preset', 'ultrafast', '-g', '25', '-pix_fmt', 'yuv420p', '-c:a', 'aac', '-movflags', 'frag_keyframe+empty_moov', path.join(root, name)], { stdio: ['pipe', 'ignore', 'inherit'] });
}

async function firstRun(tab) {
  await go(tab, '#/');
  await tab.page.getByText('No recordings yet').waitFor();
  await tab.page.locator('.empty code', { hasText: root }).waitFor();
  await accessible(tab, 'first run');
  await shoot(tab, 'first-run');
}

async function appearsWhileItIsMade(tab) {
  const writer = record('lesson-2026-03-04_14-30-15.000.mp4', 12);
  const ended = new Promise((done) => { writer.on('exit', done); });
  await tab.page.locator('.live-strip', { hasText: '1 recording being made' }).waitFor();
  await go(tab, '#/pipeline');
  await tab.page.locator('section', { has: heading(tab.page, 'Recording now') }).getByText('lesson', { exact: true }).waitFor();
  await shoot(tab, 'pipeline-recording');
  await go(tab, '#/');
  await ended;
  await tile(tab.page, 'lesson').waitFor();
  await until('its poster shows', () => tile(tab.page, 'lesson').locator('img').evaluateAll((images) => images.some((image) => image.complete && image.naturalWidth >= 480)));
}

async function playsAndSeeks(tab) {
  const { page } = tab;
  await tile(page, 'lesson').click();
  await page.waitForSelector('video[data-player]');
  const now = () => page.evaluate(() => document.querySelector('[data-player]').currentTime);
  await page.waitForFunction(() => document.querySelector('[data-player]').readyState > 0);
  await page.keyboard.press('l');
  await until('it plays', async () => (await now()) > 0.3);
  await page.keyboard.press('k');
  await until('it pauses', () => page.evaluate(() => document.querySelector('[data-player]').paused));
  await page.getByLabel('Position').fill('6');
  await until('it seeks', async () => Math.abs((await now()) - 6) < 0.2 && page.evaluate(() => !document.querySelector('[data-player]').seeking));
  await page.keyboard.press('.');
  await until('one frame on', async () => (await now()) > 6.03 && (await now()) < 6.1);
  await page.getByText('Delivered to store').waitFor();
  await accessible(tab, 'recording');
  await shoot(tab, 'recording');
}

async function clips(tab) {
  const { page } = tab;
  await page.getByLabel('Position').fill('2');
  await page.keyboard.press('i');
  await page.getByLabel('Position').fill('5');
  await page.keyboard.press('o');
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download clip' }).click();
  const file = path.join(job.work, 'clip.mp4');
  await (await download).saveAs(file);
  const duration = Number(execFileSync('ffprobe', ['-v', 'error', '-show_entries', 'format=duration', '-of', 'csv=p=0', file], { encoding: 'utf8' }));
  assert(Math.abs(duration - 3) < 0.3, `the clip lasts ${duration} s`);
}

async function salvaged(tab) {
  const { page } = tab;
  fs.copyFileSync(job.crashed, path.join(root, 'lesson-2026-03-04_16-00-00.000.mp4'));
  await go(tab, '#/');
  await page.locator('.tile .badge', { hasText: 'Salvaged' }).first().waitFor();
  await page.locator('.tile', { hasText: 'Salvaged' }).first().click();
  await heading(page, 'Salvage report').waitFor();
  await page.locator('svg.loss rect.good').waitFor({ state: 'attached' });
  await page.getByText('Confidence:').waitFor();
  await accessible(tab, 'salvaged recording');
  await heading(page, 'Salvage report').scrollIntoViewIfNeeded();
  await shoot(tab, 'salvage-report');
}

async function quarantined(tab) {
  fs.writeFileSync(path.join(root, 'broken-2026-03-04_17-00-00.000.mp4'), Buffer.from('\0\0\0\x10ftypisom\0\0\0\0 no media follows', 'latin1'));
  await go(tab, '#/pipeline');
  const section = tab.page.locator('section', { has: heading(tab.page, 'Quarantined') });
  await section.getByText('broken-2026-03-04').first().waitFor();
  await section.getByText('The header was never written').waitFor();
}

/** The directory of the second store does not exist; then it does. */
async function failsAndIsRetried(tab) {
  const { page } = tab;
  await go(tab, '#/pipeline');
  const failed = page.locator('section', { has: heading(page, 'Failed deliveries') });
  const group = failed.locator('.group', { hasText: 'archive' });
  await group.getByText('does not exist').first().waitFor();
  const target = page.locator('section', { has: heading(page, 'Targets') }).locator('li', { hasText: 'archive' });
  await target.getByText(/^Paused until \d/).waitFor();
  await target.getByText('does not exist').waitFor();
  await target.getByText(/Tried again (in|now)/).waitFor();
  // What was not tried yet waits for the target.
  const waiting = page.locator('section', { has: page.getByRole('heading', { name: /^Waiting/ }) }).locator('li', { hasText: 'to archive' });
  await waiting.getByText('the target is paused').first().waitFor();
  await accessible(tab, 'pipeline');
  await shoot(tab, 'pipeline');
  // Who only reads is asked for the other token, and nothing is done.
  await group.getByRole('button', { name: /^Retry/ }).click();
  await page.getByText('This needs the operate token.').waitFor();
  await accessible(tab, 'login');
  await page.locator('dialog footer').getByRole('button', { name: 'Cancel' }).click();
  await logIn(tab);
  fs.mkdirSync(job.away, { recursive: true });
  await group.getByRole('button', { name: /^Retry/ }).click();
  await gone(group);
  await go(tab, '#/');
  await tile(page, 'lesson').first().click();
  await page.getByText('Delivered to archive').waitFor();
}

/** A crashed recording of an unknown stream waits until an intact one is uploaded. */
async function learnsFromAnUpload(tab) {
  const { page } = tab;
  fs.copyFileSync(job.untaught, path.join(root, 'studio-2026-03-04_17-30-00.000.mp4'));
  await go(tab, '#/pipeline');
  const waiting = page.locator('section', { has: heading(page, 'Quarantined') }).locator('.group', { hasText: 'studio-2026-03-04' });
  await waiting.getByText('Codec parameters are missing').waitFor();
  await waiting.getByRole('button', { name: 'Upload a reference' }).waitFor();
  await accessible(tab, 'a recording that waits for a reference');
  await waiting.scrollIntoViewIfNeeded();
  await shoot(tab, 'reference');
  await waiting.locator('input[type=file]').setInputFiles(job.teacher);
  await page.getByText('1 recording of studio tried again now.').waitFor();
  await gone(waiting);
  await go(tab, '#/');
  await tile(page, 'studio').locator('.badge', { hasText: 'Salvaged' }).waitFor();
}

async function hostileNamesAreText(tab) {
  const { page } = tab;
  fs.copyFileSync(job.sound, path.join(root, `${HOSTILE}-2026-03-04_18-00-00.000.mp4`));
  await go(tab, '#/');
  const hostile = tile(page, HOSTILE);
  await hostile.waitFor();
  for (const view of ['#/?view=table', '#/streams', '#/pipeline']) {
    await go(tab, view);
    await page.waitForTimeout(200);
    assert.equal(await page.locator('img[src="x"]').count(), 0, view);
  }
  await go(tab, '#/');
  await hostile.locator('a').click();
  await heading(page, HOSTILE).waitFor();
  await page.getByRole('button', { name: 'Describe' }).click();
  await page.locator('dialog textarea').fill('<script>alert(2)</script> \u202e words');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.locator('.description', { hasText: '<script>alert(2)</script>' }).waitFor();
  assert.equal(await page.locator('img[src="x"]').count(), 0);
  await check(tab);
}

async function deletes(tab) {
  const { page } = tab;
  await go(tab, '#/');
  const hostile = tile(page, '<script>alert(2)');
  await hostile.hover();
  await hostile.getByRole('checkbox').check();
  await page.getByRole('toolbar').getByRole('button', { name: 'Delete' }).click();
  // With its poster, once that is there.
  await page.getByText(/\d files? on this disk/).waitFor();
  await page.getByText(/\d objects? in stores/).waitFor();
  await accessible(tab, 'delete');
  await shoot(tab, 'delete');
  const confirm = page.locator('dialog footer').getByRole('button', { name: 'Delete' });
  await page.locator('dialog form input').fill('delete 2');
  assert(await confirm.isDisabled());
  await page.locator('dialog form input').fill('delete 1');
  await confirm.click();
  await gone(hostile);
  assert(!fs.readdirSync(root).some((name) => name.startsWith('<img')), 'the file is gone');
}

async function verifies(tab) {
  const { page } = tab;
  await tile(page, 'lesson').first().hover();
  await tile(page, 'lesson').first().getByRole('checkbox').check();
  await page.getByRole('toolbar').getByRole('button', { name: 'Verify' }).click();
  await page.locator('dialog footer').getByRole('button', { name: 'Verify' }).click();
  await page.getByText('2 copies as proven').waitFor();
  await page.locator('dialog footer').getByRole('button', { name: 'Close' }).click();
  await page.getByRole('button', { name: 'Clear selection' }).click();
}

async function otherViews(tab) {
  const { page } = tab;
  await go(tab, '#/streams/lesson');
  await page.locator('.day-bar .span').first().waitFor({ state: 'attached' });
  await page.locator('.day-bar .span').last().focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 0);
  await accessible(tab, 'streams');
  await shoot(tab, 'streams');
  await go(tab, '#/doctor');
  await accessible(tab, 'doctor before its checks');
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.locator('.checks-list li').first().waitFor();
  await accessible(tab, 'doctor');
  await shoot(tab, 'doctor');
  await go(tab, '#/settings');
  await page.locator('.settings-table').first().waitFor();
  assert(!(await page.content()).includes(job.operator), 'a secret is shown');
  await accessible(tab, 'settings');
  await shoot(tab, 'settings');
  await go(tab, '#/?view=table');
  await page.locator('.row a').first().waitFor();
  await accessible(tab, 'table');
  await shoot(tab, 'table');
  await go(tab, '#/');
  await tile(page, 'lesson').first().waitFor();
  await accessible(tab, 'library');
  await shoot(tab, 'library');
  await go(tab, '#/vod/unknown');
  await page.getByText('no VoD has the id').waitFor();
  await accessible(tab, 'error');
}

async function byKeyboard(tab) {
  const { page } = tab;
  await go(tab, '#/');
  await tile(page, 'lesson').first().waitFor();
  await page.keyboard.press('/');
  await until('the search has the focus', () => page.evaluate(() => document.activeElement.matches('[data-search]')));
  await page.keyboard.type('lesson');
  await until('it searches', () => page.evaluate(() => location.hash.includes('text=lesson')));
  await page.locator('.tile a[tabindex="0"]').focus();
  await page.keyboard.press('ArrowRight');
  await until('the next one has the focus', () => page.evaluate(() => document.activeElement.dataset.at === '1'));
  await page.keyboard.press('Space');
  await page.getByRole('toolbar').getByText('1 selected').waitFor();
  await page.keyboard.press('Enter');
  await page.waitForSelector('video[data-player]');
}

/** A reader with a token of its own, at an address that asks for one. */
async function withAToken(browser) {
  const tab = await visit(browser, job.guarded);
  await tab.page.goto(tab.base);
  await tab.page.getByRole('dialog').getByText('This server asks for a token.').waitFor();
  await shoot(tab, 'login');
  await tab.page.getByLabel('Token', { exact: true }).fill('a wrong token, really');
  await tab.page.keyboard.press('Enter');
  await tab.page.getByText('The token is not known', { exact: false }).or(tab.page.getByText('the token is not known')).first().waitFor();
  await tab.page.getByLabel('Token', { exact: true }).fill(job.reader);
  await tab.page.keyboard.press('Enter');
  await tile(tab.page, 'lesson').first().click();
  // A video is asked for without a header: the session's cookie lets it through.
  await tab.page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 0);
  assert(!tab.seen.requests.some((url) => url.includes(job.reader)), 'a token is in a URL');
  await check(tab);
  await tab.context.close();
}

async function byLink(browser) {
  const link = execFileSync(job.aftercast, ['--config', job.config, 'open', '--print'], { encoding: 'utf8' }).trim();
  const own = `${new URL(link).origin}/`;
  const tab = await visit(browser, own);
  await tab.page.goto(link);
  await tab.page.getByText('Logged in.').waitFor();
  assert(!tab.page.url().includes('login'), tab.page.url());
  await tab.page.getByRole('button', { name: 'Log out' }).waitFor();
  await check(tab);
  await tab.context.close();
  const again = await visit(browser, own);
  await again.page.goto(link);
  await again.page.getByText('was used before or has expired').waitFor();
  await again.context.close();
}

function nginx() {
  const conf = path.join(job.work, 'nginx.conf');
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${job.work}/${name};`).join(' ');
  fs.writeFileSync(conf, `daemon off; master_process off; pid ${job.work}/nginx.pid; error_log ${job.work}/nginx.log;
    events {} http { access_log off; ${temp} server { listen 127.0.0.1:${job.port}; location /vods/ { proxy_pass ${base}; proxy_http_version 1.1; proxy_buffering off; } } }`);
  return spawn('nginx', ['-p', job.work, '-c', conf], { stdio: 'ignore' });
}

const ended = (child) => new Promise((done) => { child.on('exit', done); });

async function belowAPathAndAway(browser) {
  let server = nginx();
  const url = `http://127.0.0.1:${job.port}/vods/`;
  const answers = () => fetch(url).then((answer) => answer.ok, () => false);
  await until('nginx answers', answers);
  const tab = await visit(browser, url);
  const { page } = tab;
  await page.goto(url);
  await tile(page, 'lesson').first().waitFor();
  server.kill();
  await ended(server);
  await page.getByText('No connection since').waitFor();
  await shoot(tab, 'offline');
  server = nginx();
  await until('nginx answers again', answers);
  await gone(page.locator('.offline'));
  await tile(page, 'lesson').first().click();
  await page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 0);
  assert(tab.seen.requests.filter((request) => !request.startsWith('blob:')).every((request) => request.startsWith(url)), 'everything is below the path');
  await check(tab);
  await tab.context.close();
  server.kill();
  await ended(server);
}

async function otherSizes(browser) {
  for (const [size, theme] of [['phone', 'light'], ['phone', 'dark'], ['desktop', 'dark']]) {
    const tab = await visit(browser, base, { size, theme, isMobile: size === 'phone', hasTouch: size === 'phone' });
    await go(tab, '#/');
    await tile(tab.page, 'lesson').first().waitFor();
    await accessible(tab, `library ${size}`);
    await shoot(tab, `library-${size}-${theme}`);
    const across = await tab.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert(across <= 0, 'nothing is wider than the screen');
    for (const [view, hash, shown] of [['pipeline', '#/pipeline', '#targets'], ['streams', '#/streams/lesson', '.day-bar .span'], ['doctor', '#/doctor', '.checks-list li'], ['settings', '#/settings', '.settings-table']]) {
      await go(tab, hash);
      if (view === 'doctor') {
        await logIn(tab);
        await tab.page.getByRole('button', { name: 'Check', exact: true }).click();
      }
      await tab.page.locator(shown).first().waitFor({ state: 'attached' });
      await accessible(tab, `${view} ${size}`);
      await shoot(tab, `${view}-${size}-${theme}`);
      assert(await tab.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `nothing of ${view} is wider than the screen`);
    }
    await go(tab, '#/');
    await tile(tab.page, 'lesson').first().click();
    await tab.page.waitForFunction(() => document.querySelector('[data-player]')?.readyState > 1);
    await accessible(tab, `recording ${size}`);
    await shoot(tab, `recording-${size}-${theme}`);
    await check(tab);
    await tab.context.close();
  }
}

await withBrowser(async (browser) => {
  const tab = await visit(browser, base);
  for (const step of [firstRun, appearsWhileItIsMade, playsAndSeeks, clips, salvaged, quarantined, failsAndIsRetried, learnsFromAnUpload, hostileNamesAreText, deletes, verifies, otherViews, byKeyboard,
    showsTheSprite, keysAndSpeed, links, timesOfBothZones, filters, bulk, deliversAgain, marksWhatIsLost, saysWhyThereIsNoPicture, fleetAway, chartsStay]) {
    console.log(step.name);
    await step(tab).catch(async (error) => {
      await shoot(tab, `failed-${step.name}`).catch(() => {});
      throw error;
    });
    await check(tab);
  }
  await tab.context.close();
  for (const step of [withAToken, byLink, belowAPathAndAway, otherSizes, uploadsAreShown, longLists]) {
    console.log(step.name);
    await step(browser);
  }
});
