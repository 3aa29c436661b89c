"""Checks that a finished recording contains the same media as its source, and that players accept it.

Each check returns None, or a description of the error. Results of the tools are cached per file.
"""

import functools
import hashlib
import json
import os
import struct
import subprocess
import tempfile
from collections import defaultdict


def boxes(path):
    """Types of the top-level boxes of a file, in order."""
    found = []
    with open(path, "rb") as file:
        at, size = 0, file.seek(0, 2)
        while at + 8 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = struct.unpack(">Q", file.read(8))[0]
            length = length or size - at
            found.append(kind.decode("latin-1"))
            if length < 8:
                break
            at += length
    return found


@functools.cache
def shape(path):
    """Layout of a file: `fragmented`, `first` (header first) or `last`."""
    there = boxes(path)
    if "moof" in there:
        return "fragmented"
    if "moov" not in there:
        return "none"
    return "first" if "mdat" not in there or there.index("moov") < there.index("mdat") else "last"


def probe(path, *options):
    done = subprocess.run(["ffprobe", "-v", "error", *options, "-of", "json", path], capture_output=True, text=True)
    return json.loads(done.stdout or "{}"), done.stderr.strip()


@functools.cache
def packets(path, *options):
    """Every packet of each stream in order: pts, dts, duration, size, flags, digest."""
    fields = "packet=stream_index,pts,dts,duration,size,flags,data_hash"
    told, _ = probe(path, *options, "-show_packets", "-show_data_hash", "sha256", "-show_entries", fields)
    streams = defaultdict(list)
    for packet in told.get("packets", []):
        facts = tuple(packet.get(key) for key in ("pts", "dts", "duration", "size", "flags", "data_hash"))
        streams[packet["stream_index"]].append(facts)
    return dict(streams)


@functools.cache
def about(path):
    """The ffprobe output for the file and its streams, without the fields that depend on the layout."""
    told, _ = probe(path, "-show_streams", "-show_format")
    for key in ("filename", "size", "bit_rate", "probe_score"):
        told.get("format", {}).pop(key, None)
    return told


@functools.cache
def framehash(path):
    done = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0", "-c", "copy", "-f", "framehash", "-"],
                          capture_output=True, text=True)
    return done.stdout


def identical(source, finished):
    """For a file that was complete before: the whole output of the demuxer must be the same."""
    if packets(source) != packets(finished):
        return "packets differ"
    if packets(source, "-ignore_editlist", "1") != packets(finished, "-ignore_editlist", "1"):
        return "packets differ without edit lists"
    if framehash(source) != framehash(finished):
        return "framehash differs"
    return None if about(source) == about(finished) else "what ffprobe says of the streams differs"


def same_media(source, finished, is_repaired):
    """For a fragmented file: same payloads in the same order, and timestamps that differ by one constant per track, unless repaired."""
    before, after = packets(source, "-ignore_editlist", "1"), packets(finished, "-ignore_editlist", "1")
    if before.keys() != after.keys():
        return f"streams {sorted(before)} became {sorted(after)}"
    for stream, old in before.items():
        new = after[stream]
        if [(p[3], p[5]) for p in old] != [(p[3], p[5]) for p in new]:
            return f"payloads of stream {stream} differ"
        for place, name in ((0, "pts"), (1, "dts")):
            shifts = {b[place] - a[place] for a, b in zip(old, new) if None not in (a[place], b[place])}
            if len(shifts) > 1 and not is_repaired:
                return f"{name} of stream {stream} moved by {len(shifts)} different amounts: {sorted(shifts)[:4]}"
            if [p[place] is None for p in old] != [p[place] is None for p in new]:
                return f"{name} of stream {stream} is missing elsewhere"
    return None


@functools.cache
def errors_of_decoding(path):
    """Errors of FFmpeg while it decodes the whole file, except about repeated timestamps in the recording itself."""
    done = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0", "-f", "null", "-"],
                          capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    return [line for line in lines if not line.startswith("[null @") and "Last message repeated" not in line]


@functools.cache
def durations(path):
    told, said = probe(path, "-show_format", "-show_streams")
    kinds = [stream.get("codec_type") for stream in told.get("streams", [])]
    return float(told.get("format", {}).get("duration", 0)), kinds, said


def through_qtdemux(path):
    """The output of GStreamer's demuxer for each pad, or its error."""
    _, kinds, _ = durations(path)
    pads = [f"{kind}_{n}" for kind in ("video", "audio") for n in range(kinds.count(kind))]
    command = ["gst-launch-1.0", "-q", "filesrc", f"location={path}", "!", "qtdemux", "name=d"]
    with tempfile.TemporaryDirectory() as directory:
        for pad in pads:
            # No pad may wait for another: the file is read in its own order.
            command += [f"d.{pad}", "!", "queue", "max-size-buffers=0", "max-size-bytes=0", "max-size-time=0", "!"]
            command += ["filesink", f"location={os.path.join(directory, pad)}", "sync=false", "async=false"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode or "ERROR" in done.stdout + done.stderr:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
            return lines[0].strip() if lines else f"gst-launch-1.0 ended with {done.returncode}"
        handed_out = {}
        for pad in pads:
            with open(os.path.join(directory, pad), "rb") as file:
                handed_out[pad] = file.read()
        return handed_out


def hands_out_all(finished, pad, media):
    """Whether a pad of qtdemux outputs every packet of its stream, byte for byte. It outputs fewer for some fragments."""
    kind, number = pad.split("_")
    kinds = durations(finished)[1]
    stream = [index for index, its in enumerate(kinds) if its == kind][int(number)]
    at = 0
    for packet in packets(finished)[stream]:
        end = at + int(packet[3])
        if packet[5].lower() != "sha256:" + hashlib.sha256(media[at:end]).hexdigest():
            return False
        at = end
    return at == len(media)


def is_trimmed(finished, media, whole):
    """Whether the output of qtdemux for a finished file differs by at most one sample, at an end of a track with an edit list.
    qtdemux uses edit lists only in files that are not fragmented, whichever muxer wrote them, and so omits a last sample."""
    with open(finished, "rb") as file:
        has_edits = b"elst" in file.read(1 << 20)
    largest = max(int(packet[3]) for stream in packets(finished).values() for packet in stream)
    if len(media) > len(whole):  # For the fragments, qtdemux omits a sample without duration.
        return whole in media and len(media) - len(whole) <= largest
    return has_edits and media in whole and len(whole) - len(media) <= largest
