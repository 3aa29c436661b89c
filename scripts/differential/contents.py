"""Recordings with more in them than a track of pictures and one of sound, or with times of their own."""

import struct

import encodes
import layouts

ISO = ("mp4_last", "mp4_frag", "mov_last")
ALL = ("mp4_last", "mp4_frag", "mov_last", "mkv", "flv", "ts")
LANGUAGES = ("-metadata:s:a:0 language=deu -metadata:s:a:1 language=fra -metadata:s:a:1 title=Commentary -disposition:a:0 default "
             "-disposition:a:1 comment")


class Recipes:
    """Collects recipes: name, extension, what makes it."""

    def __init__(self, work):
        self.work, self.found = work, []

    def add(self, content, into, inputs, options="", maps=None):
        """One recording for each of the layouts, from inputs (each a function or words) and options before those of the muxer."""
        for layout in into:
            extension, muxer = layouts.FFMPEG[layout]

            def make(to, muxer=muxer):
                words, count = [], 0
                for entry in inputs:
                    entry = entry() if callable(entry) else entry
                    words += entry.split() if isinstance(entry, str) else entry
                    count += 1
                chosen = maps.split() if maps else [word for number in range(count) for word in ("-map", str(number))]
                encodes.ffmpeg(*words, *chosen, "-c", "copy", "-strict", "-2", *options.split(), *muxer.split(), to)
            self.found.append((f"{content}-{layout}", extension, make))

    def video(self, name, before=""):
        return lambda: [*before.split(), "-i", self.work.video(name)]

    def audio(self, name, before="", tone=440):
        return lambda: [*before.split(), "-i", self.work.audio(name, tone)]


def recipes(work):
    """Name, extension and maker of every recording here."""
    found = Recipes(work)
    tracks(found)
    texts(found)
    beside_tracks(found)
    pictures(found)
    times(found)
    found.found += patched(found)
    return found.found


def tracks(found):
    pictures, sound = found.video("h264_b"), found.audio("aac")
    french, third = found.audio("aac", tone=660), found.audio("mp3", tone=880)
    found.add("two_sounds", (*ISO, "mkv", "ts"), [pictures, sound, french], LANGUAGES)
    found.add("two_sounds", ("webm",), [found.video("vp9"), found.audio("opus"), found.audio("vorbis", tone=660)], LANGUAGES)
    found.add("three_sounds", ("mp4_last", "mp4_frag", "mkv", "ts"), [pictures, sound, french, third], LANGUAGES)
    found.add("forced_and_original", ("mkv", "mp4_last"), [pictures, sound, french],
              "-disposition:v:0 default+original -disposition:a:0 default+original -disposition:a:1 visual_impaired")
    found.add("two_pictures", (*ISO, "mkv", "ts"), [pictures, found.video("h264_no_b"), sound])
    found.add("pictures_only", (*ALL, "avi"), [found.video("h264_no_b")])
    found.add("pictures_only", ("webm", "webm_live"), [found.video("vp9")])
    found.add("sound_only", (*ALL, "mkv_live", "avi"), [sound])
    found.add("sound_only", ("webm", "webm_live"), [found.audio("opus")])
    found.add("titles", ALL, [pictures, sound], "-metadata title=Sitting -metadata artist=House -metadata comment=third "
              "-metadata creation_time=2026-03-04T10:20:30Z -metadata:s:v:0 title=Hall -metadata:s:a:0 language=ita")
    found.add("programmes", ("ts",), [pictures, sound, found.video("h264_no_b"), french],
              "-program title=One:st=0:st=1 -program title=Two:st=2:st=3")
    found.add("service_name", ("ts",), [pictures, sound], "-metadata service_name=Hall -metadata service_provider=House")


def texts(found):
    pictures, sound = found.video("h264_b"), found.audio("aac")
    srt = lambda: ["-i", found.work.text("text.srt", encodes.TEXT)]
    language = "-metadata:s:s:0 language=spa"
    found.add("mov_text", ISO, [pictures, sound, srt], f"-c:s mov_text {language}")
    for codec in ("srt", "ass", "webvtt"):
        found.add(codec, ("mkv",), [pictures, sound, srt], f"-c:s {codec} {language}")
    found.add("webvtt", ("webm",), [found.video("vp9"), found.audio("opus"), srt], f"-c:s webvtt {language}")
    second = "-metadata:s:s:1 language=por -disposition:s:1 forced"
    for codec, layout in (("srt", "mkv"), ("mov_text", "mp4_last")):
        found.add("two_texts", (layout,), [pictures, sound, srt, srt], f"-c:s {codec} {language} {second}")
    found.add("dvb_text", ("ts",), [pictures, sound, srt], "-c:s dvbsub")
    found.add("teletext", ("ts",), [pictures, sound, srt], "-c:s dvb_teletext")


def beside_tracks(found):
    pictures, sound = found.video("h264_b"), found.audio("aac")
    chapters = lambda: ["-f", "ffmetadata", "-i", found.work.text("chapters.txt", encodes.CHAPTERS)]
    cover = lambda: ["-i", found.work.cover()]
    with_chapters = "-map 0 -map 1"
    found.add("chapters", ("mp4_last", "mp4_first", "mov_last", "mkv", "mkv_live"), [pictures, sound, chapters],
              "-map_metadata 2 -map_chapters 2", with_chapters)
    found.add("chapters", ("webm",), [found.video("vp9"), found.audio("opus"), chapters], "-map_metadata 2 -map_chapters 2", with_chapters)
    found.add("chapters_hevc", ("mkv",), [found.video("hevc_hvc1"), sound, chapters], "-map_metadata 2 -map_chapters 2", with_chapters)
    found.add("cover", ("mp4_last", "mp4_first", "m4v"), [pictures, sound, cover], "-disposition:v:1 attached_pic")
    found.add("cover", ("m4a",), [sound, cover], "-disposition:v:0 attached_pic")
    found.add("cover", ("mp3",), [found.audio("mp3"), cover], "-disposition:v:0 attached_pic")
    for name, kind in (("cover", "image/jpeg"), ("attached_font", "application/x-truetype-font")):
        def make(to, kind=kind):
            inputs = ["-i", found.work.video("h264_b"), "-i", found.work.audio("aac")]
            encodes.ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", "-attach", found.work.cover(), "-metadata:s:t", f"mimetype={kind}", to)
        found.found.append((f"{name}-mkv", "mkv", make))
    found.add("timecode", ("mov_last", "mov_first", "mov_frag", "mp4_last", "mp4_frag"), [pictures, sound], "-timecode 10:20:30:05")
    data = lambda: ["-f", "data", "-i", found.work.text("data.bin", "data " * 200)]
    found.add("data", ("ts", "mov_last", "mp4_last"), [pictures, sound, data], "-c:d copy")


def pictures(found):
    sound = found.audio("aac")
    for turn in (90, 180, 270):
        found.add(f"turned_{turn}", (*ISO, "mp4_first", "mkv", "m4v"), [found.video("h264_b"), sound], f"-metadata:s:v:0 rotate={turn}")
    found.add("aspect", (*ALL, "avi"), [found.video("h264_sar"), sound])
    found.add("aspect_of_container", (*ISO, "mkv"), [found.video("h264_b"), sound], "-aspect 16:9")
    found.add("colour", (*ALL, "mp4_cmaf"), [found.video("h264_bt709"), sound])
    found.add("full_range", ("mp4_last", "mkv", "ts", "flv"), [found.video("h264_full_range"), sound])
    found.add("colour", ("webm",), [found.video("vp9_bt709"), found.audio("opus")])
    found.add("colour_of_av1", ("webm", "mkv", "mp4_frag"), [found.video("av1_10bit"), found.audio("opus")])
    found.add("interlaced", ("mkv", "flv", "ts", "mp4_frag"), [found.video("h264_interlaced"), sound])
    found.add("stereo_3d", ("mkv", "webm"), [found.video("vp9"), found.audio("opus")], "-metadata:s:v:0 stereo_mode=left_right")


def times(found):
    picture, sound = found.video("h264_b"), found.audio("aac")
    late_picture, late_sound = found.video("h264_b", "-itsoffset 0.73"), found.audio("aac", "-itsoffset 0.73")
    found.add("sound_first", (*ALL, "mp4_delay_moov", "mkv_live"), [late_picture, sound])
    found.add("pictures_first", (*ALL, "mp4_delay_moov", "mkv_live"), [picture, late_sound])
    found.add("sound_first", ("webm",), [found.video("vp9", "-itsoffset 0.73"), found.audio("opus")])
    found.add("slides", ALL, [found.video("h264_slides"), sound])
    found.add("variable_rate", ALL, [found.video("h264_vfr"), sound])
    found.add("one_picture", ALL, [found.video("h264_one_frame")])
    found.add("one_picture_and_sound", ALL, [found.video("h264_one_frame"), sound])
    found.add("offset", ALL, [picture, sound], "-output_ts_offset 5.3")
    found.add("offset", ("webm", "webm_live"), [found.video("vp9"), found.audio("opus")], "-output_ts_offset 5.3")
    found.add("long_offset", ("mkv", "flv", "ts", "mp4_frag"), [picture, sound], "-output_ts_offset 90000")
    found.add("negative", ("mp4_last", "mp4_frag", "mov_last", "mkv", "ts"), [picture, sound],
              "-output_ts_offset -0.5 -avoid_negative_ts disabled")
    found.add("edited", ISO, [found.video("h264_b", "-ss 0.5"), found.audio("aac", "-ss 0.5")])
    found.add("edited", ("mkv", "ts", "flv"), [found.video("h264_b", "-ss 0.5"), found.audio("aac", "-ss 0.5")])
    found.add("sound_ends_early", ALL, [picture, found.audio("aac", "-t 1.2")])
    found.add("pictures_end_early", ALL, [found.video("h264_no_b", "-t 1.2"), sound])
    found.add("ntsc", ALL, [found.video("h264_ntsc"), sound])


# ---- HDR in the container, which FFmpeg writes only where it found it -------------------------------------------------------

MASTERING = struct.pack(">6H2H2I", 13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450, 10000000, 1)


def boxed(kind, body):
    return struct.pack(">I4s", 8 + len(body), kind) + body


def with_hdr_boxes(data):
    """An MP4, header last, with `mdcv` and `clli` behind the other boxes of its first sample entry (ISO/IEC 14496-12, 12.1.5)."""
    more = boxed(b"mdcv", MASTERING) + boxed(b"clli", struct.pack(">HH", 1000, 400))
    at = 0
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        at = data.index(kind, at) - 4
        data = grown(data, at, len(more))
        at += 8
    entry = at + 8
    end = entry + struct.unpack_from(">I", data, entry)[0]
    return grown(data, entry, len(more))[:end] + more + data[end:]


def grown(data, at, by):
    size = struct.unpack_from(">I", data, at)[0] + by
    return data[:at] + struct.pack(">I", size) + data[at + 4:]


def patched(found):
    """Recordings with HDR in their containers."""
    work = found.work

    def source(encode):
        def patch(to):
            plain = work.once(f"plain-{encode}.mp4", lambda path: encodes.ffmpeg("-i", work.video(encode), "-c", "copy", "-f", "mp4", path))
            with open(plain, "rb") as file, open(to, "wb") as out:
                out.write(with_hdr_boxes(file.read()))
        return lambda: work.once(f"hdr-{encode}.mp4", patch)

    for encode, layout, sound in [("hevc_hdr10", "mp4_last", "aac"), ("hevc_hdr10", "mp4_frag", "aac"), ("hevc_hdr10", "mov_last", "aac"),
                                  ("hevc_hdr10", "mkv", "aac"), ("av1_10bit", "mp4_frag", "aac"), ("av1_10bit", "mkv", "aac"),
                                  ("av1_10bit", "webm", "opus"), ("vp9", "webm", "opus"), ("vp9", "mkv", "opus")]:
        extension, muxer = layouts.FFMPEG[layout]

        def make(to, encode=encode, sound=sound, muxer=muxer):
            inputs = ["-i", source(encode)(), "-i", work.audio(sound)]
            encodes.ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", *muxer.split(), to)
        suffix = "" if encode == "hevc_hdr10" else f"_{encode.split('_')[0]}"
        yield f"hdr_boxes{suffix}-{layout}", extension, make
