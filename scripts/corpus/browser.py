"""Plays recordings in headless Chromium: does <video> report the duration, seek to the middle, and show a frame there?

A page on loopback plays one file after the other from a server with byte ranges, and posts its results.
"""

import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

PAGE = """<!doctype html><meta charset=utf-8><title>recordings</title><video id=v muted></video><script>
const video = document.getElementById('v');
const within = (ms, event) => new Promise((done, fail) => {
  const late = setTimeout(() => fail('no ' + event), ms);
  video.addEventListener(event, () => { clearTimeout(late); done(); }, { once: true });
  video.addEventListener('error', () => { clearTimeout(late); fail('error ' + video.error.code + ' ' + video.error.message); }, { once: true });
});
function shades() {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let at = 0; at < pixels.length; at += 4 * 97) seen.add(pixels[at] << 16 | pixels[at + 1] << 8 | pixels[at + 2]);
  return seen.size;
}
// On a busy machine the event `seeked` arrives before the picture is shown.
async function shownShades() {
  let seen = shades();
  for (let tries = 0; seen < 2 && tries < 150; tries += 1) {
    await new Promise(done => setTimeout(done, 100));
    seen = shades();
  }
  return seen;
}
async function play(path) {
  try {
    let ready = within(15000, 'loadeddata');
    video.src = '/' + path;
    await ready;
    const duration = video.duration;
    ready = within(15000, 'seeked');
    video.currentTime = duration / 2;
    await ready;
    const there = Math.abs(video.currentTime - duration / 2) < 0.1;
    return { duration, there, width: video.videoWidth, height: video.videoHeight, shades: video.videoWidth ? await shownShades() : null };
  } catch (why) {
    return { failed: String(why) };
  }
}
(async () => {
  for (const path of await (await fetch('/list')).json()) {
    await fetch('/saw', { method: 'POST', body: JSON.stringify([path, await play(path)]) });
  }
  await fetch('/end', { method: 'POST' });
})();
</script>"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves files by byte range and the page, and receives the results of the page."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # The browser has enough data, or seeks.

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.unquote(self.path[1:])
        if path == "":
            return self.answer(PAGE.encode(), "text/html")
        if path == "list":
            return self.answer(json.dumps(list(self.server.files)).encode(), "application/json")
        if path not in self.server.files:
            return self.send_error(404)
        return self.send_range(self.server.files[path])

    def send_range(self, file):
        size = os.path.getsize(file)
        first, last = 0, size - 1
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            begin, _, end = wanted[6:].partition("-")
            first, last = int(begin or 0), min(int(end), size - 1) if end else size - 1
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        with open(file, "rb") as media:
            media.seek(first)
            left = last - first + 1
            while left > 0 and (part := media.read(min(left, 1 << 18))):
                self.wfile.write(part)
                left -= len(part)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/saw":
            path, saw = json.loads(body)
            self.server.saw[path] = saw
        else:
            self.server.ended.set()
        self.answer(b"", "text/plain")


def binary():
    """The path of the installed browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def look(files, seconds):
    """Plays each file: takes name -> path, returns name -> result of the browser."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.saw, server.ended = dict(files), {}, threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        quiet += ["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"]
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        child = subprocess.Popen(
            [binary(), *quiet, f"--user-data-dir={profile}", "--remote-debugging-port=0", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        server.ended.wait(seconds)
        os.killpg(child.pid, 9)
        child.wait()
    server.shutdown()
    return {name: server.saw.get(name, {"failed": "the browser did not come so far"}) for name in files}
