#!/usr/bin/env python3
"""Attacks several nodes with one PostgreSQL for some minutes, then examines every recording. See scripts/prove-fleet.

The exit code is 1 if a recording is lost, finished twice, or not finished.
"""

import argparse
import importlib.util
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import types
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(HERE))
import attacks  # noqa: E402
import check  # noqa: E402
import cluster  # noqa: E402
import network  # noqa: E402
import nodes  # noqa: E402
import postgres_server  # noqa: E402
import proxy  # noqa: E402
import shares  # noqa: E402


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
# Kinds that are finished although their writer has not ended: it must be noticed. One in four is written for some seconds.
WRITTEN_SLOWLY, SLOW_PIECES, SLOW_PAUSE_S = ("FLV", "MPEG-TS"), 12, (0.1, 0.4)
WORKERS = 3
PATIENCE_S = 600
STANDBYS = {"both": ("synchronous", "asynchronous"), **{kind: (kind,) for kind in ("synchronous", "asynchronous", "lagging")}}
# What was finished in the seconds that a standby lacks is finished again; or, if its source is gone, the database has no result for it
# although it is finished, listed and delivered. Nothing may be lost.
TOLERATED = {"lagging": ("twice", "no result", "an asset under several keys", "bytes")}


class Store(store.Store):
    """Notes which keys were written again with other content."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.rewritten = []

    def put(self, key, body, headers, only_new):
        return self.noting(key, super().put, key, body, headers, only_new)

    def complete(self, key, upload, numbers, only_new):
        return self.noting(key, super().complete, key, upload, numbers, only_new)

    def noting(self, key, write, *arguments):
        with self.lock:
            before = self.objects.get(key)
            answer = write(*arguments)
            if before and "aftercast-" not in key and sources.digest_of(before.path) != sources.digest_of(self.objects[key].path):
                self.rewritten.append(key)
            return answer


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
        self.random = random.Random(f"{self.seed}/prove")
        self.store = Store(os.path.join(self.scratch, "store"), self.seed, self.tally)
        self.shares = self.chosen_shares(options.shares)
        host = "0.0.0.0" if network.is_isolated() else "127.0.0.1"
        self.store_port = urllib.parse.urlsplit(store.serve(self.store, host)).port
        self.bases = self.made()
        self.are_leases_denied = type(self.shares) is shares.Bound
        self.cluster = cluster.Cluster(self.scratch, STANDBYS[options.standby], self.random)
        self.poolers = self.started_poolers()
        self.bucket = delivery.Seaweed(types.SimpleNamespace(scratch=self.scratch, tools=options.tools))
        self.bucket_port = proxy.serve(host, self.bucket.port, self.store, store.SHARE_OF_FAILURES)
        count = options.items * 6 // 10
        self.shared = [Item(self.shared_place(n), self.bases[n % len(self.bases)]) for n in range(count)]
        self.arrived, self.writers = 0, []
        self.archived = [Item(f"archive/live{n % 7}/old{n}.{self.base_of(n).extension}", self.base_of(n)) for n in range(options.items - count)]
        self.nodes = [nodes.daemon(self, n) for n in range(options.nodes)] + [nodes.worker(self, n) for n in range(WORKERS)]
        self.set_clocks()

    def chosen_shares(self, wanted):
        """The best kind of shared file system that the machine allows."""
        kinds = {"glusterfs": shares.Gluster, "bind": shares.Bound}
        for kind in [kinds[wanted]] if wanted in kinds else kinds.values() if wanted == "auto" else []:
            if kind.is_allowed(self.scratch):
                chosen = kind(self.scratch, *([postgres_server.free_port()] if kind is shares.Gluster else []))
                self.notes.append(f"shared directories: {chosen.name}")
                return chosen
        self.notes.append(f"shared directories: {shares.Plain.name}")
        if wanted != "plain":
            self.notes.append("skipped: unmounts (mounts are not allowed, or GlusterFS is not installed)")
        return shares.Plain(self.scratch)

    def started_poolers(self):
        if not cluster.Pooler.PROGRAM:
            self.notes.append("skipped: nodes behind pgbouncer (it is not installed)")
            return self.cluster.servers
        self.notes.append("every second node reaches PostgreSQL through pgbouncer, which pools transactions")
        return [cluster.Pooler(self.scratch, server) for server in self.cluster.servers]

    def set_clocks(self):
        if nodes.CLOCKS:
            self.nodes[self.options.nodes - 1].clock = nodes.HOUR_AHEAD
            self.notes.append(f"the clock of {self.nodes[self.options.nodes - 1].name} is an hour ahead")
        else:
            self.notes.append("skipped: a clock that is an hour off (faketime is not installed)")

    def bucket_environment(self, host):
        return {"AWS_ACCESS_KEY_ID": delivery.KEY_ID, "AWS_SECRET_ACCESS_KEY": delivery.SECRET, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://{host}:{self.bucket_port}"}

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
        share = number % shares.COUNT
        return f"share{share}/live{number % 5}/take{number}.{self.bases[number % len(self.bases)].extension}"

    def fault(self, what):
        self.faults.append(what)
        self.is_over.set()

    def arrive(self):
        """The next recording comes to its share. False if all are there."""
        if self.arrived == len(self.shared):
            return False
        item = self.shared[self.arrived]
        self.arrived += 1
        path = os.path.join(self.shares.top, item.place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if item.base.kind in WRITTEN_SLOWLY and self.random.random() < 0.25:
            writer = threading.Thread(target=self.write_slowly, args=(item, self.random.getrandbits(32)))
            writer.start()
            self.writers.append(writer)
            return True
        shutil.copy(item.base.path, path + ".writing")
        self.belongs_to_ingest(path + ".writing")
        os.rename(path + ".writing", path + (".tmp" if "MP4" in item.base.kind or item.base.kind == "Matroska" else ""))
        return True

    def belongs_to_ingest(self, path):
        if self.are_leases_denied:
            shutil.chown(path, "nobody")

    def write_slowly(self, item, seed):
        """Under its final name from the beginning, as most servers write."""
        draw = random.Random(seed)
        with open(item.base.path, "rb") as file:
            whole = file.read()
        size = -(-len(whole) // SLOW_PIECES)
        with self.shares.opened(item.place) as file:
            self.belongs_to_ingest(file.name)
            for at in range(0, len(whole), size):
                file.write(whole[at:at + size])
                file.flush()
                time.sleep(draw.uniform(*SLOW_PAUSE_S))
        self.tally.count("a recording written for some seconds under its final name")

    def fill_bucket(self):
        for item in self.archived:
            with open(item.base.path, "rb") as file:
                self.put(item.place, file.read())
        # Not faster than the attacks come.
        rate = f"{len(self.archived) / (self.options.minutes * 40):.3f}/s"
        asker = self.nodes[-1]
        if asker.ask("batch", "start", "--root", f"s3://{delivery.BUCKET}/archive", "--rate", rate) is None:
            self.fault("the batch cannot be started")

    def open_uploads(self):
        """Keys of uploads that nobody ended, in the store and in the bucket."""
        with self.request("GET", f"{delivery.BUCKET}?uploads") as answer:
            of_bucket = re.findall(r"<Upload>.*?<Key>([^<]+)</Key>", answer.read().decode())
        return [upload["key"] for upload in self.store.uploads.values()], of_bucket

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
        deadline = time.monotonic() + 60
        while self.nodes[0].ask("vod", "list") is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.nodes[0].name} does not list; see {self.nodes[0].log}")
            time.sleep(0.5)
        self.cluster.sql(check.HISTORY)
        self.fill_bucket()
        kinds = [attacks.Arrivals, attacks.Kills, attacks.Starts, attacks.Sleeps, attacks.Partitions, attacks.Databases, attacks.Weather]
        if self.shares.has_mounts:
            kinds.append(attacks.Unmounts)
        if network.is_isolated():
            kinds.append(attacks.Cables)
        else:
            self.notes.append("skipped: networks that are cut (namespaces are not allowed)")
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
        results = 0 if self.options.standby == "lagging" else len(self.shared)
        left = {
            "shared recordings": results - self.number(
                "SELECT count(DISTINCT item) FROM aftercast.shared_item WHERE state = 'done' AND item LIKE '%take%'"),
            "VoDs": len(self.shared) - self.number("SELECT count(DISTINCT rel_path) FROM aftercast.vod WHERE is_delivered"),
            "objects": len(self.archived) - self.number("SELECT count(*) FROM aftercast.work WHERE state = 'done' AND item LIKE '%old%'"),
        }
        return {name: count for name, count in left.items() if count > 0}

    def settle(self):
        """Without attacks, until everything is done."""
        while self.arrive():
            pass
        for writer in self.writers:
            writer.join()
        for node in self.nodes:
            node.send(signal.SIGCONT)
            node.cut(False)
        deadline, quarantined = time.monotonic() + PATIENCE_S, 0
        while time.monotonic() < deadline:
            for node in self.nodes:
                node.start_if_ended()
            try:
                # In place of `process --again` for each (docs/fleet.md): these were killed, and are no bad recordings.
                quarantined += self.number("WITH gone AS (DELETE FROM aftercast.shared_item WHERE state = 'quarantined' RETURNING 1) SELECT count(*) FROM gone")
                left = self.waiting()
            except RuntimeError as error:
                left = {str(error): 1}
            if not left:
                if quarantined:
                    self.notes.append(f"recordings whose node was killed twice, tried again by hand: {quarantined}")
                # What is left to be removed is.
                time.sleep(10)
                return
            time.sleep(2)
        self.faults.append(f"still to do after {PATIENCE_S} s: {left}")

    def account(self):
        """What is wrong."""
        checked = check.Check(self, sources.packets, sources.digest_of)
        checked.histories()
        checked.shared()
        checked.bucket(self.objects())
        checked.keys()
        return checked

    def look_into_logs(self):
        for node in self.nodes:
            with open(node.log, errors="replace") as log:
                self.faults += [f"{node.name}: {line.strip()}" for line in log if "panicked at" in line]

    def end(self):
        self.is_over.set()
        for node in self.nodes:
            if node.process:
                node.end(signal.SIGKILL)
        for pooler in self.poolers:
            if isinstance(pooler, cluster.Pooler):
                pooler.end()
        self.cluster.end()
        self.bucket.process.kill()
        self.shares.end()


def report(prove, checked):
    print(f"{len(prove.shared)} recordings of shared directories, {len(prove.archived)} of the bucket")
    for what, times in sorted(prove.tally.counts.items()):
        print(f"{times:6}  {what}")
    for line in [*prove.notes, *prove.faults, *checked.wrong]:
        print(line)
    lost, twice = checked.counts["lost"], checked.counts["twice"]
    print(f"lost {lost}, twice {twice}, other faults {len(checked.wrong) + len(prove.faults) - lost - twice}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--sleep", type=float, default=60, help="seconds of a suspension; a lease is 30 s")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--standby", choices=STANDBYS, default="both", help="whether it confirms each transaction, or lacks the last seconds")
    parser.add_argument("--synchronous", dest="standby", action="store_const", const="synchronous", help="the same as --standby synchronous")
    parser.add_argument("--shares", choices=("auto", "glusterfs", "bind", "plain"), default="auto", help="the shared file system")
    parser.add_argument("--keep", action="store_true", help="keep all files, also after success")
    parser.add_argument("--aftercast", required=True)
    parser.add_argument("--tools", required=True, help="the directory of SeaweedFS")
    options = parser.parse_args()
    network.isolate([sys.executable, *sys.argv, "--seed", str(options.seed)])
    if network.is_isolated():
        network.ip("link", "set", "lo", "up")
    prove, is_well = Prove(options), False
    print(f"seed {options.seed}, {options.minutes:g} minutes, {options.items} recordings, in {prove.scratch}", flush=True)
    try:
        prove.attack(options.minutes)
        prove.settle()
        prove.look_into_logs()
        checked = prove.account()
        report(prove, checked)
        is_well = not prove.faults and not set(checked.counts) - set(TOLERATED.get(options.standby, ()))
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
