#!/usr/bin/env python3
"""Finishes a matrix of recordings with the real binary and compares each finished file with its source. See scripts/prove-corpus.

Prints a line for each recording, those that the tools of this machine do not make, and a sum. Ends with 1 if a difference is not
explained, or if an injected one is not noticed.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

sys.dont_write_bytecode = True
import encodes  # noqa: E402
import facts  # noqa: E402
import inject  # noqa: E402
import judge  # noqa: E402
import matrix  # noqa: E402

# Pictures have tests of their own; here every file counts.
os.environ["AFTERCAST_PICTURES__POSTER"] = "false"

# A matrix of fewer files is no proof; the tools are not all there.
FEWEST = 300


class Trial:
    """A recording in a directory of its own, and what became of it."""

    def __init__(self, number, root, made, is_intact):
        self.name, self.source, self.twin, self.is_intact = made.name, made.path, made.twin, is_intact
        self.path = os.path.join(root, f"{number:04}", os.path.basename(made.path))
        os.makedirs(os.path.dirname(self.path))
        shutil.copyfile(made.path, self.path)
        self.digest = facts.digest(made.path)
        self.record, self.state, self.words = {}, "not mentioned", ""

    def ended(self, line):
        self.record, self.state = line.get("vod", {}), line["state"]
        self.words = line.get("message") or json.dumps(line.get("defects", []))

    @property
    def finished(self):
        return self.record["filePath"]

    @property
    def compared(self):
        """What the finished file is compared with."""
        return self.twin or self.source

    def is_kept_as_it_is(self):
        """Whether the finished file is the source, byte for byte."""
        return os.path.exists(self.finished) and facts.digest(self.finished) == self.digest


def process(options, root, trials):
    """Runs the binary over the root, and tells each trial what was said of it."""
    state, config = os.path.join(options.directory, "state"), os.path.join(options.directory, "config.toml")
    shutil.rmtree(state, ignore_errors=True)
    with open(config, "w") as file:
        file.write(f'state_dir = "{state}"\n[watch]\nroots = ["{root}"]\nsettle = "0s"\nquiet = "1s"\n')
    ran = subprocess.run([options.aftercast, "--config", config, "--json", "process", root], capture_output=True, text=True)
    if ran.returncode not in (0, 4):
        raise SystemExit(f"process ended with {ran.returncode}: {ran.stderr.strip()[-600:]}")
    by_path = {trial.path: trial for trial in trials}
    for line in map(json.loads, ran.stdout.splitlines()):
        if line.get("path") in by_path:
            by_path[line["path"]].ended(line)


def further(places):
    """Files that are given beside the matrix; they may be damaged."""
    for place in places:
        paths = [place] if os.path.isfile(place) else [os.path.join(at, name) for at, _, names in os.walk(place) for name in sorted(names)]
        yield from (matrix.Made(os.path.relpath(path, place) if path != place else os.path.basename(path), path, None) for path in paths)


def prove(options):
    only = re.compile(options.only) if options.only else None
    made, not_made = matrix.make(os.path.join(options.directory, "made"), options.sample, only)
    missed = inject.unnoticed(encodes.Workshop(os.path.join(options.directory, "injected")))
    root = os.path.join(options.directory, "root")
    shutil.rmtree(root, ignore_errors=True)
    trials = [Trial(number, root, each, True) for number, each in enumerate(made)]
    trials += [Trial(len(made) + number, root, each, False) for number, each in enumerate(further(options.more))]
    process(options, root, trials)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        verdicts = list(pool.map(judge.verdict, trials))
    tally, failed = Counter(), 0
    for trial, (wrong, why) in zip(trials, verdicts):
        failed += bool(wrong)
        outcome = trial.record.get("outcome", trial.state)
        tally[outcome + (", the original stays" if trial.record.get("originalPath") else "")] += 1
        kinds = ",".join(sorted({defect["kind"] for defect in trial.record.get("defects", [])}))
        print(f"{'WRONG' if wrong else 'ok   '} {trial.name:44} {outcome:10} {trial.record.get('container', ''):9} {kinds}")
        for words in wrong:
            print(f"        ! {words[:400]}")
        for words in why:
            print(f"          {words[:300]}", flush=True)
    report(options, made, not_made, missed, (trials, failed, tally))
    is_too_small = not options.sample and not only and len(made) < FEWEST
    return failed or len(missed) or is_too_small


def report(options, made, not_made, missed, sums):
    trials, failed, tally = sums
    print(f"\nnot made by the tools of this machine ({len(not_made)}):")
    for name, why in sorted(not_made.items()):
        print(f"  {name:44} {why}")
    for words in missed:
        print(f"INJECTED AND NOT NOTICED: {words}")
    print(f"\n{len(made)} files of the matrix, {len(trials) - len(made)} further; {len(inject.INJECTED)} injected differences, "
          f"{len(missed)} not noticed; {failed} files with differences that nothing explains")
    for what, count in sorted(tally.items()):
        print(f"  {count:4}  {what}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--aftercast", required=True)
    parser.add_argument("--directory", required=True, help="where everything is made; what is made stays")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--sample", action="store_true", help="one file of each kind")
    parser.add_argument("--only", help="a regular expression for names of the matrix")
    parser.add_argument("more", nargs="*", help="further files, or directories of them")
    options = parser.parse_args()
    options.directory = os.path.abspath(options.directory)
    sys.exit(1 if prove(options) else 0)


main()
