#!/usr/bin/env python3
"""The rows of scripts/bench about a daemon beside other programs: CPU time while it waits, shutdown, effect on a live server."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

_spec = importlib.util.spec_from_file_location("bench_tools", os.path.join(os.path.dirname(__file__), "bench-tools.py"))
tools = importlib.util.module_from_spec(_spec)
# No real store is used, so the credentials are never checked.
os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench")
_spec.loader.exec_module(tools)


def cpu_s(pid):
    """Seconds of CPU time that a process has taken (proc_pid_stat(5), fields 14 and 15)."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def config_of(options, more):
    path = os.path.join(options.directory, "daemon.toml")
    with open(path, "w") as file:
        file.write(f'state_dir = "{options.directory}/state"\n[watch]\nroots = ["{options.directory}/root"]\n'
                   f'settle = "0s"\nquiet = "1s"\norphan_grace = "0s"\n{more}')
    return path


def target(port):
    return (f'[[deliver.target]]\nname = "cloud"\nurl = "s3://bucket/pre"\nendpoint = "http://127.0.0.1:{port}"\n'
            'path_style = true\n')


def fresh(options):
    for name in ("state", "root"):
        shutil.rmtree(os.path.join(options.directory, name), ignore_errors=True)
    os.makedirs(os.path.join(options.directory, "root"))


def percent_while_waiting(options, count, seconds):
    """CPU use of a daemon whose store refuses connections, with COUNT deliveries due."""
    fresh(options)
    file = os.path.join(options.directory, "root", "room.mp4")
    shutil.copy(options.like, file)
    state = os.path.join(options.directory, "state")
    subprocess.run([options.filler, state, file, "cloud", str(count)], check=True)
    # The discard port: connections are refused.
    daemon = tools.Daemon(config_of(options, target(9)))
    daemon.wait_for(tools.READY)
    time.sleep(10)
    began = cpu_s(daemon.process.pid)
    time.sleep(seconds)
    percent = (cpu_s(daemon.process.pid) - began) / seconds * 100
    daemon.stop()
    return round(percent, 2)


def waiting(options):
    many, one = (percent_while_waiting(options, count, 60) for count in (options.count, 1))
    tools.write(options, {"name": "waiting", "what": options.what, "goal": "< 1 % of a core", "met": many < 1,
                          "ours": {"said": f"{many} % of a core"}, "theirs": {"said": f"{one} % with one waiting"}})


def silent_store():
    """A store that accepts requests and never answers."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(64)
    kept = []

    def take():
        while True:
            kept.append(server.accept()[0])

    threading.Thread(target=take, daemon=True).start()
    return server.getsockname()[1], kept


def until(what, look, patience_s=120):
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > patience_s:
            sys.exit(f"timed out waiting for: {what}")
        time.sleep(0.01)


def bytes_read(pid):
    return int(re.search(r"rchar: (\d+)", open(f"/proc/{pid}/io").read())[1])


def stop_s(options, more, put, is_reached):
    fresh(options)
    daemon = tools.Daemon(config_of(options, more))
    daemon.wait_for(tools.READY)
    put(os.path.join(options.directory, "root"))
    until("the state to stop in", lambda: is_reached(daemon))
    began = time.monotonic()
    daemon.stop()
    return round(time.monotonic() - began, 3)


def crashed(root):
    """A crashed recording of one terabyte, sparse."""
    with open(os.path.join(root, "room.mp4"), "wb") as file:
        file.write(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\0mdat")
        file.truncate(1 << 40)


def stop(options):
    port, asked = silent_store()
    reads = lambda daemon: bytes_read(daemon.process.pid) > 200 << 20
    copy_in = lambda root: shutil.copy(options.file, os.path.join(root, "room.mp4"))
    flv_in = lambda root: shutil.copy(options.flv, os.path.join(root, "room.flv"))
    small_in = lambda root: shutil.copy(options.like, os.path.join(root, "room.mp4"))
    states = {
        "idle": ("", lambda root: None, lambda daemon: True),
        "crashed recording analysed": ("", crashed, reads),
        "copied aside": ('[finish]\nsplice = "copy"\n', copy_in, reads),
        "FLV remuxed": ('[finish]\nsplice = "copy"\nkeep_original = true\n', flv_in, reads),
        "store silent": (target(port), small_in, lambda daemon: asked),
    }
    took = {name: stop_s(options, *state) for name, state in states.items()}
    said = ", ".join(f"{name} {seconds} s" for name, seconds in took.items())
    tools.write(options, {"name": "stop", "what": options.what, "goal": "all <= 10 s, most <= 1 s",
                          "met": max(took.values()) <= 10 and sorted(took.values())[len(took) // 2] <= 1,
                          "ours": {"said": said}})


def published(options, out):
    """Publishes for some seconds as a live encoder does, in its own session; returns the largest delay in ms."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-re", "-f", "lavfi", "-i", f"testsrc2=s=1280x720:r=30:d={options.count}",
               "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-b:v", "4M", "-threads", "1",
               "-progress", "pipe:1", "-stats_period", "0.1", "-f", "flv", out]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    behind, first = [], None
    for line in child.stdout:
        if line.startswith("out_time_us=") and line.strip()[12:].isdigit():
            now, out_s = time.monotonic(), int(line.strip()[12:]) / 1e6
            first = now - out_s if first is None else min(first, now - out_s)
            behind.append(now - out_s)
    child.wait()
    late = sorted(value - first for value in behind)
    return round(late[-1] * 1000), round(late[int(len(late) * 0.99) - 1] * 1000)


def publisher(options):
    """A live encoder beside the salvage of a long crashed recording: alone, at the usual and at a lower priority."""
    out = os.path.join(options.directory, "live.flv")
    said = {"alone": published(options, out)}
    for nice in (0, 10):
        fresh(options)
        config = config_of(options, f'[finish]\nbackground_nice = {nice}\nsalvage_in_place = "always"\n')
        # Supplies the parameters of the stream.
        before = shutil.copy(options.like, os.path.join(options.directory, "root", "before.mp4"))
        subprocess.run([os.environ["AFTERCAST"], "--config", config, "process", before, "--stream", "room"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        daemon = tools.Daemon(config)
        daemon.wait_for(tools.READY)
        copied = shutil.copy(options.file, os.path.join(options.directory, "crashed.mp4"))
        os.sync()
        os.rename(copied, os.path.join(options.directory, "root", "room.mp4"))
        until("the analysis", lambda: bytes_read(daemon.process.pid) > 50 << 20)
        said[f"background_nice = {nice}"] = published(options, out)
        daemon.stop()
    os.unlink(out)
    text = {name: f"{most} ms behind at most (p99 {p99} ms)" for name, (most, p99) in said.items()}
    before, after = said["background_nice = 0"][0], said["background_nice = 10"][0]
    tools.write(options, {"name": "publisher", "what": options.what, "goal": "no further behind than at the usual priority",
                          "met": after <= before * 1.1, "ours": {"said": text["background_nice = 10"]},
                          "theirs": {"said": f"{text['background_nice = 0']}; alone {text['alone']}"}})


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for work in (waiting, stop, publisher):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        for name in ("what", "results", "directory", "like", "file", "flv", "filler"):
            command.add_argument(f"--{name}")
        command.add_argument("--count", type=int, default=0)
    options = parser.parse_args()
    options.work(options)
