#!/usr/bin/env python3
"""Attacks the real binary for some minutes, then accounts for every packet of every recording. See scripts/prove-nothing-lost.

The exit code is 1 if a recording is lost or duplicated. The seed repeats all attacks and their order, but not their exact timing.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

sys.dont_write_bytecode = True
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import account  # noqa: E402
import attacks  # noqa: E402
import sources  # noqa: E402
import store  # noqa: E402
import tally  # noqa: E402
import writers  # noqa: E402

# Pictures have tests of their own; here every file counts.
os.environ["AFTERCAST_PICTURES__POSTER"] = "false"

PATIENCE_S = 240


class Prove:
    """All participants of a run."""

    def __init__(self, options):
        self.seed, self.binary = options.seed, os.path.abspath(options.aftercast)
        self.scratch = tempfile.mkdtemp(prefix="prove-nothing-lost.")
        self.tally, self.is_over = tally.Tally(), threading.Event()
        self.sources, self.takeovers, self.notes, self.faults = [], [], [], []
        self.lock, self.numbers, self.processes = threading.Lock(), 0, []
        self.made = os.path.join(self.scratch, "made")
        os.makedirs(self.made)
        self.root = os.path.join(self.scratch, "root")
        self.disk = attacks.Disk(self.scratch, self.root)
        self.store = store.Store(os.path.join(self.scratch, "store"), self.seed, self.tally)
        self.endpoint = store.serve(self.store)
        self.injected = os.path.join(self.scratch, "injected")
        self.inject = self.built_inject()
        self.daemon, self.second = attacks.Program(self, "daemon"), attacks.Program(self, "second")
        self.typed = attacks.Program(self, "typed", has_config=False)

    def built_inject(self):
        """The program that makes calls fail; None, and a note, if the kernel does not allow it."""
        here, built = os.path.dirname(os.path.abspath(__file__)), os.path.join(self.scratch, "inject")
        sources.run(["gcc", "-O2", "-o", built, os.path.join(here, "inject.c")])
        tried = subprocess.run([built, "1", "1", self.injected, "/nonexistent", "--", "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return built
        self.note(f"skipped: failing calls ({tried.stderr.strip()})")
        return None

    def note(self, what):
        self.notes.append(what)

    def fault(self, what):
        self.faults.append(what)
        self.is_over.set()

    def new_source(self, kind):
        with self.lock:
            self.numbers += 1
            number = self.numbers
        return sources.make(number, kind, self.made, self.seed)

    def kept(self, source):
        """Starts the measured part of the run."""
        source.state, source.born = "complete", time.time()
        with self.lock:
            self.sources.append(source)
        return source

    def vods(self, program=None):
        return (program or self.daemon).ask("--json", "vod", "list", "--limit", "1000000")

    def attack(self, minutes, how_many):
        threads = [writers.Writer(str(n), self) for n in range(how_many)]
        threads += [attacks.Kills(self), attacks.Others(self), attacks.Weather(self)]
        if self.disk.loop:
            threads.append(attacks.Unmounts(self))
        else:
            self.note(f"skipped: unmounts ({self.disk.why_not})")
        for thread in threads:
            thread.start()
        self.is_over.wait(minutes * 60)
        self.is_over.set()
        for thread in threads:
            thread.join(timeout=120)
            if thread.is_alive():
                self.faults.append(f"{thread} did not end")
        self.store.is_bad = False

    def settle(self):
        """Runs a daemon without attacks until its queue is empty."""
        self.daemon.configure("auto", "delivered")
        process = self.daemon.start(["watch"])
        deadline, calm, before, self.queue = time.monotonic() + PATIENCE_S, 0, None, []
        while time.monotonic() < deadline and calm < 5:
            time.sleep(2)
            if process.poll() is not None:
                if not self.daemon.rebuild():
                    self.fault(f"the last daemon ended by itself with {process.returncode}")
                process = self.daemon.start(["watch"])
                continue
            queue = self.daemon.ask("--json", "queue", "list")
            if queue is None:
                continue
            if calm == 0:
                self.daemon.ask("recover", self.root)
                self.daemon.ask("queue", "retry")
            rows = [json.loads(line) for line in queue.splitlines()]
            now = (len(rows), self.vods())
            calm = calm + 1 if now == before else 0
            before, self.queue = now, rows
        if calm < 5:
            self.note(f"still working after {PATIENCE_S} s: {len(self.queue)} in the queue")
        attacks.end(process, self, "the last daemon", signal.SIGTERM)

    def hidden(self):
        """Files that were written to the mount point while no file system was mounted."""
        if not self.disk.loop:
            return []
        self.disk.unmount()
        hidden = os.path.join(self.scratch, "hidden")
        shutil.copytree(self.root, hidden)
        self.disk.mount()
        return [hidden]

    def look_into_logs(self):
        for program in (self.daemon, self.second, self.typed):
            with open(program.log, errors="replace") as log:
                self.faults += [f"{program.directory}: {line.strip()}" for line in log if "panicked at" in line]

    def end_processes(self):
        """Removes leftovers of an interrupted run of this script only."""
        self.is_over.set()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def table(head, rows):
    widths = [max(len(str(row[column])) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(str(cell).ljust(width) if n == 0 else str(cell).rjust(width)
                        for n, (cell, width) in enumerate(zip(row, widths))))
    print()


def report(prove, result):
    by_kind, wrong, told = result
    columns = account.VERDICTS
    rows = [(kind, *(counts[column] for column in columns)) for kind, counts in sorted(by_kind.items())]
    rows.append(("all", *(sum(counts[column] for counts in by_kind.values()) for column in columns)))
    if os.path.exists(prove.injected):
        with open(prove.injected) as file:
            for call, times in Counter(line.split()[0] for line in file).items():
                prove.tally.count(f"failing call: {call}", times)
    table(("attack", "how often"), sorted(prove.tally.counts.items()))
    table(("recordings", *columns), rows)
    for line in [*prove.notes, *prove.faults, *wrong]:
        print(line)
    with open(os.path.join(prove.scratch, "verdicts"), "w") as file:
        file.writelines(line + "\n" for line in told)
    return not wrong and not prove.faults


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep all files, also after success")
    parser.add_argument("--aftercast", required=True)
    options = parser.parse_args()
    prove = Prove(options)
    print(f"seed {options.seed}, {options.minutes:g} minutes, in {prove.scratch}", flush=True)
    is_well = False
    try:
        prove.attack(options.minutes, options.writers)
        prove.settle()
        prove.look_into_logs()
        directories = [prove.root, *prove.hidden()]
        is_well = report(prove, account.Account(prove, directories).all())
    finally:
        prove.end_processes()
        if is_well and not options.keep:
            prove.disk.detach()
            shutil.rmtree(prove.scratch)
        else:
            print(f"kept: {prove.scratch}; repeat with --seed {options.seed}")
            if prove.disk.loop:
                print(f"to clean up: umount -l {prove.root}; losetup -d {prove.disk.loop}; rm -r {prove.scratch}")
    print("nothing lost, nothing duplicated" if is_well else "FAILED")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
