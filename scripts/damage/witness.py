"""An independent parser that lists every packet of a recording with the offsets of its bytes. It uses no demuxer under test.

It reads the files of `make.py` (no lacing, no edit that hides a packet) and the files that the program makes of them.
"""

import hashlib
import struct
from collections import namedtuple

# `key` is the same for the same coded picture or audio frame in every container; `ranges` are its bytes in the file;
# `pieces` are bytes that are contiguous in every container.
Packet = namedtuple("Packet", "kind key ranges pieces")

# NAL units of H.264 that are not picture data, or that other containers store elsewhere: SEI, SPS, PPS, delimiter, filler.
AROUND_A_PICTURE = {6, 7, 8, 9, 12}


class Unreadable(Exception):
    """A file that this parser does not support."""


def digest(data):
    return hashlib.md5(data).hexdigest()


def slices(units):
    return [unit for unit in units if unit and unit[0] & 31 not in AROUND_A_PICTURE]


def avc_key(units):
    return digest(b"".join(b"\0\0\1" + unit for unit in slices(units)))


def with_lengths(payload):
    """NAL units with lengths of four bytes (ISO/IEC 14496-15, 5.3.3.1)."""
    at = 0
    while at + 4 <= len(payload):
        size = struct.unpack_from(">I", payload, at)[0]
        yield payload[at + 4:at + 4 + size]
        at += 4 + size


def with_start_codes(payload):
    """NAL units with start codes (ITU-T H.264, annex B)."""
    return [unit.rstrip(b"\0") for unit in payload.split(b"\0\0\1")[1:]]


def adts_frames(payload):
    """AAC frames by their ADTS headers (ISO/IEC 13818-7, 6.2): for each its start, the end of its header, and its end."""
    at = 0
    while at + 7 <= len(payload) and payload[at] == 0xFF and payload[at + 1] & 0xF6 == 0xF0:
        size = (payload[at + 3] & 3) << 11 | payload[at + 4] << 3 | payload[at + 5] >> 5
        head = 7 if payload[at + 1] & 1 else 9
        if size <= head:
            return
        yield at, at + head, at + size
        at += size


def packet(is_avc, kind, data, ranges):
    return Packet(kind, avc_key(with_lengths(data)) if is_avc else digest(data), ranges, [data])


# ---- ISO base media ---------------------------------------------------------------------------------------------------

def boxes(data, at, end):
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        size = size or end - at
        if size < head or at + size > end:
            return
        yield kind, at + head, at + size
        at += size


def child(data, span, *path):
    for wanted in path:
        span = next(((start, end) for kind, start, end in boxes(data, *span) if kind == wanted), None)
        if span is None:
            return None
    return span


def children(data, span, wanted):
    return [(start, end) for kind, start, end in boxes(data, *span) if kind == wanted]


def numbers(data, at, count, form="I"):
    return struct.unpack_from(f">{count}{form}", data, at)


def samples_of_tables(data, stbl):
    """Offset and size of every sample of a track (ISO/IEC 14496-12, 8.7)."""
    stsz, _ = child(data, stbl, b"stsz")
    each, count = numbers(data, stsz + 4, 2)
    sizes = [each] * count if each else numbers(data, stsz + 12, count)
    stsc, _ = child(data, stbl, b"stsc")
    runs = numbers(data, stsc + 8, 3 * numbers(data, stsc + 4, 1)[0])
    runs = [runs[n:n + 3] for n in range(0, len(runs), 3)]
    wide = child(data, stbl, b"co64")
    table = wide or child(data, stbl, b"stco")
    offsets = numbers(data, table[0] + 8, numbers(data, table[0] + 4, 1)[0], "Q" if wide else "I")
    number, run = 0, 0
    for chunk, at in enumerate(offsets, 1):
        while run + 1 < len(runs) and runs[run + 1][0] <= chunk:
            run += 1
        for size in sizes[number:number + runs[run][1]]:
            yield at, size
            at += size
            number += 1


def samples_of_fragments(data, track_id, default_size):
    """The same of all `moof` boxes (8.8)."""
    for kind, start, end in boxes(data, 0, len(data)):
        if kind != b"moof":
            continue
        for traf in children(data, (start, end), b"traf"):
            at, _ = child(data, traf, b"tfhd")
            flags, theirs = numbers(data, at, 2)
            if theirs != track_id:
                continue
            at += 8
            base = start - 8
            if flags & 1:
                base, at = numbers(data, at, 1, "Q")[0], at + 8
            at += 4 * (bool(flags & 2) + bool(flags & 8))
            of_fragment = numbers(data, at, 1)[0] if flags & 0x10 else default_size
            place = base
            for run, _ in children(data, traf, b"trun"):
                flags, count = numbers(data, run, 2)
                run += 8
                if flags & 1:
                    place, run = base + numbers(data, run, 1, "i")[0], run + 4
                run += 4 * bool(flags & 4)
                words = [bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800)]
                for _ in range(count):
                    size = numbers(data, run + 4 * words[0], 1)[0] if words[1] else of_fragment
                    run += 4 * sum(words)
                    yield place, size
                    place += size


def of_iso(data):
    moov = child(data, (0, len(data)), b"moov")
    if moov is None:
        raise Unreadable("no moov")
    defaults = {}
    for trex, _ in children(data, child(data, moov, b"mvex") or (0, 0), b"trex"):
        track, _, _, size, _ = numbers(data, trex + 4, 5)
        defaults[track] = size
    for trak in children(data, moov, b"trak"):
        tkhd, _ = child(data, trak, b"tkhd")
        track = numbers(data, tkhd + (20 if data[tkhd] else 12), 1)[0]
        hdlr, _ = child(data, trak, b"mdia", b"hdlr")
        stbl = child(data, trak, b"mdia", b"minf", b"stbl")
        stsd, _ = child(data, stbl, b"stsd")
        kind = {b"vide": "video", b"soun": "sound"}.get(data[hdlr + 8:hdlr + 12], "other")
        is_avc = data[stsd + 12:stsd + 16] in (b"avc1", b"avc3")
        for samples in (samples_of_tables(data, stbl), samples_of_fragments(data, track, defaults.get(track, 0))):
            for at, size in samples:
                yield packet(is_avc, kind, data[at:at + size], [(at, at + size)])


# ---- FLV --------------------------------------------------------------------------------------------------------------

def of_flv(data):
    at = 13
    while at + 15 <= len(data):
        kind, size = data[at] & 31, int.from_bytes(data[at + 1:at + 4], "big")
        start, end = at + 11, at + 11 + size
        at = end + 4
        if kind == 9 and size > 5 and data[start + 1] == 1:
            yield packet(True, "video", data[start + 5:end], [(start + 5, end)])
        elif kind == 8 and size > 2 and data[start] >> 4 == 10 and data[start + 1] == 1:
            yield packet(False, "sound", data[start + 2:end], [(start + 2, end)])


# ---- Matroska ---------------------------------------------------------------------------------------------------------

def number(data, at, keeps_marker):
    """A variable length integer (RFC 8794, section 4), and the offset of its end."""
    if at >= len(data) or not data[at]:
        raise Unreadable(f"no EBML number at {at}")
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at:at + length], "big")
    unknown = value & (1 << 7 * length) - 1 == (1 << 7 * length) - 1
    return (value if keeps_marker else None if unknown else value & (1 << 7 * length) - 1), at + length


SEGMENT, CLUSTER, GROUP, BLOCK, SIMPLE = 0x18538067, 0x1F43B675, 0xA0, 0xA1, 0xA3
TRACKS, ENTRY, TRACK_NUMBER, TRACK_TYPE, CODEC = 0x1654AE6B, 0xAE, 0xD7, 0x83, 0x86


def elements(data, at, end):
    while at < end:
        name, after = number(data, at, True)
        size, start = number(data, after, False)
        stop = end if size is None else min(start + size, end)
        if name in (SEGMENT, CLUSTER, GROUP, TRACKS, ENTRY):
            yield name, start, start
            yield from elements(data, start, stop)
        else:
            yield name, start, stop
        at = stop


def of_matroska(data):
    tracks, now = {}, {}
    for name, start, end in elements(data, 0, len(data)):
        if name == ENTRY:
            now = {}
        elif name in (TRACK_NUMBER, TRACK_TYPE, CODEC):
            now[name] = data[start:end]
            if len(now) == 3:
                tracks[now[TRACK_NUMBER][-1]] = now
        elif name in (SIMPLE, BLOCK):
            track, after = number(data, start, False)
            about = tracks.get(track, {})
            kind = {1: "video", 2: "sound"}.get(about.get(TRACK_TYPE, b"\0")[-1], "other")
            start = after + 3
            is_avc = about.get(CODEC, b"").startswith(b"V_MPEG4/ISO/AVC")
            yield packet(is_avc, kind, data[start:end], [(start, end)])


# ---- MPEG-TS ----------------------------------------------------------------------------------------------------------

def of_ts(data):
    """PES packets by PID, of H.264 and of AAC in ADTS, which are recognised by their first bytes."""
    open_units = {}
    for at in range(0, len(data) - 187, 188):
        if data[at] != 0x47:
            raise Unreadable(f"no sync byte at {at}")
        pid, control = (data[at + 1] & 31) << 8 | data[at + 2], data[at + 3] >> 4 & 3
        start = at + 4 + (1 + data[at + 4] if control & 2 else 0)
        if not control & 1 or start >= at + 188:
            continue
        if data[at + 1] & 0x40:
            yield from of_pes(data, open_units.pop(pid, None))
            if data[start:start + 3] == b"\0\0\1":
                open_units[pid] = (data[start + 3], [(start + 9 + data[start + 8], at + 188)])
        elif pid in open_units:
            open_units[pid][1].append((start, at + 188))
    for unit in open_units.values():
        yield from of_pes(data, unit)


def of_pes(data, unit):
    if unit is None:
        return
    stream, ranges = unit
    payload = b"".join(data[start:end] for start, end in ranges)
    if stream & 0xF0 == 0xE0:
        units = with_start_codes(payload)
        yield Packet("video", avc_key(units), ranges, slices(units))
    elif stream & 0xE0 == 0xC0:
        for header, start, end in adts_frames(payload):
            yield Packet("sound", digest(payload[start:end]), parts(ranges, header, end), [payload[start:end]])


def parts(ranges, start, end):
    """The byte ranges of the file that contain a part of the data of these ranges."""
    found, before = [], 0
    for low, high in ranges:
        first, last = max(start - before, 0), min(end - before, high - low)
        if first < last:
            found.append((low + first, low + last))
        before += high - low
    return found


def packets(data):
    """Every packet of a file; raises `Unreadable` for a file that this parser does not support."""
    try:
        if data[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide"):
            return list(of_iso(data))
        if data[:3] == b"FLV":
            return list(of_flv(data))
        if data[:4] == b"\x1a\x45\xdf\xa3":
            return list(of_matroska(data))
        if data[:1] == b"\x47":
            return list(of_ts(data))
    except (struct.error, IndexError, TypeError) as error:
        raise Unreadable(str(error)) from error
    raise Unreadable("of no kind that this reading knows")
