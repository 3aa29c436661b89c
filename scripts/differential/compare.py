"""In what a finished file differs from its source: tracks, packets, times, what is said of them, and what decoders make of them.

A difference is data: what differs, which track, and words. Whether it is in order is judged elsewhere (`judge.py`).
"""

from collections import namedtuple
from fractions import Fraction

import facts

Difference = namedtuple("Difference", "what track words")

# Edit lists count in ticks of the movie (ISO/IEC 14496-12, 8.6.6), which are milliseconds in what FFmpeg's muxer writes.
MOVIE_TICK = Fraction(1, 1000)
# What a container says for all its tracks, or for none.
WITHOUT_DISPOSITIONS = ("flv", "ts", "m2ts", "avi", "ogg", "ogv", "ivf", "wav", "mp3", "aac")


def pair(before, after):
    """Tracks of the source with those of the finished file: the next one of its kind and codec, or None."""
    left, pairs = list(after), []
    for track in before:
        match = next((t for t in left if (t.kind, t.about["codec"]) == (track.kind, track.about["codec"])), None)
        if match:
            left.remove(match)
        pairs.append((track, match))
    return pairs, left


def differences(source, finished, least_tick=0):
    """Of two paths; `least_tick` is that of the source, in seconds, where the path is only its twin."""
    before, after = facts.read(source), facts.read(finished)
    pairs, more = pair(before.tracks, after.tracks)
    found = [Difference("tracks", old.number, f"{old.kind} {old.about['codec']} of {len(old.packets)} packets is not there")
             for old, new in pairs if new is None]
    found += [Difference("more tracks", new.number, f"{new.kind} {new.about['codec']} is new") for new in more]
    pairs = [(old, new) for old, new in pairs if new]
    found += [d for old, new in pairs for d in said_differently(old, new, source)]
    found += payloads(source, finished, pairs)
    found += times(pairs, least_tick, finished.endswith(("mkv", "webm")))
    found += beside(before, after, shift_of(pairs))
    found += seen_and_heard(source, finished)
    found += durations(after)
    return found


def said_differently(old, new, source):
    """What a track says of itself."""
    words = ["size", "aspect", "pixels", "fields", "colour", "sound", "language", "title", "rotation", "hdr and stereo"]
    if source.rsplit(".", 1)[1] not in WITHOUT_DISPOSITIONS:
        words.append("dispositions")
    for word in words:
        before, after = old.about[word], new.about[word]
        if before != after:
            yield Difference(word, old.number, f"{shown(before)} became {shown(after)}")


def shown(value):
    return ",".join(map(str, sorted(value))) if isinstance(value, frozenset) else str(value)


def payloads(source, finished, pairs):
    """Packets that are missing, more or other, by their bytes; without their wrapping where that differs."""
    unlike = [(old, new) for old, new in pairs if [p.digest for p in old.packets] != [p.digest for p in new.packets]]
    if not unlike:
        return
    media = [(old, new) for old, new in pairs if old.kind in ("video", "audio")]
    codecs = tuple(old.about["codec"] for old, _ in media)
    is_wrapped = any(codec in facts.BARE for codec in codecs)
    bare = [facts.bare(path, codecs) for path in (source, finished)] if is_wrapped else [[], []]
    for old, new in unlike:
        before, after = [p.digest for p in old.packets], [p.digest for p in new.packets]
        place = [o.number for o, _ in media].index(old.number) if (old, new) in media else None
        if place is not None and old.about["codec"] in facts.BARE and all(place < len(side) for side in bare):
            before, after = bare[0][place], bare[1][place]
        if before != after:
            yield Difference("packets", old.number, how_unlike(before, after))


def how_unlike(before, after):
    missing = len(set(before) - set(after))
    first = next((n for n, pair in enumerate(zip(before, after)) if pair[0] != pair[1]), min(len(before), len(after)))
    return f"{len(before)} became {len(after)}, {missing} are not there, the first that differs is {first}"


def offsets(old, new):
    """By how much each packet is presented later than in the source, seconds."""
    if len(old.packets) != len(new.packets):
        return []
    at = lambda packet: packet.pts if packet.pts is not None else packet.dts
    found = [(at(a), at(b)) for a, b in zip(old.packets, new.packets)]
    return [b - a for a, b in found if a is not None and b is not None]


def shift_of(pairs):
    """By how much the first track of the finished file is presented later."""
    return next((found[0] for old, new in pairs if (found := offsets(old, new))), 0)


def times(pairs, least_tick, is_undated):
    """Presentation: all tracks by one amount, each packet to a tick of the coarser clock. And decoding in order,
    where the container has times for it."""
    shift = shift_of(pairs)
    coarsest = max([least_tick, *(track.about["time base"] for both in pairs for track in both)])
    for old, new in pairs:
        found = offsets(old, new)
        tick = max(least_tick, old.about["time base"], new.about["time base"])
        if found and max(found) - min(found) > tick:
            moved = sum(abs(offset - found[0]) > tick for offset in found)
            yield Difference("times", old.number, f"{moved} of {len(found)} packets moved by up to {ms(max(found) - min(found))} ms")
        elif found and abs(found[0] - shift) > max(coarsest, MOVIE_TICK):
            yield Difference("distance", old.number, f"moved by {ms(found[0] - shift)} ms against the first track")
        if [p.is_key for p in old.packets] != [p.is_key for p in new.packets] and len(old.packets) == len(new.packets):
            yield Difference("keyframes", old.number, f"{sum(p.is_key for p in old.packets)} became {sum(p.is_key for p in new.packets)}")
        decoding = [p.dts for p in new.packets if p.dts is not None]
        if any(a >= b for a, b in zip(decoding, decoding[1:])) and increases(old) and not is_undated:
            yield Difference("decoding times", old.number, "no longer increase")
        if any(p.pts is not None and p.dts is not None and p.pts < p.dts for p in new.packets):
            yield Difference("decoding times", old.number, "lie after the presentation")


def increases(track):
    found = [p.dts for p in track.packets if p.dts is not None]
    return all(a < b for a, b in zip(found, found[1:]))


def ms(value):
    return round(float(value) * 1000, 1)


def beside(before, after, shift):
    """Chapters, attached files, programmes, tags."""
    at = lambda seconds: max(round(seconds + float(shift), 3), 0)
    moved = [(at(start), at(end), title) for start, end, title in before.chapters]
    if not same_chapters(moved, after.chapters):
        yield Difference("chapters", None, f"{moved} became {after.chapters}")
    if before.attached != after.attached:
        yield Difference("attached", None, f"{[kind for kind, _ in before.attached]} became {[kind for kind, _ in after.attached]}")
    if len(before.programmes) > 1 and before.programmes != after.programmes:
        yield Difference("programmes", None, f"{before.programmes} became {after.programmes}")
    for key, value in before.tags.items():
        if key == "creation_time":
            value = value[:19]
        if not after.tags.get(key, "").startswith(value):
            yield Difference("tags", None, f"{key} {value!r} became {after.tags.get(key)!r}")


def same_chapters(before, after):
    near = lambda a, b: abs(a[0] - b[0]) <= 0.002 and abs(a[1] - b[1]) <= 0.05 and a[2] == b[2]
    return len(before) == len(after) and all(near(a, b) for a, b in zip(before, after))


def seen_and_heard(source, finished):
    """What decoders make of both: errors, pictures, length of the sound."""
    (before, said), (after, says) = facts.decoded(source), facts.decoded(finished)
    if len(says) > len(said):
        yield Difference("decoding", None, f"{len(said)} complaints became {len(says)}: {says[0]}")
    if len(facts.read(finished).said) > len(facts.read(source).said):
        yield Difference("reading", None, f"ffprobe complains: {facts.read(finished).said[0]}")
    kinds = [t.kind for t in facts.read(source).tracks if t.kind == "video"] + [t.kind for t in facts.read(source).tracks if t.kind == "audio"]
    for index, kind in enumerate(kinds):
        old, new = before.get(index, []), after.get(index, [])
        if kind == "video" and [frame[2] for frame in old] != [frame[2] for frame in new]:
            yield Difference("pictures", index + 1, how_unlike([f[2] for f in old], [f[2] for f in new]))
        if kind == "audio" and old and new:
            # A frame of sound more or less is heard where one container says where the encoder's lead ends and the other cannot.
            lengths = [sum(frame[1] for frame in side) for side in (old, new)]
            if abs(lengths[0] - lengths[1]) > 2 * max(frame[1] for frame in old):
                yield Difference("heard", index + 1, f"{lengths[0]} bytes of decoded sound became {lengths[1]}")


def durations(after):
    """Whether the header tells how long the media is."""
    ends = [p.pts + (p.duration or 0) for t in after.tracks if t.kind in ("video", "audio") for p in t.packets if p.pts is not None]
    starts = [p.pts for t in after.tracks if t.kind in ("video", "audio") for p in t.packets if p.pts is not None]
    if not ends:
        return
    length = float(max(ends) - max(min(starts), 0))
    longest = max((float(p.duration or 0) for t in after.tracks for p in t.packets), default=0)
    if not after.duration or min(abs(after.duration - length), abs(after.duration - float(max(ends)))) > max(0.05, longest):
        yield Difference("duration", None, f"the header says {after.duration} s, the packets {length:.3f} s")
