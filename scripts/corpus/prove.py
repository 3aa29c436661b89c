#!/usr/bin/env python3
"""Finishes a corpus with the real binary, in place and as a copy, and compares every result with its source.

Prints a line for each file and a summary. The exit code is 1 if a result is wrong. See scripts/prove-corpus.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from collections import Counter

sys.dont_write_bytecode = True
import browser  # noqa: E402
import compare  # noqa: E402
import make  # noqa: E402

# Pictures have tests of their own; here every file counts.
os.environ["AFTERCAST_PICTURES__POSTER"] = "false"

# Files of the short form: each layout once, each muxer, each problem with timestamps.
QUICK = [("bframes", "last"), ("bframes", "first"), ("bframes", "frag_keyframe"), ("bframes", "frag_every_frame"),
         ("bframes", "dash_sidx"), ("bframes", "negative_cts"), ("lowdelay", "hybrid"), ("lowdelay", "gst_frag"),
         ("bframes", "gst_qtmux"), ("two_audio", "frag_per_track"), ("late_audio", "last"), ("late_audio", "frag_negative_cts")]
WAYS = {"in place": "insert_range", "beside": "copy_range"}


def finished_by(options, way, sources, directory):
    """Runs the binary over copies of the sources; returns source path -> its record, or the output of the binary."""
    root, state = os.path.join(directory, "root"), os.path.join(directory, "state")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(root)
    config = os.path.join(directory, "config.toml")
    with open(config, "w") as file:
        file.write(f'state_dir = "{state}"\n[watch]\nroots = ["{root}"]\nsettle = "0s"\nquiet = "1s"\n'
                   f'[finish]\nsplice = "{WAYS[way]}"\n')
    copies = {}
    for number, source in enumerate(sources):
        # One directory each: files of the same name are not parts of one recording, and other files do not influence the result.
        copies[source] = os.path.join(root, f"{number:03}", os.path.basename(source))
        os.makedirs(os.path.dirname(copies[source]))
        shutil.copyfile(source, copies[source])
    base = [options.aftercast, "--config", config]
    ran = subprocess.run([*base, "process", root], capture_output=True, text=True)
    listed = subprocess.run([*base, "--json", "vod", "list", "--limit", "100000"], capture_output=True, text=True)
    records = [json.loads(line) for line in listed.stdout.splitlines()]
    by_directory = {os.path.dirname(record["filePath"]): record for record in records}
    said = (ran.stderr or listed.stderr).strip()[-300:]
    return {source: by_directory.get(os.path.dirname(copy), said) for source, copy in copies.items()}


def is_repaired(record):
    """Whether the record says that timestamps had to change because fragments overlap."""
    return any("timestamps_repaired" in defect.values() for defect in record["defects"])


def check_media(source, record):
    """All checks except the browser; returns descriptions of the errors."""
    finished = record["filePath"]
    before = compare.shape(source)
    wrong = []
    if compare.shape(finished) != "first" and record["outcome"] != "kept":
        wrong.append(f"the header is not in front: {compare.boxes(finished)}")
    repaired = is_repaired(record)
    held = compare.same_media(source, finished, repaired) if before == "fragmented" else compare.identical(source, finished)
    wrong += [held] if held else []
    was, now = compare.durations(source), compare.durations(finished)
    if now[2] and not was[2]:
        wrong.append(f"ffprobe complains: {now[2].splitlines()[0]}")
    if before != "fragmented" and abs(was[0] - now[0]) > 0.001:
        wrong.append(f"ffprobe says {now[0]} s, not {was[0]} s")
    was, now = compare.errors_of_decoding(source), compare.errors_of_decoding(finished)
    if len(now) > len(was):
        wrong.append(f"decoding complains: {now[0]}")
    was, now = compare.through_qtdemux(source), compare.through_qtdemux(finished)
    if isinstance(now, str) and not isinstance(was, str):
        wrong.append(f"qtdemux: {now}")
    elif isinstance(now, dict) and isinstance(was, dict):
        for pad, media in now.items():
            whole = was.get(pad, b"")
            is_as_good = compare.hands_out_all(finished, pad, media) or compare.is_trimmed(finished, media, whole)
            if media != whole and not (before == "fragmented" and is_as_good):
                wrong.append(f"qtdemux hands out other bytes: {pad} {len(whole)} → {len(media)}")
    return wrong


def check_browser(source, record, saw_source, saw):
    """Checks the result of the browser; returns errors, and whether it cannot play the file at all."""
    if "failed" in saw:
        if "failed" in saw_source:
            return [], f"not by Chromium ({saw_source['failed'].split(':')[0][:60]})"
        return [f"Chromium plays the source and not the result: {saw['failed']}"], None
    wrong = []
    # ffprobe includes a late start in the duration, Chromium does not.
    expected = [compare.durations(source)[0], saw_source.get("duration") or 0]
    if not saw["there"]:
        wrong.append("Chromium did not come to the middle")
    if is_repaired(record):
        expected.append(record["duration"] / 1000)
    if min(abs(saw["duration"] - seconds) for seconds in expected) > 0.15:
        wrong.append(f"Chromium says {saw['duration']:.3f} s, of the source ffprobe and it {expected}")
    if saw["width"] and saw["shades"] < 8:
        wrong.append(f"Chromium shows a picture of {saw['shades']} colours")
    return wrong, None


def prove(options, sources):
    pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
    finished = {way: finished_by(options, way, sources, os.path.join(options.directory, way.replace(" ", "-"))) for way in WAYS}
    pairs = [(source, way, finished[way][source]) for source in sources for way in WAYS]
    media = {(source, way): pool.submit(check_media, source, record) if isinstance(record, dict) else None
             for source, way, record in pairs}
    films = {f"source/{number}": source for number, source in enumerate(sources)}
    films |= {f"{way}/{number}": finished[way][source]["filePath"] for number, source in enumerate(sources) for way in WAYS
              if isinstance(finished[way][source], dict)}
    saw = browser.look(films, 120 + 6 * len(films)) if options.browser else {}
    tally, failed = Counter(), 0
    for number, source in enumerate(sources):
        for way in WAYS:
            record = finished[way][source]
            note, wrong = None, []
            if not isinstance(record, dict):
                wrong = [f"not finished: {record}"]
            else:
                wrong = media[source, way].result()
                if options.browser:
                    more, note = check_browser(source, record, saw[f"source/{number}"], saw[f"{way}/{number}"])
                    wrong += more
                    tally["played by Chromium" if not note else "not played by Chromium, nor its source"] += 1
                tally[f"{compare.shape(source)} → {record['outcome']}, {record.get('splice') or 'nothing written'}"] += 1
            failed += bool(wrong)
            how = "" if not isinstance(record, dict) else f"{record['outcome']} {record.get('splice') or ''}"
            print(f"{'WRONG' if wrong else 'ok   '} {os.path.basename(source):44} {compare.shape(source):10} {way:8} {how:22}"
                  f" {'; '.join(wrong)}{note or ''}", flush=True)
    print(f"\n{len(sources)} files, each finished in place and as a copy: {2 * len(sources) - failed} results correct, {failed} wrong")
    for what, count in sorted(tally.items()):
        print(f"  {count:4}  {what}")
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--aftercast", required=True)
    parser.add_argument("--directory", required=True, help="directory for all files; on ext4 or XFS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="a dozen short files")
    parser.add_argument("--part", default="1/1", help="only a part of the files: 2/3 is the second third")
    parser.add_argument("--no-browser", dest="browser", action="store_false")
    parser.add_argument("more", nargs="*", help="further MP4 and MOV files, or directories of them")
    options = parser.parse_args()
    if options.browser and not browser.binary():
        sys.exit("no Chromium is installed")
    options.directory = os.path.abspath(options.directory)
    directory = os.path.join(options.directory, "made")
    if options.quick:
        sources = make.make(directory, 3, "160x120", options.seed, QUICK)
    else:
        sources = make.make(directory, 12, "640x360", options.seed)
    for place in options.more:
        there = [os.path.join(place, name) for name in sorted(os.listdir(place))] if os.path.isdir(place) else [place]
        sources += [path for path in there if path.rsplit(".", 1)[-1] in ("mp4", "mov", "m4a", "m4v")]
    part, parts = map(int, options.part.split("/"))
    sources = sources[part - 1::parts]
    sys.exit(1 if prove(options, [os.path.abspath(source) for source in sources]) else 0)


main()
