"""Which recordings the matrix has: every container with every codec and layout that the tools of this machine make."""

import os
from collections import namedtuple

import contents
import enhanced
import encodes
import layouts

# A recording: what makes it, and a file with the same packets that FFmpeg reads where it does not read the recording itself.
Made = namedtuple("Made", "name path twin")
Recipe = namedtuple("Recipe", "name extension make twin")

MP4_VIDEO = ["h264_b", "h264_no_b", "h264_interlaced", "h264_10bit", "hevc_hvc1", "hevc_hev1", "hevc_hdr10", "av1", "vp9", "mpeg4",
             "mpeg2", "mjpeg"]
MP4_AUDIO = ["mp3", "opus", "vorbis", "flac", "ac3", "eac3", "alac", "mp2", "dts", "he_aac", "aac_mono_8k", "aac_5_1"]
MOV_VIDEO = ["h264_b", "hevc_hvc1", "prores", "mjpeg", "mpeg2", "mpeg4", "dnxhd", "png"]
PCM = ["pcm_s16be", "pcm_u8", "pcm_alaw", "pcm_mulaw", "pcm_s24le", "pcm_f32le"]
MKV_VIDEO = MP4_VIDEO + ["vp8", "vp8_hidden", "vp9_hidden", "mpeg1", "mpeg4_b", "prores", "ffv1", "theora", "h264_open_gop", "av1_10bit"]
TS_VIDEO = ["h264_b", "h264_no_b", "h264_interlaced", "h264_10bit", "h264_open_gop", "hevc_hvc1", "hevc_hev1", "hevc_hdr10", "mpeg1",
            "mpeg2", "mpeg4", "av1"]
KEPT_AUDIO = ["ac3", "pcm_s16le", "pcm_u8", "aac"]


def pairs():
    """Layout, encode of pictures, encode of sound; either may be missing."""
    def cross(into, pictures, sounds):
        return [(layout, video, audio) for layout in into.split() for video in pictures for audio in sounds]
    some_mp4 = "mp4_last mp4_frag mp4_delay_moov mp4_cmaf"
    yield from cross(some_mp4 + " mp4_first", MP4_VIDEO, ["aac"])
    every_mp4 = [name for name in layouts.FFMPEG if name.startswith("mp4_") and name not in some_mp4.split()]
    yield from cross(" ".join(every_mp4), ["h264_open_gop", "h264_ntsc"], ["aac"])
    yield from cross("mp4_last mp4_first mp4_frag", ["h264_b"], MP4_AUDIO)
    yield from cross("mp4_delay_moov", ["h264_b"], ["ac3", "eac3", "opus"])
    yield from cross("mp4_last mp4_frag", ["vp9_hidden", "av1_10bit", "mpeg4_b", "h264_sar", "h264_bt709", "h264_full_range"], ["aac"])
    yield from cross("mov_last mov_first mov_frag", MOV_VIDEO, ["pcm_s16le"])
    yield from cross("mov_last mov_frag", ["h264_no_b"], PCM + ["alac", "ac3", "mp3", "aac", "amr_nb"])
    yield from cross("mkv", MKV_VIDEO, ["aac"])
    yield from cross("mkv", ["h264_b"], MP4_AUDIO + PCM + ["pcm_s16le", "truehd", "mp3_22k"])
    yield from cross("mkv_live mkv_short_clusters mkv_cues_first", ["h264_b", "hevc_hvc1", "vp9"], ["opus"])
    yield from cross("webm webm_live webm_short_clusters", ["vp8", "vp9", "av1"], ["vorbis", "opus"])
    yield from cross("webm webm_live", ["vp8_hidden", "vp9_hidden", "vp9_bt709"], ["opus"])
    yield from cross("flv flv_open flv_index", ["h264_b", "h264_no_b", "flv1"], ["aac", "mp3"])
    yield from cross("flv", ["flv1"], ["pcm_s16le_44k", "pcm_u8", "pcm_alaw", "pcm_mulaw", "speex", "nellymoser", "adpcm_swf", "mp3_22k"])
    yield from cross("flv", ["flashsv", "h264_sar", "h264_ntsc"], ["mp3"])
    yield from cross("ts", TS_VIDEO, ["aac"])
    yield from cross("ts", ["h264_b"], ["mp2", "mp3", "ac3", "eac3", "opus", "dts", "s302m", "truehd", "aac_5_1"])
    yield from cross("ts_cbr ts_repeated ts_latm ts_long_pes m2ts", ["h264_b", "mpeg2"], ["aac"])
    yield from cross("m2ts", ["h264_b", "hevc_hvc1"], ["ac3"])
    yield from cross("avi", ["h264_no_b", "mpeg4", "mpeg4_b", "mjpeg", "mpeg2", "ffv1"], ["mp3"])
    yield from cross("avi", ["mpeg4"], KEPT_AUDIO)
    yield from cross("ogg ogv", ["theora"], ["vorbis", "opus", "flac", "speex"])
    yield from cross("ogg", ["vp8"], ["opus"])
    yield from cross("3gp 3g2", ["h264_no_b", "h263"], ["aac"])
    yield from cross("f4v ismv m4v", ["h264_b"], ["aac"])


def single_pairs():
    """The same of recordings with one track."""
    pictures = {"ivf": ["vp8", "vp9", "av1"]}
    sounds = {"ogg": ["vorbis", "opus", "flac", "speex"], "opus": ["opus"], "mp3": ["mp3", "mp3_22k"], "mp3_no_xing": ["mp3"],
              "aac": ["aac", "aac_5_1"], "wav": PCM + ["pcm_s16le", "mp3", "ac3"], "wav_rf64": ["pcm_s16le"],
              "m4a": ["aac", "alac"], "mka": ["aac", "opus", "flac", "vorbis", "pcm_s16le"]}
    # WAVE has no big-endian samples.
    sounds["wav"] = [name for name in sounds["wav"] if name != "pcm_s16be"]
    yield from ((layout, video, None) for layout, names in pictures.items() for video in names)
    yield from ((layout, None, audio) for layout, names in sounds.items() for audio in names)


def gstreamer_pairs():
    iso = [("h264_b", "aac"), ("hevc_hvc1", "aac")]
    for layout in ("gst_mp4", "gst_mp4_first", "gst_mp4_frag", "gst_mp4_frag_live", "gst_mp4_finalise", "gst_mov", "gst_mov_robust"):
        yield from ((layout, video, audio) for video, audio in iso)
    yield from [("gst_mp4", "av1", "opus"), ("gst_mp4", "vp9", "opus"), ("gst_mp4_frag", "av1", "opus"), ("gst_mp4", "h264_b", "mp3"),
                ("gst_mp4", "hevc_hdr10", "aac"), ("gst_mp4_frag", "hevc_hdr10", "aac"), ("gst_mov", "h264_b", "ac3")]
    for layout in ("gst_mkv", "gst_mkv_live"):
        yield from ((layout, *pair) for pair in [*iso, ("vp9", "opus"), ("hevc_hdr10", "aac"), ("h264_no_b", "flac"), ("av1", "opus")])
    for layout in ("gst_webm", "gst_webm_live"):
        yield from ((layout, video, "opus") for video in ("vp8", "vp9"))
    for layout in ("gst_ts", "gst_m2ts"):
        yield from ((layout, *pair) for pair in [*iso, ("h264_b", "ac3"), ("mpeg2", "mp3")])
    for layout in ("gst_flv", "gst_flv_live"):
        yield from [(layout, "h264_b", "aac"), (layout, "h264_no_b", "mp3_22k")]
    yield from [("gst_avi", "mpeg4", "mp3"), ("gst_avi", "h264_no_b", "mp3"), ("gst_ogg", "vp8", "opus")]


def with_ffmpeg(work, layout, video, audio):
    extension, options = layouts.FFMPEG[layout]

    def make(to):
        sources = [work.video(video)] if video else []
        sources += [work.audio(audio)] if audio else []
        inputs = [word for source in sources for word in ("-i", source)]
        maps = [word for number in range(len(sources)) for word in ("-map", str(number))]
        # What MP4 keeps in its header has to be in the stream itself here.
        repeated = ["-bsf:v", "dump_extra"] if video == "mpeg4" and extension in ("ts", "m2ts") else []
        encodes.ffmpeg(*inputs, *maps, "-c", "copy", "-strict", "-2", *repeated, *options.split(), to)
    return Recipe("-".join(filter(None, [layout, video, audio])), extension, make, None)


def with_gstreamer(work, layout, video, audio):
    extension, muxer = layouts.GSTREAMER[layout]

    def make(to):
        command = ["gst-launch-1.0", "-q", "-e", *muxer.split(), "name=m", "!", "filesink", f"location={to}"]
        for number, (encode, kind) in enumerate([(video, "video"), (audio, "audio")]):
            path = work.video(encode) if kind == "video" else work.audio(encode)
            demuxer = layouts.DEMUXERS[path.rsplit(".", 1)[1]]
            command += ["filesrc", f"location={path}", "!", demuxer, f"name=d{number}", f"d{number}.", "!", "queue", "!",
                        layouts.parser(encode), "!", "m."]
        encodes.run(command)
    return Recipe(f"{layout}-{video}-{audio}", extension, make, None)


def recipes(work):
    """Every recording of the matrix that may be made."""
    yield from (with_ffmpeg(work, *pair) for pair in pairs())
    yield from (with_ffmpeg(work, *pair) for pair in single_pairs())
    yield from (with_gstreamer(work, *pair) for pair in gstreamer_pairs())
    yield from (Recipe(name, extension, make, None) for name, extension, make in contents.recipes(work))
    yield from (Recipe(name, "flv", make, twin) for name, make, twin in enhanced.recipes(work))


# What the short form looks at: each way of finishing, each container, each kind of content.
SAMPLE = {
    "mp4_last-h264_b-aac", "mp4_frag-hevc_hdr10-aac", "mp4_delay_moov-av1-aac", "mov_frag-prores-pcm_s16le", "mov_last-h264_no_b-pcm_alaw",
    "mkv-h264_b-flac", "mkv_live-vp9-opus", "webm_live-vp8-vorbis", "flv-h264_b-aac", "flv-flv1-nellymoser", "ts-h264_b-eac3",
    "ts-hevc_hvc1-aac", "m2ts-h264_b-ac3", "avi-mpeg4-mp3", "ogg-opus", "wav-pcm_mulaw", "two_sounds-mkv", "chapters-mkv", "cover-mkv",
    "attached_font-mkv", "turned_90-mp4_frag", "hdr_boxes-mkv", "sound_first-ts", "timecode-mov_last", "slides-flv", "enhanced-hevc_hvc1",
}


def make(directory, is_sample=False, only=None):
    """Makes the matrix; what was made, and what could not be, with the reason: name -> words."""
    work = encodes.Workshop(os.path.join(directory, "encodes"))
    files = os.path.join(directory, "files")
    os.makedirs(files, exist_ok=True)
    made, not_made = [], {}
    for recipe in recipes(work):
        if (is_sample and recipe.name not in SAMPLE) or (only and not only.search(recipe.name)):
            continue
        path = os.path.join(files, f"{recipe.name}.{recipe.extension}")
        unfinished = os.path.join(files, f"part-{recipe.name}.{recipe.extension}")
        try:
            if not os.path.exists(path):
                recipe.make(unfinished)
                os.rename(unfinished, path)
            made.append(Made(recipe.name, path, recipe.twin and recipe.twin()))
        except (encodes.NotMade, OSError) as why:
            not_made[recipe.name] = str(why)
            if os.path.exists(unfinished):
                os.remove(unfinished)
    return made, not_made
