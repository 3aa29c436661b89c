// How long a browser that has nothing of the page takes until the first posters are painted. No tool is attached meanwhile: being told of
// each request, a tool takes a third of the time itself. The browser is asked afterwards what it noted.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { OPTIONS, PATIENCE_MS, SIZES, chromium, job } from './browser.mjs';

const RUNS = 7;
/** The browser has started, and has drawn something before; what it does by itself then is over. */
const SETTLE_MS = 3000;
/** Long after the first posters. */
const LOOK_MS = 3000;
const { width, height } = SIZES.desktop;

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

/** A browser of its own, and the address where it can be asked. */
async function started(profile) {
  const options = [...OPTIONS, `--window-size=${width},${height}`, `--user-data-dir=${profile}`, '--remote-debugging-port=0'];
  const child = spawn(job.chromium, [...options, 'data:text/html,<script type="module">document.body.append("ready")</script>'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const address = await new Promise((done, fail) => {
    let said = '';
    setTimeout(fail, PATIENCE_MS, new Error('the browser does not start')).unref();
    child.stderr.on('data', (data) => {
      said += data;
      const found = /DevTools listening on ws:\/\/([^/]+)/.exec(said);
      if (found) done(`http://${found[1]}`);
    });
  });
  return { child, address };
}

/** From the request for the page to the paint of its first posters, by the browser's clock, and when it was drawn at all. */
const noted = (page) => page.evaluate(() => new Promise((done) => {
  new PerformanceObserver((list) => {
    const poster = list.getEntries().find((entry) => entry.element?.matches('.tile img'));
    const drawn = performance.getEntriesByName('first-contentful-paint')[0];
    if (poster) done({ posterMs: poster.renderTime, drawnMs: drawn.startTime });
  }).observe({ type: 'largest-contentful-paint', buffered: true });
}));

async function run() {
  // Processes of the browser write there even after its end: whoever made the directory removes it.
  const profile = fs.mkdtempSync(path.join(job.shots, 'first-view-'));
  const { child, address } = await started(profile);
  try {
    await pause(SETTLE_MS);
    await fetch(`${address}/json/new?${encodeURIComponent(`${job.base}#/`)}`, { method: 'PUT' });
    await pause(LOOK_MS);
    const browser = await chromium.connectOverCDP(address);
    const page = browser.contexts()[0].pages().find((each) => each.url().startsWith(job.base));
    const found = await noted(page);
    await browser.close();
    return found;
  } finally {
    const ended = new Promise((done) => { child.once('exit', done); });
    child.kill();
    await ended;
  }
}

const runs = [];
for (let n = 0; n < RUNS; n += 1) runs.push(await run());
const sorted = (name) => runs.map((each) => Math.round(each[name])).sort((a, b) => a - b);
const posters = sorted('posterMs');
assert(posters[0] > 0);
const middle = (list) => list[Math.floor(list.length / 2)];
console.log(`no tool attached, ${RUNS} runs: first posters ${middle(posters)} ms (${posters[0]} to ${posters.at(-1)}), drawn ${middle(sorted('drawnMs'))} ms`);
