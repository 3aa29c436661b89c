"""Differences put into finished files: each has to be found, else the comparison proves nothing."""

import os

import compare
import encodes
from encodes import ffmpeg

COPY = ["-map", "0", "-c", "copy"]


def originals(work):
    """Recordings with everything in them that is spoilt here."""
    chapters = work.text("chapters.txt", encodes.CHAPTERS)
    inputs = ["-i", work.video("hevc_hdr10"), "-i", work.audio("aac"), "-i", work.audio("aac", 660), "-f", "ffmetadata", "-i", chapters]
    options = ("-map 0 -map 1 -map 2 -map_metadata 3 -map_chapters 3 -c copy -metadata:s:a:0 language=deu -metadata:s:a:1 language=fra "
               "-metadata:s:v:0 rotate=90 -disposition:a:1 comment -aspect 2:1").split()
    return work.once("whole.mp4", lambda to: ffmpeg(*inputs, *options, to))


def spoil_a_byte(source, to):
    """One byte in the middle of the media."""
    with open(source, "rb") as file:
        data = bytearray(file.read())
    start = data.index(b"mdat")
    data[start + (data.index(b"moov") - start) // 3] ^= 0xFF
    with open(to, "wb") as file:
        file.write(data)


def copied(*options):
    return lambda source, to: ffmpeg("-i", source, *COPY, *options, to)


def shifted(source, to):
    """Sound by 100 ms against pictures."""
    ffmpeg("-i", source, "-itsoffset", "0.1", "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy", to)


# What is done to a file, and the difference that has to be found.
INJECTED = {
    "packets": spoil_a_byte,
    "tracks": copied("-map", "-0:a:1"),
    "distance": shifted,
    "times": copied("-bsf:v", "setts=pts=PTS+if(eq(N\\,7)\\,2000\\,0):dts=DTS"),
    "pictures": copied("-bsf:v", "noise=drop=eq(n\\,30)"),
    "language": copied("-metadata:s:a:0", "language=ita"),
    "rotation": copied("-metadata:s:v:0", "rotate=0"),
    "dispositions": copied("-disposition:a:1", "dub"),
    "chapters": copied("-map_chapters", "-1"),
    "tags": copied("-metadata", "title="),
    "aspect": copied("-aspect", "1:1"),
    "colour": copied("-bsf:v", "hevc_metadata=colour_primaries=1", "-color_primaries", "bt709"),
    "decoding": spoil_a_byte,
}


def unnoticed(work):
    """What was put in and not found; nothing may be found between a file and its own copy."""
    whole, missed = originals(work), []
    for what, spoil in INJECTED.items():
        path = os.path.join(work.directory, f"spoilt-{what}.mp4")
        spoil(whole, path)
        found = compare.differences(whole, path)
        if what not in {difference.what for difference in found}:
            missed.append(f"{what} (found {[tuple(d) for d in found]})")
    same = os.path.join(work.directory, "same.mp4")
    ffmpeg("-i", whole, *COPY, same)
    missed += [f"nothing was changed, and yet {tuple(difference)}" for difference in compare.differences(whole, same)]
    return missed
