// Steps of recordings.mjs in the pipeline: what is listed in parts, what waits, and what is on its way.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
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

/** A store that takes a part of an upload when it is told to, and nothing after it. */
async function slowStore() {
  const objects = new Set();
  let take;
  const isTold = new Promise((done) => { take = done; });
  const server = http.createServer((request, response) => {
    const { method, url } = request;
    const key = url.split('?')[0];
    const end = (status, text) => response.writeHead(status, { etag: '"0"', 'content-type': 'application/xml' }).end(text);
    request.resume();
    request.on('end', async () => {
      if (method === 'POST') end(200, /[?&]uploads/.test(url) ? '<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>' : '<DeleteResult/>');
      else if (url.includes('partNumber=1&')) isTold.then(() => end(200));
      else if (url.includes('partNumber=')) return;
      else if (method === 'PUT' && request.headers['if-none-match'] && objects.has(key)) end(412);
      else if (method === 'PUT') end(200, objects.add(key) && '');
      else end(objects.has(key) ? 200 : 404);
    });
  });
  await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
  return { server, take, endpoint: `http://127.0.0.1:${server.address().port}` };
}

/** An upload in parts, with what is done of it. */
export async function uploadsAreShown(browser) {
  const { server, take, endpoint } = await slowStore();
  const work = path.join(job.work, 'upload');
  const root = path.join(work, 'root');
  fs.mkdirSync(root, { recursive: true });
  fs.mkdirSync(path.join(work, 'state'), { mode: 0o700 });
  const config = path.join(work, 'config.toml');
  fs.writeFileSync(config, `state_dir = "${work}/state"
[watch]
roots = ["${root}"]
settle = "0s"
quiet = "1s"
[[deliver.target]]
name = "far"
url = "s3://bucket/vods"
endpoint = "${endpoint}"
region = "us-east-1"
path_style = true
[pictures]
poster = false
[serve]
listen = "127.0.0.1:0"
`);
  const daemon = spawn(job.aftercast, ['--config', config, 'watch'], { env: { ...process.env, AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise((done) => { daemon.on('exit', done); });
  try {
    let log = '';
    daemon.stderr.on('data', (data) => { log += data; });
    const address = await until('the daemon serves', () => /serving HTTP.*address=(\S+)/.exec(log)?.[1]);
    // More than is sent in one part.
    execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=25,noise=alls=80:allf=t', '-t', '0.4', '-c:v', 'libx264', '-qp', '1', '-preset', 'ultrafast',
      '-pix_fmt', 'yuv420p', path.join(root, 'lesson-2026-03-04_14-30-15.000.mp4')]);
    const tab = await visit(browser, `http://${address}/`);
    const { page } = tab;
    await go(tab, '#/pipeline');
    const row = sectionOf(page, 'Under way').locator('.work', { hasText: 'send lesson' });
    await row.getByText(/^0 B of [\d.]+ MB$/).waitFor();
    take();
    await row.getByText(/^8\.39 MB of [\d.]+ MB$/).waitFor();
    const done = Number(await row.getByRole('progressbar').getAttribute('aria-valuenow'));
    assert(done > 10 && done < 90, `${done} percent`);
    await accessible(tab, 'an upload');
    await shoot(tab, 'upload');
    await check(tab);
    await tab.context.close();
  } finally {
    daemon.kill('SIGKILL');
    await ended;
    server.closeAllConnections();
    server.close();
  }
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
