"""What FFmpeg's own tools say of a file: tracks, packets, times, what is beside the tracks, and what decoders make of it."""

import functools
import hashlib
import json
import os
import struct
import subprocess
from collections import namedtuple
from fractions import Fraction

# A packet as the demuxer gives it; times in seconds.
Packet = namedtuple("Packet", "pts dts duration size is_key digest")
Track = namedtuple("Track", "number kind about packets")
# `said` is what a demuxer and decoders complained of.
Facts = namedtuple("Facts", "tracks attached chapters programmes tags duration said")

# What is asked of a stream, and what stands for "not said".
ABOUT = {
    "size": ("width", "height"), "aspect": ("sample_aspect_ratio",), "pixels": ("pix_fmt",), "fields": ("field_order",),
    "colour": ("color_range", "color_space", "color_transfer", "color_primaries", "chroma_location"),
    "sound": ("sample_rate", "channels", "channel_layout"),
}
# The usual shape of samples and layout of channels count as not said.
UNSAID = {None, "unknown", "unspecified", "und", "0:1", "1:1", "N/A", "progressive", "mono", "stereo"}
TAGS = ("title", "artist", "album", "comment", "copyright", "description", "date", "genre", "creation_time")
DISPOSITIONS = ("default", "dub", "original", "comment", "lyrics", "karaoke", "forced", "hearing_impaired", "visual_impaired",
                "captions", "descriptions")
# Side data that says how a picture is shown; the rest (bit rate, and what is in the pictures themselves) is not asked for.
SHOWN = ("Mastering display metadata", "Content light level metadata", "Stereo 3D", "Spherical Mapping", "DOVI configuration record")


ISO = ("mp4", "mov", "m4a", "m4v")


def run(command):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)


def seconds(ticks, time_base):
    return None if ticks is None else ticks * time_base


def lowered(tags):
    return {key.lower(): value for key, value in (tags or {}).items()}


def about(stream):
    """What a stream says of itself, by the words that differences are named with."""
    found = {}
    for word, keys in ABOUT.items():
        found[word] = tuple(None if stream.get(key) in UNSAID else stream.get(key) for key in keys)
    tags = lowered(stream.get("tags"))
    found["language"] = None if tags.get("language") in UNSAID else tags.get("language")
    found["title"] = tags.get("title")
    found["codec"] = stream.get("codec_name", "unknown")
    found["tag"] = stream.get("codec_tag_string")
    found["time base"] = Fraction(stream["time_base"])
    found["configuration"] = stream.get("extradata_hash")
    found["dispositions"] = frozenset(name for name in DISPOSITIONS if stream.get("disposition", {}).get(name))
    sides = stream.get("side_data_list", [])
    turned = [side.get("displaymatrix", "").strip() for side in sides if side.get("side_data_type") == "Display Matrix"]
    found["rotation"] = turned[0] if turned and not is_identity(turned[0]) else None
    found["hdr and stereo"] = sorted(plain(side) for side in sides if side.get("side_data_type") in SHOWN)
    found["timecode"] = tags.get("timecode")
    return found


def plain(side):
    """Side data as text; a fraction is the same whatever its denominator."""
    value = lambda v: Fraction(v) if isinstance(v, str) and "/" in v else v
    # MP4 counts brightness in ten thousandths of a candela (ISO/IEC 23001-8, MasteringDisplayColourVolume).
    coarse = lambda key, v: round(v * 10000) / 10000 if key.endswith("luminance") else str(v)
    return json.dumps({key: coarse(key, value(v)) for key, v in side.items()}, sort_keys=True)


def is_identity(matrix):
    return [int(word) for line in matrix.splitlines() for word in line.split(":")[-1].split()] == [65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]


def packets(told, time_bases):
    """Packets of each stream in the order of the file."""
    found = {index: [] for index in time_bases}
    for packet in told:
        index = packet["stream_index"]
        times = [seconds(packet.get(key), time_bases[index]) for key in ("pts", "dts", "duration")]
        found[index].append(Packet(*times, int(packet["size"]), "K" in packet["flags"], packet["data_hash"]))
    return found


@functools.cache
def read(path):
    """Everything but the pictures and the sound themselves."""
    shown = ["-show_streams", "-show_format", "-show_chapters", "-show_programs", "-show_packets", "-show_data_hash", "md5"]
    done = run(["ffprobe", "-v", "error", *shown, "-of", "json", path])
    told = json.loads(done.stdout or "{}")
    streams = told.get("streams", [])
    by_stream = packets(told.get("packets", []), {stream["index"]: Fraction(stream["time_base"]) for stream in streams})
    is_attached = lambda s: s.get("codec_type") == "attachment" or s.get("disposition", {}).get("attached_pic")
    if iso(path):
        for stream, name, by in zip(streams, iso(path).names(), iso(path).shifts()):
            stream.setdefault("tags", {}).setdefault("title", name)
            by_stream[stream["index"]] = [earlier(packet, by) for packet in by_stream[stream["index"]]]
    tracks = [Track(s["index"] + 1, s.get("codec_type", "data"), about(s), by_stream[s["index"]]) for s in streams if not is_attached(s)]
    attached = sorted(attachment(s, by_stream[s["index"]]) for s in streams if is_attached(s))
    chapters = [(round(float(c["start_time"]), 3), round(float(c["end_time"]), 3), c.get("tags", {}).get("title")) for c in told.get("chapters", [])]
    programmes = [sorted(s["index"] for s in p.get("streams", [])) for p in told.get("programs", [])]
    tags = lowered(told.get("format", {}).get("tags"))
    duration = float(told.get("format", {}).get("duration", 0))
    return Facts(tracks, attached, chapters, programmes, {k: v for k, v in tags.items() if k in TAGS}, duration, done.stderr.strip().splitlines())


def boxes(data, at, end):
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        size = size or end - at
        if size < head:
            return
        yield kind, at + head, min(at + size, end)
        at += size


class Iso:
    """The boxes of ISO base media, for what ffprobe does not tell or tells otherwise."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.traks = self.all((0, len(self.data)), b"moov", b"trak")

    def all(self, span, *path):
        """Bodies of all boxes of a path."""
        spans = [span]
        for wanted in path:
            spans = [(start, end) for span in spans for kind, start, end in boxes(self.data, *span) if kind == wanted]
        return spans

    def names(self):
        """`udta`/`name` of each track, which the ffprobe of most distributions does not show."""
        named = [[self.data[slice(*span)].decode("utf-8", "replace") for span in self.all(trak, b"udta", b"name")] for trak in self.traks]
        return [names[0] if names else None for names in named]

    def shifts(self):
        """By how much FFmpeg presents each track of a fragmented file too late: the largest negative composition offset, where there is no
        edit list (its demuxer lets no picture be presented before it is decoded; ISO/IEC 14496-12, 8.8.8 has signed offsets)."""
        lowest = {}
        for traf in self.all((0, len(self.data)), b"moof", b"traf"):
            track = struct.unpack_from(">I", self.data, self.all(traf, b"tfhd")[0][0] + 4)[0]
            offsets = [offset for start, _ in self.all(traf, b"trun") for offset in self.offsets(start)]
            lowest[track] = min([lowest.get(track, 0), *offsets])
        return [Fraction(-lowest.get(number, 0), scale) if not edits else 0 for number, scale, edits in map(self.about, self.traks)]

    def about(self, trak):
        """Number, ticks a second, and whether there is an edit list that cuts off a beginning."""
        tkhd, mdhd = self.all(trak, b"tkhd")[0][0], self.all(trak, b"mdia", b"mdhd")[0][0]
        number = struct.unpack_from(">I", self.data, tkhd + (20 if self.data[tkhd] else 12))[0]
        scale = struct.unpack_from(">I", self.data, mdhd + (20 if self.data[mdhd] else 12))[0]
        return number, scale, any(struct.unpack_from(">i", self.data, start + 12)[0] > 0 for start, _ in self.all(trak, b"edts", b"elst"))

    def offsets(self, at):
        """Composition offsets of a `trun`."""
        flags, count = struct.unpack_from(">II", self.data, at)
        if not flags & 0x800 or not flags >> 24:
            return []
        at += 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
        words = [bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800)]
        return [struct.unpack_from(">i", self.data, at + 4 * (n * sum(words) + sum(words) - 1))[0] for n in range(count)]


@functools.cache
def iso(path):
    """The boxes of a file that is ISO base media by its name, and not too long to be read at once."""
    return Iso(path) if path.rsplit(".", 1)[-1] in ISO and os.path.getsize(path) < 1 << 28 else None


def earlier(packet, by):
    return packet._replace(pts=packet.pts - by) if by and packet.pts is not None else packet


def has_metadata_only(path):
    """Whether all script data of an FLV file is `onMetaData` (annex E.5)."""
    with open(path, "rb") as file:
        data = file.read()
    at, scripts = 13, []
    while path.endswith(".flv") and at + 11 < len(data):
        size = int.from_bytes(data[at + 1:at + 4], "big")
        if data[at] & 31 == 18:
            scripts.append(data[at + 14:at + 24])
        at += 15 + size
    return bool(scripts) and all(script == b"onMetaData" for script in scripts)


def attachment(stream, found):
    """A cover or another attached file: what it is, and its bytes."""
    content = found[0].digest if found else stream.get("extradata_hash", "")
    return ("cover" if stream.get("codec_name") in ("mjpeg", "png", "bmp") else "file", content)


def hashed(path, *options):
    """What `ffmpeg -f framemd5` says of each frame: index of the stream -> (pts, size, digest); and its complaints."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-noautorotate", "-copyts", "-i", path, "-map", "0:V?", "-map", "0:a?", *options]
    done = run([*command, "-f", "framemd5", "-"])
    found, bases = {}, {}
    for line in done.stdout.splitlines():
        if line.startswith("#tb "):
            index, base = line[4:].split(": ")
            bases[int(index)] = Fraction(base)
        elif not line.startswith("#"):
            index, _, pts, _, size, digest = (word.strip() for word in line.split(",")[:6])
            found.setdefault(int(index), []).append((int(pts) * bases[int(index)], int(size), digest))
    is_complaint = lambda line: not line.startswith("[framemd5 @") and "Last message repeated" not in line
    return found, [line for line in done.stderr.strip().splitlines() if is_complaint(line)]


@functools.cache
def decoded(path):
    """Every picture and all sound as decoders give them."""
    return hashed(path, "-vsync", "passthrough", "-c:v", "rawvideo", "-c:a", "pcm_s16le")


@functools.cache
def bare(path, codecs):
    """Digests of the packets without what containers wrap them in: start codes or lengths, parameter sets and delimiters, ADTS."""
    filters = []
    kinds = {"v": [c for c in codecs if c in ("h264", "hevc")], "a": [c for c in codecs if c == "aac"]}
    counts = {"v": 0, "a": 0}
    for codec in codecs:
        kind = "v" if codec in VIDEO_CODECS else "a"
        if codec in kinds[kind]:
            filters += [f"-bsf:{kind}:{counts[kind]}", BARE[codec]]
        counts[kind] += 1
    found, _ = hashed(path, "-c", "copy", "-copyinkf", "-copypriorss", "1", *filters)
    return [[digest for _, _, digest in found[index]] for index in sorted(found)]


VIDEO_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "prores", "dnxhd", "png", "ffv1", "flv1",
                "flashsv", "theora", "h263"}
BARE = {"h264": "h264_mp4toannexb,filter_units=remove_types=6-9|12", "hevc": "hevc_mp4toannexb,filter_units=remove_types=32-35|38-40",
        "aac": "aac_adtstoasc"}


@functools.cache
def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
