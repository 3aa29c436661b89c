#!/usr/bin/env python3
"""The rows of scripts/bench about the HTTP interface: pages of a large archive, media, clips, webhooks, memory and start-up."""

import atexit
import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

_spec = importlib.util.spec_from_file_location("bench_tools", os.path.join(os.path.dirname(__file__), "bench-tools.py"))
tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tools)

CONNECTIONS = 64
SECONDS = 10


def cpu_s(pids):
    """Seconds of CPU time that processes have taken (proc_pid_stat(5), fields 14 and 15)."""
    total = 0
    for pid in pids:
        fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    status = open(f"/proc/{pid}/status").read()
    return int(re.search(r"VmRSS:\s*(\d+) kB", status)[1]) / 1024


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A daemon with `[serve]` on a free port of loopback."""

    def __init__(self, options, more="", serve=True, server="antmedia", first=None):
        self.root = os.path.join(options.directory, "webapps", "live", "streams")
        self.state = options.state or os.path.join(options.directory, "state")
        shutil.rmtree(self.root, ignore_errors=True)
        if not options.state:
            shutil.rmtree(self.state, ignore_errors=True)
        os.makedirs(self.root)
        if first:
            first(self.root)
        self.port = free_port()
        config = os.path.join(options.directory, "served.toml")
        with open(config, "w") as file:
            file.write(f'state_dir = "{self.state}"\n[[watch.root]]\npath = "{self.root}"\nserver = "{server}"\n'
                       + (f'[serve]\nlisten = "127.0.0.1:{self.port}"\n' if serve else '[serve]\nlisten = "off"\n') + more)
        self.daemon = tools.Daemon(config)
        self.ready_s = self.daemon.wait_for(tools.READY) - self.daemon.begun
        atexit.register(self.daemon.process.terminate)
        self.pid = self.daemon.process.pid
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.daemon.stop()

    def add(self, file, name):
        """Puts a recording into the root and waits until it is catalogued."""
        final = os.path.join(self.root, name)
        written = os.path.join(os.path.dirname(self.root), "written")
        shutil.copy(file, written)
        os.rename(written, final)
        self.daemon.wait_for("catalogued", final)


def got(url):
    return subprocess.run(["curl", "-sf", url], check=True, capture_output=True).stdout


def wrk(url):
    """Requests a second and the 99th percentile of the latency in ms, by wrk; how many answers were no success, if any."""
    said = subprocess.run(["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url], check=True, capture_output=True,
                          text=True).stdout
    failed = sum(int(count) for count in re.findall(r"(?:Non-2xx or 3xx responses: |timeout )(\d+)", said))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit], failed


def first_of_archive(root):
    """The file of the first VoD of `examples/archive.rs`: a root without any of its recordings counts as not mounted."""
    path = os.path.join(root, "room-0-2026-03-04_14-30-15.000000.mp4")
    with open(path, "wb") as file:
        file.truncate(40_000_000)
    os.utime(path, ns=(1_600_000_000_000 * 1_000_000,) * 2)


def first_view(options):
    """The library of the page in a browser that has nothing of it, beside an archive whose VoDs have a picture."""
    served = Served(options, first=first_of_archive, more="[pictures]\nposter = false\n")
    os.makedirs(os.path.join(served.root, "previews"))
    shutil.copy(options.file, os.path.join(served.root, "previews", "room.jpg"))
    job = {"base": served.url + "/", "oldestYear": "2020", "vods": options.count, "modules": os.path.abspath("target/test-tools/page"), "isMeasured": True,
           "chromium": shutil.which("chromium"), "shots": options.directory}
    env = {**os.environ, "PAGE_TEST": json.dumps(job)}
    both = []
    for script in ("first_view", "archive"):
        said = subprocess.run(["node", f"tests/page/{script}.mjs"], env=env, capture_output=True, text=True)
        if said.returncode:
            sys.exit(said.stdout + said.stderr)
        both.append(said.stdout.strip())
    poster_ms = int(re.search(r"first posters (\d+) ms", both[0])[1])
    tools.write(options, {"name": "first_view", "what": options.what, "goal": "<= 300 ms to the first posters, <= 60 kB before", "met": poster_ms <= 300,
                          "ours": {"said": "; ".join(both).replace("\n", "; ")}})
    served.stop()


def pages(options):
    """Pages of an archive under load, counts with a search, start-up and memory."""
    served = Served(options, first=first_of_archive)
    idle = resident_mib(served.pid)
    deep = options.count // 10 * 9
    after = {}
    got(f"{served.url}/rest/v2/vods/list/0/50")  # the first request builds the index
    indexed = resident_mib(served.pid)
    for name, offset in (("first", 0), ("deep", deep)):
        page = json.loads(got(f"{served.url}/rest/v2/vods/list/{offset}/50"))
        if len(page) != 50:
            sys.exit(f"a page at {offset} has {len(page)} VoDs")
        after[name] = f"{served.url}/rest/v2/vods/list/{offset}/50"
    after["API"] = f"{served.url}/api/v1/vods?limit=50"
    cursor = json.loads(got(after["API"]))["next"]
    after["API, next page"] = f"{served.url}/api/v1/vods?limit=50&after={cursor}"
    rates = {name: wrk(url) for name, url in after.items()}
    said = ", ".join(f"{name} {rate:.0f}/s (p99 {p99:.1f} ms{f', {failed} FAILED' if failed else ''})"
                     for name, (rate, p99, failed) in rates.items())
    tools.write(options, {"name": "pages", "what": options.what, "goal": ">= 5,000 requests/s each",
                          "met": all(rate >= 5000 and not failed for rate, _, failed in rates.values()), "ours": {"said": said}})
    took_ms = []
    for word in ("room-42", "mp4", "2026-03-04_14", "nothing-like-it"):
        began = time.monotonic()
        got(f"{served.url}/rest/v2/vods/count/{word}")
        took_ms.append(round((time.monotonic() - began) * 1000, 1))
    tools.write(options, {"name": "count_search", "what": "count with search on the same archive, four words, curl included",
                          "goal": "<= 50 ms each", "met": max(took_ms) <= 50, "ours": {"said": f"{took_ms} ms"}})
    tools.write(options, {"name": "million_idle", "what": "watch with the same archive: start-up to ready, resident memory",
                          "goal": "<= 3 s, <= 250 MiB idle", "met": served.ready_s <= 3 and idle <= 250,
                          "ours": {"said": f"ready after {served.ready_s:.2f} s, {idle:.0f} MiB idle, {indexed:.0f} MiB with the index of lists"}})
    served.stop()


def nginx(options, root):
    """nginx with sendfile over a directory, on a free port; returns its URL and the pids of its processes."""
    directory = os.path.join(options.directory, "nginx")
    os.makedirs(directory, exist_ok=True)
    port = free_port()
    config = os.path.join(directory, "nginx.conf")
    with open(config, "w") as file:
        file.write(f"worker_processes 2; pid {directory}/pid; error_log {directory}/error.log; daemon on; user root;\n"
                   f"events {{ worker_connections 256; }}\nhttp {{ access_log off; sendfile on; tcp_nopush on;\n"
                   f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n")
    subprocess.run(["nginx", "-p", directory, "-c", config], check=True)
    main = int(open(f"{directory}/pid").read())
    workers = []
    while len(workers) < 2:
        workers = [int(pid) for pid in subprocess.run(["pgrep", "-P", str(main)], capture_output=True, text=True).stdout.split()]
    return f"http://127.0.0.1:{port}", main, [main, *workers]


def downloaded(url, pids, times):
    """Seconds and CPU seconds of the server for downloads one after the other."""
    before, began = cpu_s(pids), time.monotonic()
    for _ in range(times):
        subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=True)
    return time.monotonic() - began, cpu_s(pids) - before


def media(options):
    """The download of a recording in the page cache, against nginx with sendfile."""
    served = Served(options)
    served.add(options.file, "room.mp4")
    url, main, pids = nginx(options, served.root)
    ours = f"{served.url}/live/streams/room.mp4"
    theirs = f"{url}/room.mp4"
    size = os.path.getsize(os.path.join(served.root, "room.mp4"))
    best = {}
    for link in (ours, theirs):
        downloaded(link, [], 1)  # into the page cache
    for _ in range(options.runs):
        for name, link, who in (("ours", ours, [served.pid]), ("theirs", theirs, pids)):
            took, cpu = downloaded(link, who, 3)
            if name not in best or took < best[name][0]:
                best[name] = (took, cpu)
    os.kill(main, 15)
    served.stop()
    rate = {name: size * 3 / took / 1e6 for name, (took, _) in best.items()}
    speed, effort = rate["ours"] / rate["theirs"], best["ours"][1] / max(best["theirs"][1], 0.01)
    said = {name: {"said": f"{rate[name]:.0f} MB/s, {best[name][1]:.2f} s of CPU"} for name in best}
    tools.write(options, {"name": "media", "what": f"{options.what} ({size} bytes)", "goal": ">= 0.8 of its throughput, <= 1.5 of its CPU",
                          "ratio": f"{speed:.2f} of the throughput, {effort:.2f} of the CPU", "met": speed >= 0.8 and effort <= 1.5, **said})


def first_byte_ms(url):
    said = subprocess.run(["curl", "-sf", "-o", "/dev/null", "-w", "%{time_starttransfer} %{size_download}", url], check=True,
                          capture_output=True, text=True).stdout.split()
    if int(said[1]) < 1000:
        sys.exit(f"{url}: {said[1]} bytes")
    return float(said[0]) * 1000


def clip(options):
    """A clip of 10 s out of a long recording: time to its first byte."""
    served = Served(options, server="mediamtx")
    served.add(options.file, "2026-03-04_10-00-00-000000.mp4")
    vods = json.loads(got(f"{served.url}/api/v1/vods?limit=1"))["items"]
    stream, start_ms = vods[0]["streamId"], vods[0]["startTime"]
    took = {}
    for hours in (0, 3, 5.9):
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start_ms / 1000 + hours * 3600))
        url = f"{served.url}/get?path={stream}&start={start}&duration=10"
        took[hours] = [first_byte_ms(url) for _ in range(options.runs)]
    served.stop()
    first, again = max(times[0] for times in took.values()), max(min(times[1:]) for times in took.values())
    tools.write(options, {"name": "clip", "what": options.what, "goal": "first byte <= 20 ms", "met": first <= 20,
                          "ours": {"said": f"{first:.1f} ms at most the first time, {again:.1f} ms again"}})


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    arrived = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.arrived.append((time.time() * 1000, json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def webhook(options):
    """From the time of an event to its arrival at a receiver on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    more = (f'[[announce.webhook]]\nname = "bench"\nurl = "http://127.0.0.1:{server.server_port}/"\n'
            'types = ["recording.finished"]\n')
    served = Served(options, more)
    for number in range(options.count):
        served.add(options.like, f"room{number}.mp4")
    deadline = time.monotonic() + 60
    while len(Receiver.arrived) < options.count:
        if time.monotonic() > deadline:
            sys.exit(f"{len(Receiver.arrived)} of {options.count} events arrived")
        time.sleep(0.05)
    served.stop()
    took = sorted(at - event["atMs"] for at, event in Receiver.arrived)
    median, p99 = statistics.median(took), took[int(len(took) * 0.99) - 1]
    tools.write(options, {"name": "webhook", "what": options.what, "goal": "median <= 10 ms", "met": median <= 10,
                          "ours": {"median_ms": round(median, 2), "p99_ms": round(p99, 2)}})


def without_serve(options):
    """Start-up and 200 small recordings with `[serve]` off and on."""
    said = {}
    for name, serve in (("theirs", True), ("ours", False)):
        runs = []
        for _ in range(options.runs):
            served = Served(options, serve=serve)
            began = time.monotonic()
            for number in range(options.count):
                served.add(options.like, f"room{number}.mp4")
            runs.append((served.ready_s, time.monotonic() - began, resident_mib(served.pid)))
            served.stop()
        said[name] = [min(values) for values in zip(*runs)]
    text = {name: {"said": f"ready after {ready * 1000:.0f} ms, {took:.2f} s, {mib:.0f} MiB"} for name, (ready, took, mib) in said.items()}
    off, on = said["ours"], said["theirs"]
    tools.write(options, {"name": "without_serve", "what": options.what, "goal": "off is no slower than on",
                          "met": off[0] <= on[0] * 1.05 + 0.005 and off[1] <= on[1] * 1.05, **text})


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for work in (pages, first_view, media, clip, webhook, without_serve):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        for name in ("what", "results", "directory", "like", "file", "state"):
            command.add_argument(f"--{name}")
        command.add_argument("--count", type=int, default=0)
        command.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    options.work(options)
