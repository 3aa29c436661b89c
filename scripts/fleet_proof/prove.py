#!/usr/bin/env python3
"""Attacks several nodes with one PostgreSQL for some minutes, then looks at every recording. See scripts/prove-fleet.

The exit code is 1 if a recording is lost, finished twice, or not finished.
"""

import argparse
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import urllib.parse
import urllib.request
from collections import Counter, defaultdict

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(HERE))
import attacks  # noqa: E402
import cluster  # noqa: E402
import nodes  # noqa: E402


def loaded(name, path):
    """A module of another script."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, "..", path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sources, store = loaded("sources", "nothing_lost/sources.py"), loaded("store", "nothing_lost/store.py")
tally = loaded("tally", "nothing_lost/tally.py")
delivery = loaded("delivery_tools", "bench-delivery-tools.py")

# The store of this proof fails and does not lie: that is the other proof's subject.
store.SHARE_OF_FAILURES, store.SHARE_OF_LIES = 0.3, 0
KINDS = ("FLV", "MPEG-TS", "MP4, header last", "MP4, fragmented", "Matroska")
SHARES, WORKERS = 3, 3
PATIENCE_S = 600


class Item:
    """A recording, by where it lies and what it is a copy of."""

    def __init__(self, place, base):
        self.place, self.base = place, base
        self.stem = place.split(".")[0]


class Prove:
    def __init__(self, options):
        self.options, self.seed, self.binary, self.sleep_s = options, options.seed, os.path.abspath(options.aftercast), options.sleep
        self.scratch = tempfile.mkdtemp(prefix="prove-fleet.")
        os.chmod(self.scratch, 0o755)
        self.tally, self.is_over, self.faults, self.notes = tally.Tally(), threading.Event(), [], []
        self.store = store.Store(os.path.join(self.scratch, "store"), self.seed, self.tally)
        self.endpoint = store.serve(self.store)
        self.bases = self.made()
        self.shares = [os.path.join(self.scratch, f"share{n}") for n in range(SHARES)]
        for share in self.shares:
            os.makedirs(share)
        self.has_mounts = self.may_mount()
        self.cluster = cluster.Cluster(self.scratch, options.synchronous)
        self.bucket = delivery.Seaweed(types.SimpleNamespace(scratch=self.scratch, tools=options.tools))
        self.bucket_environment = {"AWS_ACCESS_KEY_ID": delivery.KEY_ID, "AWS_SECRET_ACCESS_KEY": delivery.SECRET,
                                   "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.bucket.port}"}
        count = options.items * 6 // 10
        self.shared = [Item(self.shared_place(n), self.bases[n % len(self.bases)]) for n in range(count)]
        self.arrived = 0
        self.archived = [Item(f"archive/live{n % 7}/old{n}.{self.base_of(n).extension}", self.base_of(n)) for n in range(options.items - count)]
        self.nodes = [nodes.daemon(self, n) for n in range(options.nodes)] + [nodes.worker(self, n) for n in range(WORKERS)]

    def may_mount(self):
        """Whether a directory can be mounted elsewhere: root in a container may not."""
        place = os.path.join(self.scratch, "tried")
        os.makedirs(place)
        if subprocess.run(["mount", "--bind", self.shares[0], place], capture_output=True).returncode:
            return False
        subprocess.run(["umount", place], check=True)
        return True

    def made(self):
        """Recordings of each kind, of which all others are copies."""
        directory, bases = os.path.join(self.scratch, "made"), []
        os.makedirs(directory)
        for number in range(len(KINDS)):
            base = sources.make(number, KINDS[number], directory, self.seed)
            base.extension = base.path.rsplit(".", 1)[1]
            bases.append(base)
        return bases

    def base_of(self, number):
        return self.bases[number % len(self.bases)]

    def shared_place(self, number):
        share = number % SHARES
        return f"share{share}/live{number % 5}/take{number}.{self.bases[number % len(self.bases)].extension}"

    def roots_of(self, number):
        """The shared directories as a node sees them: mounted for it alone, where this may be done."""
        if not self.has_mounts:
            return self.shares
        paths = [os.path.join(self.scratch, f"mount{number}-{n}") for n in range(SHARES)]
        for path, of in zip(paths, self.shares):
            if not os.path.isdir(path):
                os.makedirs(path)
                subprocess.run(["mount", "--bind", of, path], check=True)
        return paths

    def fault(self, what):
        self.faults.append(what)
        self.is_over.set()

    def arrive(self):
        """The next recording comes to its share. False if all are there."""
        if self.arrived == len(self.shared):
            return False
        item = self.shared[self.arrived]
        path = os.path.join(self.scratch, item.place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(item.base.path, path + ".writing")
        os.rename(path + ".writing", path + (".tmp" if "MP4" in item.base.kind or item.base.kind == "Matroska" else ""))
        self.arrived += 1
        return True

    def fill_bucket(self):
        for item in self.archived:
            with open(item.base.path, "rb") as file:
                self.put(item.place, file.read())
        asker = self.nodes[-1]
        if asker.ask("batch", "start", "--root", f"s3://{delivery.BUCKET}/archive") is None:
            self.fault("the batch cannot be started")

    def request(self, method, path, body=None):
        return urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.bucket.port}/{path}", data=body, method=method))

    def put(self, key, body):
        self.request("PUT", f"{delivery.BUCKET}/{key}", body).close()

    def objects(self):
        """Keys of the bucket and what they hold."""
        found, token = {}, ""
        while True:
            with self.request("GET", f"{delivery.BUCKET}?list-type=2&prefix=archive/{token}") as answer:
                text = answer.read().decode()
            for key in re.findall(r"<Key>([^<]+)</Key>", text):
                with self.request("GET", f"{delivery.BUCKET}/{key}") as answer:
                    found[key] = answer.read()
            token = re.search(r"<NextContinuationToken>([^<]+)<", text)
            if not token:
                return found
            token = f"&continuation-token={urllib.parse.quote(token[1])}"

    def attack(self, minutes):
        for node in self.nodes:
            node.start()
        # The tables are made by whoever comes first.
        while self.nodes[0].ask("vod", "list") is None:
            time.sleep(0.5)
        self.fill_bucket()
        kinds = [attacks.Arrivals, attacks.Kills, attacks.Starts, attacks.Sleeps, attacks.Partitions, attacks.Databases, attacks.Weather]
        if self.has_mounts:
            kinds.append(attacks.Unmounts)
        else:
            self.notes.append("skipped: unmounts (mounts are not allowed)")
        threads = [kind(self) for kind in kinds]
        for thread in threads:
            thread.start()
        self.is_over.wait(minutes * 60)
        self.is_over.set()
        for thread in threads:
            thread.join(timeout=180)
            if thread.is_alive():
                self.faults.append(f"{thread} did not end")
        self.store.is_bad = False

    def number(self, sql):
        return int(self.cluster.sql(sql) or 0)

    def waiting(self):
        """What is left to do, in words; nothing if all is done."""
        left = {
            "shared recordings": len(self.shared) - self.number(
                "SELECT count(DISTINCT item) FROM aftercast.shared_item WHERE state = 'done' AND item LIKE '%take%'"),
            "VoDs": len(self.shared) - self.number("SELECT count(DISTINCT rel_path) FROM aftercast.vod WHERE is_delivered"),
            "objects": len(self.archived) - self.number("SELECT count(*) FROM aftercast.work WHERE state = 'done' AND item LIKE '%old%'"),
        }
        return {name: count for name, count in left.items() if count > 0}

    def settle(self):
        """Without attacks, until everything is done."""
        while self.arrive():
            pass
        for node in self.nodes:
            node.send(signal.SIGCONT)
            node.cut(False)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for node in self.nodes:
                node.start_if_ended()
            try:
                left = self.waiting()
            except RuntimeError as error:
                left = {str(error): 1}
            if not left:
                # What is left to be removed is.
                time.sleep(10)
                return
            time.sleep(2)
        self.faults.append(f"still to do after {PATIENCE_S} s: {left}")

    def account(self):
        """What is wrong, in words."""
        wrong, known = [], {}

        def packets(path):
            digest = sources.digest_of(path)
            if digest not in known:
                known[digest] = sources.packets(path)
            return known[digest]

        local, objects = defaultdict(list), defaultdict(list)
        for share in self.shares:
            for parent, _, names in os.walk(share):
                for name in names:
                    path = os.path.relpath(os.path.join(parent, name), self.scratch)
                    if name.startswith(".aftercast-") and name != ".aftercast-root":
                        wrong.append(f"left: {path}")
                    local[path.split(".")[0].split("_")[0]].append(path)
        for key, held in self.store.objects.items():
            if "take" in key:
                objects[key.split("/", 1)[1].split(".")[0].split("_")[0]].append((key, held))
        rows = Counter(row.split(".")[0] for row in self.cluster.sql("SELECT rel_path FROM aftercast.vod").splitlines())
        for item in self.shared:
            relative = item.stem.split("/", 1)[1]
            here = [path for path in local[item.stem] if path.endswith(".mp4") and path not in (item.place, item.place + ".tmp")
                    or path == item.place and item.base.kind.startswith("MP4")]
            there = objects[relative]
            said = f"{item.place} ({item.base.kind}): files {local[item.stem]}, objects {[key for key, _ in there]}, VoDs {rows[relative]}"
            if len(there) != 1 or len(here) > 1 or rows[relative] != 1:
                wrong.append(f"not once: {said}")
            elif packets(there[0][1].path) != item.base.expected or here and packets(os.path.join(self.scratch, here[0])) != item.base.expected:
                wrong.append(f"other packets: {said}")
        return wrong + self.account_of_bucket(packets)

    def account_of_bucket(self, packets):
        wrong, found = [], self.objects()
        scratch = os.path.join(self.scratch, "object.mp4")

        def of(body):
            with open(scratch, "wb") as file:
                file.write(body)
            return packets(scratch)

        for item in self.archived:
            with open(item.base.path, "rb") as file:
                is_there = found.get(item.place) == file.read()
            results = [key for key in found if key != item.place and key.split(".")[0] in (item.stem, item.stem + "_1", item.stem + "_2")]
            if not is_there:
                wrong.append(f"original gone: {item.place}")
            if len(results) != 1:
                wrong.append(f"not once: {item.place} ({item.base.kind}): {results}")
            elif of(found[results[0]]) != item.base.expected:
                wrong.append(f"other packets: {results[0]}")
        return wrong

    def look_into_logs(self):
        for node in self.nodes:
            with open(node.log, errors="replace") as log:
                self.faults += [f"{node.name}: {line.strip()}" for line in log if "panicked at" in line]

    def end(self):
        self.is_over.set()
        for node in self.nodes:
            if node.process:
                node.end(signal.SIGKILL)
        self.cluster.end()
        self.bucket.process.kill()
        if self.has_mounts:
            for number in range(self.options.nodes):
                for path in self.roots_of(number):
                    subprocess.run(["umount", "-l", path], capture_output=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--sleep", type=float, default=60, help="seconds of a suspension; a lease is 30 s")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--synchronous", action="store_true", help="the standby confirms each transaction")
    parser.add_argument("--keep", action="store_true", help="keep all files, also after success")
    parser.add_argument("--aftercast", required=True)
    parser.add_argument("--tools", required=True, help="the directory of SeaweedFS")
    options = parser.parse_args()
    prove, is_well = Prove(options), False
    print(f"seed {options.seed}, {options.minutes:g} minutes, {options.items} recordings, in {prove.scratch}", flush=True)
    try:
        prove.attack(options.minutes)
        prove.settle()
        prove.look_into_logs()
        wrong = prove.account()
        print(f"{len(prove.shared)} recordings of shared directories, {len(prove.archived)} of the bucket")
        for what, times in sorted(prove.tally.counts.items()):
            print(f"{times:6}  {what}")
        for line in [*prove.notes, *prove.faults, *wrong]:
            print(line)
        is_well = not wrong and not prove.faults
    finally:
        prove.end()
        if is_well and not options.keep:
            shutil.rmtree(prove.scratch)
        else:
            print(f"kept: {prove.scratch}; repeat with --seed {options.seed}")
    print("each recording is finished once, nothing is lost" if is_well else "FAILED")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
