#!/usr/bin/env python3
"""Tools of scripts/bench: runs commands, measures them, and writes one JSON object per line for each row."""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time


def cpu_busy_s():
    """Busy seconds of all cores together since boot."""
    fields = [int(n) for n in open("/proc/stat").readline().split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run(shell):
    """Runs a shell command; returns wall time, CPU time, peak memory, and the number of cores used by other processes meanwhile."""
    busy, began = cpu_busy_s(), time.monotonic()
    child = subprocess.Popen(["bash", "-c", "set -e; " + shell])
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    if status:
        sys.exit(f"failed ({status}): {shell}")
    cpu = used.ru_utime + used.ru_stime
    others = max(0.0, cpu_busy_s() - busy - cpu) / wall
    return {"s": wall, "cpu_s": cpu, "peak_mib": used.ru_maxrss / 1024, "written_bytes": used.ru_oublock * 512,
            "others_cores": round(others, 2)}


def before(shell):
    subprocess.run(["bash", "-c", "set -e; " + shell], check=True)


def judge(goal, ours, theirs):
    """Goal `faster>=N` or `time<=N`: the ratio, and whether the goal is met."""
    for word, ratio in (("faster>=", theirs / ours), ("time<=", ours / theirs)):
        if goal.startswith(word):
            wanted = float(goal[len(word):])
            return round(ratio, 3), ratio >= wanted if ">" in word else ratio <= wanted
    sys.exit(f"unknown goal {goal}")


def write(options, row):
    with open(options.results, "a") as file:
        file.write(json.dumps(row) + "\n")


def compare(options):
    before_ours, ours, before_theirs, theirs = options.shell
    sides = {"ours": [], "theirs": []}
    for _ in range(options.runs):
        for side, first, then in (("ours", before_ours, ours), ("theirs", before_theirs, theirs)):
            before(first)
            said_in(options.log)  # discards the log of an earlier row
            sides[side].append(run(then))
            if side == "ours":
                sides[side][-1].update(said_in(options.log))
    best = {side: min(all_runs, key=lambda r: r["s"]) for side, all_runs in sides.items()}
    ratio, met = judge(options.goal, best["ours"]["s"], best["theirs"]["s"])
    write(options, {"name": options.name, "what": options.what, "goal": options.goal, "ratio": ratio, "met": met,
                    **best, "runs_s": {s: [round(r["s"], 3) for r in all_runs] for s, all_runs in sides.items()}})


def said_in(log):
    """The entries in the debug log of the last run, for rows that need one."""
    if not log or not os.path.exists(log):
        return {}
    held = re.findall(r"held_ms=(\d+)", open(log, errors="replace").read())
    os.unlink(log)
    return {"lease_held_ms": int(held[-1])} if held else {}


def header_bytes(path):
    """Bytes of the boxes in front of the media: the new header."""
    at, size = 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while at < size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"mdat":
                break
            at += length
    return at


def written(options):
    """Bytes that a run writes to the file system, compared with the minimum of a splice."""
    first, then = options.shell
    before(first)
    used = run(then)
    limit = header_bytes(options.header_of) + 4096 + (1 << 20)
    write(options, {"name": options.name, "what": options.what, "goal": f"<={limit / 2**20:.1f} MiB",
                    "met": used["written_bytes"] <= limit,
                    "ours": {**used, "peak_mib": used["written_bytes"] / 2**20, "memory_mib": used["peak_mib"]}})


def memory(options):
    first, then = options.shell
    before(first)
    used = run(then)
    write(options, {"name": options.name, "what": options.what, "goal": f"<={options.limit_mib} MiB",
                    "met": used["peak_mib"] <= options.limit_mib, "ours": used})


def salvaged(options):
    """Bytes of a crashed recording that a run processes per second, and the memory that its samples may use."""
    first, then, listing = options.shell
    size, all_runs, samples = os.path.getsize(options.file), [], 0
    for _ in range(options.runs):
        before(first)
        all_runs.append(run(then))
        listed = subprocess.run(["bash", "-c", listing], capture_output=True, text=True, check=True).stdout
        counts = re.findall(r'"packets":\s*(\d+)', listed[listed.index('"salvage"'):])
        samples = max(samples, sum(int(count) for count in counts))
    best = min(all_runs, key=lambda r: r["s"])
    rate, limit = size / best["s"] / 1e6, options.limit_mib + options.bytes_per_sample * samples / 2**20
    peak = max(r["peak_mib"] for r in all_runs)
    write(options, {"name": options.name, "what": f"{options.what} ({samples} samples)", "samples": samples,
                    "goal": f">={options.rate_mb:.0f} MB/s in {limit:.1f} MiB", "met": rate >= options.rate_mb and peak <= limit,
                    "ours": {**best, "mb_s": round(rate), "peak_mib": peak}, "runs_s": [round(r["s"], 3) for r in all_runs]})


def hostile(options):
    """A crashed MP4 without any media in it."""
    pieces = {"zeros": bytes(1 << 20), "ones": b"\xff" * (1 << 20)}
    if options.what == "units":
        # A correct length and the beginning of a picture, then two unrelated bytes.
        whole = open(options.like, "rb").read()
        at = whole.index(b"\x65\x88", whole.index(b"mdat"))
        unit = (36).to_bytes(4, "big") + whole[at:at + 35] + b"\x80"
        pieces["units"] = (unit + b"\x77\x13") * 25000
    random = __import__("random").Random(7)
    with open(options.file, "wb") as file:
        left = options.bytes - file.write(b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0mdat")
        while left > 0:
            piece = pieces.get(options.what) or random.randbytes(1 << 20)
            left -= file.write(piece[:left])


def tree(options):
    """A tree of files as below a web server's root, with a few recordings; `--flat` of them are in one directory."""
    per_directory = 1000
    os.makedirs(os.path.join(options.directory, "flat"))
    for n in range(options.flat):
        os.close(os.open(os.path.join(options.directory, "flat", f"asset{n}.jpg"), os.O_CREAT | os.O_WRONLY))
    for n in range(options.files - options.flat - options.recordings):
        if n % per_directory == 0:
            directory = os.path.join(options.directory, f"d{n // per_directory}")
            os.makedirs(directory)
        os.close(os.open(os.path.join(directory, f"asset{n}.jpg"), os.O_CREAT | os.O_WRONLY))
    for n in range(options.recordings):
        shutil.copy(options.like, os.path.join(options.directory, f"d{n}", f"room{n}.mp4"))


# What a daemon logs after its first scan; the second is the message of earlier builds.
READY = ("ready; watching", "Ready: ")


class Daemon:
    """A running `aftercast watch` with its log lines as they are written."""

    def __init__(self, config):
        self.begun = time.monotonic()
        command = [os.environ["AFTERCAST"], "--config", config, "watch"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"})
        self.heard, self.news = [], threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stderr:
            with self.news:
                self.heard.append((time.monotonic(), line.decode(errors="replace")))
                self.news.notify_all()
        with self.news:
            self.heard.append((time.monotonic(), "ENDED"))
            self.news.notify_all()

    def wait_for(self, *words):
        """The time of the first log line that contains all these words; of a tuple, any of its words."""
        seen = 0
        with self.news:
            while True:
                for at, line in self.heard[seen:]:
                    if all(any(one in line for one in ((word,) if isinstance(word, str) else word)) for word in words):
                        return at
                    if line == "ENDED":
                        sys.exit("aftercast watch ended:\n" + "".join(line for _, line in self.heard))
                seen = len(self.heard)
                if not self.news.wait(60):
                    sys.exit(f"no line with {words}:\n" + "".join(line for _, line in self.heard))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def ready_s(options, config):
    shutil.rmtree(options.state, ignore_errors=True)
    daemon = Daemon(config)
    ready = daemon.wait_for(READY) - daemon.begun
    daemon.stop()
    return ready


def state_bytes(options):
    """The disk usage of the state for a number of recordings, as reported by `examples/state_bytes.rs`."""
    before(options.shell[0])
    said = json.loads(subprocess.run(["bash", "-c", "set -e; " + options.shell[1]], check=True, capture_output=True, text=True).stdout)
    compacted = said["bytesPerRecordingCompacted"]
    write(options, {"name": options.name, "what": options.what, "goal": f"<= {options.bytes} bytes a recording after a start",
                    "met": compacted <= options.bytes, "ours": {"bytes_a_recording": compacted, "before": said["bytesPerRecording"],
                                                                "compacting_start_s": round(said["compactingStartSeconds"], 2)}})


def scan(options):
    """Start-up time with the tree, less start-up time with an empty directory, against find."""
    whole, empty, found = [], [], []
    for _ in range(options.runs):
        empty.append(ready_s(options, options.empty_config))
        whole.append(ready_s(options, options.config))
        found.append(run(f"find '{options.directory}' -type f -name '*.mp4' >/dev/null")["s"])
    ours, theirs = min(whole) - min(empty), min(found)
    ratio, met = judge(options.goal, ours, theirs)
    write(options, {"name": options.name, "what": options.what, "goal": options.goal, "ratio": ratio, "met": met,
                    "ours": {"s": ours, "ready_s": min(whole), "ready_empty_s": min(empty)}, "theirs": {"s": theirs}})


def peak_mib(options, config):
    """Peak memory of a daemon from its start to the end of its first scan."""
    shutil.rmtree(options.state, ignore_errors=True)
    daemon = Daemon(config)
    daemon.wait_for(READY)
    status = open(f"/proc/{daemon.process.pid}/status").read()
    daemon.stop()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) / 1024


def scan_memory(options):
    """Peak memory of a start with the tree, above that of a start with an empty directory."""
    above = min(peak_mib(options, options.config) for _ in range(options.runs))
    above -= min(peak_mib(options, options.empty_config) for _ in range(options.runs))
    write(options, {"name": options.name, "what": options.what, "goal": f"<={options.limit_mib:.0f} MiB",
                    "met": above <= options.limit_mib, "ours": {"peak_mib": above}})


def latency(options):
    daemon = Daemon(options.config)
    daemon.wait_for(READY)
    took_ms = []
    busy, began = cpu_busy_s(), time.monotonic()
    # Outside the watched directory: without a running server, a temporary name in it would count as orphaned at once.
    written = options.directory + ".tmp"
    for n in range(options.count):
        final = os.path.join(options.directory, f"room{n:04}.mp4")
        shutil.copy(options.like, written)
        time.sleep(0.02)
        renamed = time.monotonic()
        os.rename(written, final)
        took_ms.append((daemon.wait_for("catalogued", final) - renamed) * 1000)
    busy = (cpu_busy_s() - busy) / (time.monotonic() - began)
    daemon.stop()
    took_ms.sort()
    median, p99 = statistics.median(took_ms), took_ms[int(len(took_ms) * 0.99) - 1]
    write(options, {"name": options.name, "what": options.what, "goal": f"median<={options.limit_ms} ms",
                    "met": median <= options.limit_ms, "busy_cores": round(busy, 2),
                    "ours": {"median_ms": round(median, 2), "p99_ms": round(p99, 2), "count": options.count}})


def machine(options):
    """The machine: the file system, and the time in which its device makes 4 KiB durable."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", options.directory], capture_output=True, text=True).stdout.strip()
    path = os.path.join(options.directory, "flush")
    took_ms = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(101):
            file.write(b"x" * 4096)
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took_ms.append((time.monotonic() - began) * 1000)
    os.unlink(path)
    took_ms.sort()
    write(options, {"name": "machine", "file_system": kind, "flush_median_ms": round(took_ms[50], 2),
                    "flush_p99_ms": round(took_ms[99], 2), "cores": os.cpu_count(), "load": os.getloadavg()[0]})


def side(row, name):
    said = row.get(name, {})
    if "said" in said:
        return said["said"]
    if "bytes_a_recording" in said:
        return (f"{said['bytes_a_recording']} bytes a recording, {said['before']} before the start that compacts in "
                f"{said['compacting_start_s']} s")
    if "median_ms" in said:
        return f"median {said['median_ms']} ms, p99 {said['p99_ms']} ms"
    if "mb_s" in said:
        return f"{said['mb_s']} MB/s ({said['s']:.3f} s), {said['peak_mib']:.1f} MiB"
    if row["goal"].endswith("MiB"):
        return f"{said['peak_mib']:.1f} MiB" if said else ""
    return f"{said['s']:.3f} s" if said else ""


def table(options):
    rows = [json.loads(line) for line in open(options.results)]
    for row in rows:
        if row["name"] == "machine":
            print(f"{row['file_system']}, a flush takes {row['flush_median_ms']} ms (p99 {row['flush_p99_ms']} ms), "
                  f"{row['cores']} cores, load {row['load']:.1f} before")
            continue
        ratio = f"ratio {row['ratio']}, " if "ratio" in row else ""
        if "lease_held_ms" in row.get("ours", {}):
            ratio = f"lease held {row['ours']['lease_held_ms']} ms, " + ratio
        theirs = side(row, "theirs")
        print(f"\n{row['what']}\n    aftercast {side(row, 'ours')}" + (f" · against {theirs}" if theirs else ""))
        print(f"    {ratio}goal {row['goal']}: {'reached' if row['met'] else 'MISSED'}")
        busy = [row[s].get("others_cores", 0) for s in ("ours", "theirs") if s in row]
        if max(busy) > 0.3:
            print(f"    other processes used {max(busy)} cores meanwhile: the machine was not idle")
    print(f"\nThe same as JSON, one object per line: {options.results}")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for work in (compare, memory, written, salvaged, hostile, tree, state_bytes, scan, scan_memory, latency, machine, table):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        for name in ("name", "what", "goal", "results", "directory", "like", "config", "empty-config", "state", "log", "header-of", "file"):
            command.add_argument(f"--{name}")
        for name, default in (("runs", 3), ("files", 0), ("flat", 0), ("recordings", 0), ("count", 0), ("bytes", 0), ("bytes-per-sample", 0)):
            command.add_argument(f"--{name}", type=int, default=default)
        for name in ("limit-mib", "limit-ms", "rate-mb"):
            command.add_argument(f"--{name}", type=float)
        command.add_argument("shell", nargs="*")
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
