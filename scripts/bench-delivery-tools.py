#!/usr/bin/env python3
"""Tools of scripts/bench-delivery: a real S3 server, one that discards everything, and wall and CPU time of both sides."""

import argparse
import json
import os
import pathlib
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time

KEY_ID, SECRET = "bench-key", "bench-secret"
BUCKET = "bench"
HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment_with(more):
    """The environment without the settings of the bench, which are unknown to the measured programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFTERCAST")}
    return {**kept, **(more or {})}


def run(command, environment=None, may_fail=False):
    """Runs a command; returns wall and CPU seconds and peak memory."""
    began = time.monotonic()
    child = subprocess.Popen(command, env=environment_with(environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    if status and not may_fail:
        sys.exit(f"failed ({status}): {command}\n{error.decode(errors='replace')}")
    return {"s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}


class Seaweed:
    """SeaweedFS on loopback, without telemetry; killed, because its shutdown after SIGTERM takes long."""

    def __init__(self, options):
        self.directory = pathlib.Path(options.scratch) / "seaweed"
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "data").mkdir(parents=True)
        identity = {"name": "bench", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": ["Admin"]}
        config = self.directory / "s3.json"
        config.write_text(json.dumps({"identities": [identity, {"name": "anonymous", "actions": ["Admin"]}]}))
        self.port = free_port()
        command = [f"{options.tools}/weed", "mini", f"-dir={self.directory}/data", f"-s3.port={self.port}", f"-s3.config={config}",
                   f"-s3.port.grpc={free_port()}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
                   "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
        for own in ("master", "volume", "filer", "admin"):
            command += [f"-{own}.port={free_port()}", f"-{own}.port.grpc={free_port()}"]
        log = open(self.directory / "log", "w")
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        for path, body in ((f"/{BUCKET}", b""), (f"/{BUCKET}/ready", b"x")):
            self.until(lambda: self.ask("PUT", path, body) == 200)

    def ask(self, method, path, body=b""):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                s.settimeout(10)
                s.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
                return int(s.recv(64).split()[1])
        except (OSError, IndexError, ValueError):
            return 0

    def until(self, is_so):
        deadline = time.monotonic() + 60
        while not is_so():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("the server does not answer: " + (self.directory / "log").read_text())
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Null:
    """An S3 endpoint in its own process that accepts and discards everything, with the answers of a real store."""

    def __init__(self, options):
        self.port_file = pathlib.Path(options.scratch) / "null-port"
        self.times = pathlib.Path(options.scratch) / "null-first-byte"
        for path in (self.port_file, self.times):
            path.unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, __file__, "null", "--scratch", options.scratch])
        while not self.port_file.exists():
            time.sleep(0.01)
        self.port = int(self.port_file.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Discard(socketserver.BaseRequestHandler):
    """Implements the part of S3 that uploads need; stores sizes for HEAD and returns the checksums sent."""

    objects, first_byte, lock = {}, None, threading.Lock()

    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer, pool = b"", memoryview(bytearray(1 << 20))
        while True:
            while b"\r\n\r\n" not in buffer:
                try:
                    more = self.request.recv(65536)
                except ConnectionResetError:  # the client was killed
                    return
                if not more:
                    return
                buffer += more
            head, buffer = buffer.split(b"\r\n\r\n", 1)
            line, *rest = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            headers = {name.lower(): value for name, value in (r.split(": ", 1) for r in rest)}
            left = length = int(headers.get("content-length", 0))
            if method == "PUT" and length and "probe-conditions" not in target:
                self.note_first_byte()
            taken = min(left, len(buffer))
            kept, buffer, left = buffer[:taken], buffer[taken:], left - taken
            if method == "POST":
                while left:
                    more = self.request.recv(left)
                    kept, left = kept + more, left - len(more)
            while left:
                read = self.request.recv_into(pool, min(left, len(pool)))
                if not read:
                    return
                left -= read
            self.request.sendall(self.answer(method, target, headers, length))

    def note_first_byte(self):
        if Discard.first_byte is None:
            Discard.first_byte = time.time()
            self.server.times.write_text(str(Discard.first_byte))

    def answer(self, method, target, headers, length):
        path, _, query = target.partition("?")
        checksum = headers.get("x-amz-checksum-crc64nvme", "")
        said, body, status = {}, b"", "200 OK"
        with Discard.lock:
            sizes = Discard.objects.setdefault(path, {})
            if method == "HEAD":
                if not sizes.get("whole"):
                    return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                size, checksum = sizes["whole"]
                said = {"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT", "ETag": '"x"'}
                if checksum:
                    said |= {"x-amz-checksum-crc64nvme": checksum, "x-amz-checksum-type": "FULL_OBJECT"}
                return self.bytes("200 OK", said, b"", size)
            if method == "DELETE":
                sizes.pop("whole", None)
                return self.bytes("204 No Content", {}, b"")
            if method == "PUT" and "partNumber=" in query:
                number = int(query.split("partNumber=")[1].split("&")[0])
                sizes[number] = length
                said = {"ETag": f'"{number}"', "x-amz-checksum-crc64nvme": checksum}
            elif method == "PUT":
                if headers.get("if-none-match") and sizes.get("whole"):
                    return self.bytes("412 Precondition Failed", {}, b"<Error><Code>PreconditionFailed</Code></Error>")
                sizes["whole"] = (length, checksum)
                said = {"ETag": '"x"', "x-amz-checksum-crc64nvme": checksum}
            elif method == "POST" and query.startswith("uploads"):
                body = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            elif method == "POST" and "delete" in query:
                sizes.clear()
                body = b"<DeleteResult></DeleteResult>"
            elif method == "POST":
                # The checksum of the whole object is unknown here; the parts were confirmed one by one.
                sizes["whole"] = (sum(size for number, size in sizes.items() if number != "whole"), "")
                body = b"<CompleteMultipartUploadResult><ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>"
        return self.bytes(status, said, body)

    @staticmethod
    def bytes(status, headers, body, length=None):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def null(options):
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    with Server(("127.0.0.1", 0), Discard) as server:
        server.times = pathlib.Path(options.scratch) / "null-first-byte"
        path = pathlib.Path(options.scratch) / "null-port"
        path.with_suffix(".new").write_text(str(server.server_address[1]))
        path.with_suffix(".new").rename(path)
        server.serve_forever()


ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
               "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


class House:
    """A catalogue with finished recordings and a target that was unavailable, so that only delivery is measured."""

    def __init__(self, options, files):
        self.directory = pathlib.Path(options.scratch) / "house"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.files, self.config = files, self.directory / "config.toml"
        # Connections are refused: everything is finished and queued, and nothing is sent.
        self.point(free_port())
        self.command = [os.environ["AFTERCAST"], "--config", str(self.config), "process", str(files)]
        run(self.command, ENVIRONMENT, may_fail=True)
        # Due at once: no run waits for a retry time.
        run([*self.command[:3], "queue", "retry"], ENVIRONMENT)
        subprocess.run(["cp", "-a", self.directory / "state", self.directory / "queued"], check=True)

    def point(self, port, prefix="ours"):
        self.config.write_text(f'state_dir = "{self.directory}/state"\n[finish]\nkeep_original = true\n[watch]\nroots = ["{self.files}"]\n'
                               f'[[deliver.target]]\nname = "bench"\nurl = "s3://{BUCKET}/{prefix}"\nendpoint = "http://127.0.0.1:{port}"\n')

    def deliver(self, port, prefix="ours"):
        """Restores the queue as it was before any delivery, and delivers all of it."""
        shutil.rmtree(self.directory / "state")
        subprocess.run(["cp", "-a", self.directory / "queued", self.directory / "state"], check=True)
        self.point(port, prefix)
        taken = run([*self.command, "--wait"], ENVIRONMENT)
        listed = subprocess.run([*self.command[:3], "--json", "queue", "list", "--all"], check=True, env=environment_with(ENVIRONMENT), stdout=subprocess.PIPE)
        deliveries = [json.loads(line)["delivery"] for line in listed.stdout.splitlines()]
        if not deliveries or any("delivered" not in json.dumps(d["state"]) for d in deliveries):
            sys.exit(f"not everything was delivered: {deliveries[:3]}")
        return taken


def others(options, port, files, prefix):
    """The other tools that upload a directory, with their defaults."""
    endpoint = f"http://127.0.0.1:{port}"
    return {
        "rclone": ([f"{options.tools}/rclone", "copy", "--config", "/dev/null", "--s3-provider", "SeaweedFS", "--s3-endpoint", endpoint,
                    "--s3-access-key-id", KEY_ID, "--s3-secret-access-key", SECRET, "--s3-no-check-bucket", str(files),
                    f":s3:{BUCKET}/{prefix}-rclone"]),
        "s5cmd": ([f"{options.tools}/s5cmd", "--endpoint-url", endpoint, "cp", f"{files}/", f"s3://{BUCKET}/{prefix}-s5cmd/"]),
        "aws-cli": ([sys.executable.replace(sys.executable, f"{options.tools}/python"), f"{options.tools}/aws", "--endpoint-url", endpoint, "s3", "cp",
                     "--recursive", "--quiet", str(files), f"s3://{BUCKET}/{prefix}-aws"]),
    }


def size_of(files):
    return sum(p.stat().st_size for p in pathlib.Path(files).iterdir() if p.is_file())


def best(runs):
    return min(runs, key=lambda r: r["s"])


def write(options, row):
    with open(options.results, "a") as file:
        file.write(json.dumps(row) + "\n")


def against_others(options, name, what):
    house, sides = House(options, options.files), {}
    gib = size_of(options.files) / 2**30
    for n in range(options.runs):
        # A new server and an idle disk for each tool, so that no tool is slowed down by another.
        with Seaweed(options) as server:
            os.sync()
            sides.setdefault("ours", []).append(house.deliver(server.port))
        for tool in ("rclone", "s5cmd", "aws-cli"):
            with Seaweed(options) as server:
                os.sync()
                sides.setdefault(tool, []).append(run(others(options, server.port, options.files, "theirs")[tool], ENVIRONMENT))
    ours = best(sides.pop("ours"))
    theirs = {tool: best(runs) for tool, runs in sides.items()}
    fastest = min(theirs, key=lambda tool: theirs[tool]["s"])
    leanest = min(theirs, key=lambda tool: theirs[tool]["cpu_s"])
    say = lambda side: f"{side['s']:.2f} s, {side['cpu_s']:.2f} CPU s ({side['cpu_s'] / gib:.2f} a GiB), {side['peak_mib']:.0f} MiB"
    print(f"{what}\n    aftercast {say(ours)}", file=sys.stderr)
    for tool, side in theirs.items():
        print(f"    {tool} {say(side)}", file=sys.stderr)
    for metric, goal, ratio in (
        ("wall", "time<=1.0", ours["s"] / theirs[fastest]["s"]),
        ("cpu_of_rclone", "time<=0.25", ours["cpu_s"] / theirs["rclone"]["cpu_s"]),
        ("cpu_of_the_leanest", "time<=0.5", ours["cpu_s"] / theirs[leanest]["cpu_s"]),
    ):
        against = {"wall": fastest, "cpu_of_rclone": "rclone", "cpu_of_the_leanest": leanest}[metric]
        key = "s" if metric == "wall" else "cpu_s"
        write(options, {"name": f"{name}_{metric}", "what": f"{what}: {'wall' if key == 's' else 'CPU'} time, against {against}", "goal": goal,
                        "ratio": round(ratio, 3), "met": ratio <= float(goal.split("<=")[1]),
                        "ours": {**ours, "s": ours[key]}, "theirs": {**theirs[against], "s": theirs[against][key]}})


def upload_2gib(options):
    against_others(options, "upload_2gib", "one file of 2 GiB to SeaweedFS")


def upload_500_small(options):
    against_others(options, "upload_500_small", "500 files of 4 MiB to SeaweedFS")


def null_endpoint(options):
    house, gib = House(options, options.files), size_of(options.files) / 2**30
    with Null(options) as server:
        taken = best([house.deliver(server.port, f"run{n}") for n in range(options.runs)])
    write(options, {"name": "null_endpoint_wall", "what": "seconds a GiB to an endpoint that throws everything away, http", "goal": "<=1",
                    "met": taken["s"] / gib <= 1, "ours": {**taken, "s": taken["s"] / gib}})
    write(options, {"name": "null_endpoint_cpu", "what": "CPU seconds a GiB to the same", "goal": "<=0.6",
                    "met": taken["cpu_s"] / gib <= 0.6, "ours": {**taken, "s": taken["cpu_s"] / gib}})


def upload_memory(options):
    house = House(options, options.files)
    with Null(options) as server:
        taken = house.deliver(server.port)
    write(options, {"name": "upload_memory", "what": f"peak memory of the delivery of {size_of(options.files) / 2**30:.1f} GiB, default settings",
                    "goal": "<=96 MiB", "met": taken["peak_mib"] <= 96, "ours": taken})


def queue_of_10000(options):
    """From the start of the process to the first byte of a recording at the store."""
    files = pathlib.Path(options.scratch) / "many"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    tiny = pathlib.Path(options.scratch) / "tiny.mp4"
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", options.like, "-t", "0.2", "-c", "copy", "-movflags", "+faststart", tiny], check=True)
    for n in range(10_000):
        pad_to(tiny, files / f"room{n:05}.mp4", 0, n)
    house = House(options, files)
    taken = []
    for _ in range(options.runs):
        shutil.rmtree(house.directory / "state")
        subprocess.run(["cp", "-a", house.directory / "queued", house.directory / "state"], check=True)
        with Null(options) as server:
            house.point(server.port)
            command = [os.environ["AFTERCAST"], "--config", str(house.config), "watch"]
            began = time.time()
            child = subprocess.Popen(command, env=environment_with(ENVIRONMENT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not server.times.exists() or not server.times.read_text():
                if child.poll() is not None or time.time() - began > 60:
                    sys.exit("nothing was sent")
                time.sleep(0.005)
            taken.append(float(server.times.read_text()) - began)
            child.kill()
            child.wait()
    write(options, {"name": "queue_of_10000", "what": "10,000 queued deliveries: from start-up to the first byte at the store", "goal": "<=1",
                    "met": min(taken) <= 1, "ours": {"s": min(taken)}})


class Tap:
    """Forwards connections to a server and counts the bytes of both directions."""

    def __init__(self, port):
        self.sent = self.received = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, args=(port,), daemon=True).start()

    def accept(self, port):
        while True:
            client, _ = self.server.accept()
            store = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=self.forward, args=(client, store, "sent"), daemon=True).start()
            threading.Thread(target=self.forward, args=(store, client, "received"), daemon=True).start()

    def forward(self, source, sink, direction):
        try:
            while data := source.recv(1 << 18):
                setattr(self, direction, getattr(self, direction) + len(data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # either side is gone
            pass


def bucket(options):
    """A recording with its header at the end, finished in the bucket, against a download, ffmpeg, and an upload."""
    file, key = pathlib.Path(options.files), "live/room.mp4"
    local, ready = pathlib.Path(options.scratch) / "down.mp4", pathlib.Path(options.scratch) / "ready.mp4"
    config = pathlib.Path(options.scratch) / "config.toml"
    sides = {"ours": [], "theirs": []}
    with Seaweed(options) as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        s5cmd = lambda *words: run([f"{options.tools}/s5cmd", "--endpoint-url", endpoint, *map(str, words)], ENVIRONMENT)
        s5cmd("cp", file, f"s3://{BUCKET}/{key}")

        def ours(port):
            state = pathlib.Path(options.scratch) / "state"
            shutil.rmtree(state, ignore_errors=True)
            s5cmd("rm", f"s3://{BUCKET}/live/room_1.mp4")
            config.write_text(f'state_dir = "{state}"\n')
            at = {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
            return run([os.environ["AFTERCAST"], "--config", str(config), "process", f"s3://{BUCKET}/live"], at)

        for _ in range(options.runs):
            sides["ours"].append(ours(server.port))
            local.unlink(missing_ok=True)
            taken = [s5cmd("cp", f"s3://{BUCKET}/{key}", local),
                     run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(local), "-c", "copy", "-movflags", "+faststart", str(ready)]),
                     s5cmd("cp", ready, f"s3://{BUCKET}/theirs/room.mp4")]
            sides["theirs"].append({name: max(t[name] for t in taken) if name == "peak_mib" else sum(t[name] for t in taken) for name in taken[0]})
        tap = Tap(server.port)
        ours(tap.port)
        s5cmd("cp", f"s3://{BUCKET}/live/room_1.mp4", ready)
        local.unlink()
    probe = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
    if len({subprocess.run([*probe, path], check=True, capture_output=True).stdout for path in (file, ready)}) != 1:
        sys.exit("the finished object has other packets")
    ours, theirs = best(sides["ours"]), best(sides["theirs"])
    what = f"a header-last MP4 of {file.stat().st_size / 2**30:.1f} GiB in SeaweedFS, finished in the bucket"
    write(options, {"name": "bucket", "what": f"{what}, against download, ffmpeg +faststart, upload", "goal": "faster>=20",
                    "ratio": round(theirs["s"] / ours["s"], 2), "met": theirs["s"] / ours["s"] >= 20, "ours": ours, "theirs": theirs})
    write(options, {"name": "bucket_sent", "what": f"{what}: what is sent to the store", "goal": "<=8 MiB", "met": tap.sent <= 8 << 20,
                    "ours": {"said": f"{tap.sent / 2**20:.2f} MiB sent, {tap.received / 2**20:.2f} MiB received"}})


def pad_to(like, to, size, number):
    """A copy with a `free` box at its end, for a given size or for unique content."""
    content = pathlib.Path(like).read_bytes()
    body = f"{number}".encode().ljust(max(16, size - len(content) - 8), b".")
    pathlib.Path(to).write_bytes(content + struct.pack(">I", len(body) + 8) + b"free" + body)


def pad(options):
    pad_to(options.like, options.files, options.bytes, os.path.basename(options.files))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for work in (upload_2gib, upload_500_small, null_endpoint, upload_memory, queue_of_10000, bucket, null, pad):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        for name in ("scratch", "results", "tools", "files", "like"):
            command.add_argument(f"--{name}")
        for name, default in (("runs", 3), ("bytes", 0)):
            command.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.scratch:
        os.makedirs(options.scratch, exist_ok=True)
    options.work(options)


if __name__ == "__main__":
    main()
