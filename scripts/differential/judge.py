"""Whether each difference is explained: by a defect of the record, by the original that stays, or by a rule of docs/contents.md.

And whether the record tells the truth of the finished file, and reports nothing of a recording in which nothing is wrong.
"""

import os
import re
from fractions import Fraction

import compare
import facts

# Which defects of a record name which difference.
NAMED_BY = {
    "tracks": ("track_left_out", "empty_track", "content_left_out"),
    "packets": ("truncated", "corrupt_packets", "leading_packets_dropped", "samples_outside", "unexplained", "malformed"),
    "pictures": ("truncated", "corrupt_packets", "leading_packets_dropped", "samples_outside", "unexplained", "malformed"),
    "times": ("timestamps_repaired", "timestamp_gap", "presentation_moved"),
    "distance": ("timestamps_repaired", "timestamp_gap", "presentation_moved"),
    "chapters": ("content_left_out",),
    "attached": ("content_left_out", "track_left_out"),
    "programmes": ("content_left_out",),
    "decoding": ("undecodable",),
}


# Defects that a recording of the matrix is right to have, by its name: what the finished container has no place for.
EXPECTED = [
    (r"attached_font-mkv|programmes-ts", {"content_left_out"}),
    (r"(srt|ass|webvtt|two_texts)-mkv|data-ts|ts-av1", {"track_left_out"}),
    # GStreamer gives the first pictures and two packets of sound one time; Matroska has no place for times before zero.
    (r"gst_flv|negative-mkv", {"timestamps_repaired"}),
    (r"flv-flv1-(adpcm_swf|nellymoser)|ts-h264_b-(s302m|truehd)", {"not_converted"}),
]


def expected_defects(name):
    return {kind for pattern, kinds in EXPECTED if re.match(pattern, name) for kind in kinds}


MILLISECOND = Fraction(1, 1000)


# Roles that MP4 has no name for, one that has two meanings there, and that one track of each kind is enabled.
WITHOUT_ROLE = (" became default", "default,original became default",
                "visual_impaired became descriptions,visual_impaired")


def rule(difference, trial):
    """The rule of docs/contents.md by which a difference is in order, or None."""
    has_chapters = bool(facts.read(trial.compared).chapters)
    if difference.what == "more tracks" and has_chapters and trial.finished.endswith((".mp4", ".mov")):
        return "the text track of the chapters"
    if difference.what == "tracks" and "subtitle text" in difference.words and facts.has_metadata_only(trial.source):
        return "metadata that comes again, of which FFmpeg makes a track"
    if difference.what == "dispositions" and trial.finished.endswith((".mp4", ".mov")):
        return "MP4 has no such role" if difference.words in WITHOUT_ROLE else None
    return None


def stays(trial):
    """Whether the original is still there, byte for byte."""
    path = trial.record.get("originalPath")
    return bool(path) and os.path.exists(path) and facts.digest(path) == trial.digest


def explained(difference, trial):
    """By what a difference is explained, in words, or None."""
    kinds = {defect["kind"] for defect in trial.record.get("defects", [])}
    names = sorted(kinds & set(NAMED_BY.get(difference.what, ())))
    if names:
        return names[0]
    return rule(difference, trial) or ("the original stays" if stays(trial) else None)


def of_record(trial):
    """What the record says of the finished file that is not so."""
    record, found = trial.record, facts.read(trial.finished)
    ours = listed((track["kind"], track["codec"], track["packets"]) for track in record["tracks"])
    theirs = listed((t.kind, t.about["codec"], len(t.packets)) for t in found.tracks)
    if ours != theirs and not facts.read(trial.finished).attached:
        yield f"the record lists {ours}, the file has {theirs}"
    if record["fileSize"] != os.path.getsize(trial.finished):
        yield f"the record says {record['fileSize']} bytes"
    if trial.is_kept_as_it_is():
        return
    times = [(p.pts, p.pts + (p.duration or 0)) for t in found.tracks if t.kind != "data" for p in t.packets if p.pts is not None]
    if not times:
        return
    first, last = (1000 * float(chosen) for chosen in (min(s for s, _ in times), max(e for _, e in times)))
    # An edit list may cut a beginning off, or let nothing be presented for a while.
    if min(abs(record["duration"] - (last - begin)) for begin in (first, max(first, 0), 0)) > 60:
        yield f"the record says {record['duration']} ms, the packets {first:.0f} to {last:.0f} ms"


def listed(tracks):
    """Kind, codec and packets of pictures and sound; demuxers join samples of PCM as they like."""
    return sorted((kind, codec, 0 if codec.startswith("pcm_") else count) for kind, codec, count in tracks if kind in ("video", "audio"))


def verdict(trial):
    """What is wrong with what became of a recording, and by what its differences are explained."""
    if trial.state == "not handled":
        return [], ["named as not handled"] if os.path.exists(trial.path) else ["not handled, and gone"]
    if not trial.record:
        return [f"{trial.state}: {trial.words}"], []
    wrong, why = list(of_record(trial)), []
    if not trial.is_kept_as_it_is():
        for difference in compare.differences(trial.compared, trial.finished, MILLISECOND if trial.twin else 0):
            by = explained(difference, trial)
            words = f"{difference.what}{f' of track {difference.track}' if difference.track else ''}: {difference.words}"
            if by:
                why.append(f"{words} ({by})")
            else:
                wrong.append(words)
    allowed = expected_defects(trial.name)
    alarms = [defect for defect in trial.record.get("defects", []) if trial.is_intact and defect["kind"] not in allowed]
    wrong += [f"reported though nothing is wrong: {defect}" for defect in alarms]
    return wrong, why
