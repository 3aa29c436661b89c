#!/usr/bin/env python3
"""Damages recordings and finishes them with the real binary. Every intact packet must be in the output or in a file that is kept.
See scripts/prove-damage.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter

sys.dont_write_bytecode = True
import make  # noqa: E402
import witness  # noqa: E402

# Pictures have tests of their own; here every file counts.
os.environ["AFTERCAST_PICTURES__POSTER"] = "false"


class Trial:
    """A damaged recording in a directory of its own."""

    def __init__(self, number, root, source, kind, chance):
        with open(source, "rb") as file:
            data = bytearray(file.read())
        packets = witness.packets(bytes(data))
        damage = chance.choice(make.DAMAGES)
        self.hit = damage(data, packets, chance)
        self.what = f"{kind}, {damage.__name__.replace('_', ' ')} at {', '.join(str(start) for start, _ in self.hit[:3])}"
        self.kind, self.damage = kind, damage.__name__
        self.intact = [packet for packet in packets if self.is_intact(packet)]
        self.directory = os.path.join(root, f"{number:05}")
        os.makedirs(self.directory)
        self.path = os.path.join(self.directory, "room." + source.rsplit(".", 1)[1])
        with open(self.path, "wb") as file:
            file.write(data)
        self.digest = hashlib.sha256(data).hexdigest()

    def is_intact(self, packet):
        return all(end <= low or high <= start for start, end in packet.ranges for low, high in self.hit)

    def verdict(self, record):
        """`ok`, or the kind of error, and descriptions of it."""
        stays, listed = [], Counter()
        for name in os.listdir(self.directory):
            if name == ".aftercast-root":
                continue
            with open(os.path.join(self.directory, name), "rb") as file:
                stays.append(file.read())
        is_kept = any(hashlib.sha256(data).hexdigest() == self.digest for data in stays)
        for data in stays:
            try:
                listed.update(packet.key for packet in witness.packets(data))
            except witness.Unreadable:
                pass
        missing = [packet for packet in self.intact if not listed[packet.key]]
        if not missing:
            return "ok", []
        if is_kept:
            return "kept", []
        gone = [packet for packet in missing if not any(holds(data, packet) for data in stays)]
        if gone:
            return "LOST", [f"{len(gone)} of {len(self.intact)} intact packets ({dict(Counter(p.kind for p in gone))})"]
        if not record.get("defects"):
            return "UNNAMED", [f"{len(missing)} intact packets stand in no table, and no defect names them"]
        return "named", []


def holds(data, packet):
    return all(piece in data for piece in packet.pieces)


def process(options, root):
    """Runs the binary over the root; returns path of the damaged recording -> its record."""
    state, config = os.path.join(options.directory, "state"), os.path.join(options.directory, "config.toml")
    shutil.rmtree(state, ignore_errors=True)
    with open(config, "w") as file:
        file.write(f'state_dir = "{state}"\n[watch]\nroots = ["{root}"]\nsettle = "0s"\nquiet = "1s"\n')
    base = [options.aftercast, "--config", config]
    ran = subprocess.run([*base, "--json", "process", root], capture_output=True, text=True)
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    if ran.returncode not in (0, 4):
        raise SystemExit(f"process ended with {ran.returncode}: {ran.stderr.strip()[-600:]}")
    return {line["path"]: line.get("vod") or line for line in said if "path" in line}


def prove(options):
    root, made = os.path.join(options.directory, "root"), os.path.join(options.directory, "made")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    os.makedirs(made, exist_ok=True)
    kinds = [kind for kind in make.KINDS if not options.only or kind in options.only.split(",")]
    sources = {kind: [make.recording(made, kind, options.seed * 10 + n) for n in range(options.sources)] for kind in kinds}
    trials = []
    for number in range(options.count):
        chance = random.Random(f"{options.seed}/{number}")
        kind = kinds[number % len(kinds)]
        trials.append(Trial(number, root, chance.choice(sources[kind]), kind, chance))
    records = process(options, root)
    tally, wrong = Counter(), 0
    for trial in trials:
        record = records.get(trial.path, {})
        said, details = trial.verdict(record)
        tally[trial.kind, said] += 1
        if said in ("LOST", "UNNAMED"):
            wrong += said == "LOST"
            print(f"{said:8} {os.path.basename(trial.directory)} {trial.what}: {'; '.join(details)}; {record.get('outcome', 'no record')},"
                  f" defects {json.dumps(record.get('defects', []))[:200]}", flush=True)
    words = ["ok", "named", "kept", "UNNAMED", "LOST"]
    print(f"\n{'recordings':20}" + "".join(f"{word:>9}" for word in words))
    for kind in kinds:
        print(f"{kind:20}" + "".join(f"{tally[kind, word]:9}" for word in words))
    print(f"{'':20}" + "".join(f"{sum(tally[kind, word] for kind in kinds):9}" for word in words))
    print(f"\n{sum(len(trial.intact) for trial in trials)} intact packets in {len(trials)} damaged recordings")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--aftercast", required=True)
    parser.add_argument("--directory", required=True, help="directory for all files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--sources", type=int, default=3, help="intact recordings of each kind")
    parser.add_argument("--only", help="kinds, separated by commas")
    options = parser.parse_args()
    options.directory = os.path.abspath(options.directory)
    sys.exit(1 if prove(options) else 0)


main()
