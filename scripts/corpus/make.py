"""Makes recordings in every MP4 layout of the muxers, from a few encodes that are only remuxed."""

import os
import subprocess

VIDEO = "testsrc2=s={size}:r={rate}:d={seconds}"
AUDIO = "sine=f={tone}:b=2:r=48000:d={seconds}"
X264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -threads 1".split()

# Layouts of FFmpeg's own muxer: name -> arguments after `-c copy`.
LAYOUTS = {
    "last": [],
    "first": ["-movflags", "+faststart"],
    "timescale": ["-video_track_timescale", "90000", "-movflags", "use_metadata_tags", "-metadata", "title=Übertragung 1"],
    "negative_cts": ["-movflags", "+negative_cts_offsets"],
    "no_edits": ["-use_editlist", "0"],
    "shifted": ["-output_ts_offset", "1.37"],
    "frag_keyframe": ["-movflags", "frag_keyframe+empty_moov+default_base_moof"],
    "frag_moov": ["-movflags", "frag_keyframe"],
    "frag_every_frame": ["-movflags", "frag_every_frame+empty_moov+default_base_moof"],
    "frag_500ms": ["-movflags", "empty_moov", "-frag_duration", "500000"],
    "frag_per_track": ["-movflags", "frag_keyframe+empty_moov+separate_moof+default_base_moof"],
    "frag_negative_cts": ["-movflags", "frag_keyframe+empty_moov+negative_cts_offsets+default_base_moof"],
    "dash": ["-movflags", "dash+frag_keyframe+empty_moov+default_base_moof"],
    "dash_sidx": ["-movflags", "dash+global_sidx+frag_keyframe+empty_moov+default_base_moof"],
    "cmaf": ["-movflags", "cmaf+frag_keyframe+empty_moov+default_base_moof+skip_trailer"],
    "hybrid": ["-movflags", "frag_keyframe+empty_moov+delay_moov+default_base_moof", "-frag_duration", "1000000"],
    "prft": ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-write_prft", "wallclock"],
}

# GStreamer's muxers, for the same encodes: name -> (muxer with its properties, extension).
GSTREAMER = {
    "gst_mp4mux": ("mp4mux", "mp4"),
    "gst_faststart": ("mp4mux faststart=true", "mp4"),
    "gst_qtmux": ("qtmux", "mov"),
    "gst_frag": ("mp4mux fragment-duration=1000", "mp4"),
    "gst_frag_streamable": ("mp4mux fragment-duration=500 streamable=true", "mp4"),
    "gst_robust": ("qtmux reserved-moov-update-period=1000000000 reserved-max-duration=60000000000", "mov"),
}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")


def ffmpeg(*arguments):
    run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments])


def encodes(directory, seconds, size, seed):
    """The encodes that are remuxed: name -> (path, number of audio tracks)."""
    def source(rate, tones, shift=None):
        inputs = ["-f", "lavfi", "-i", f"{VIDEO.format(size=size, rate=rate, seconds=seconds)},hue=h={seed * 37 % 360}"]
        for tone in tones:
            inputs += ["-itsoffset", shift] if shift else []
            inputs += ["-f", "lavfi", "-i", AUDIO.format(tone=tone + seed % 50, seconds=seconds)]
        maps = [word for n in range(1 + len(tones)) for word in ("-map", str(n))]
        return [*inputs, *maps, "-shortest"]

    wanted = {
        "bframes": (1, [*source(30, [440]), *X264, "-bf", "2", "-g", "30", "-c:a", "aac"]),
        "lowdelay": (1, [*source(25, [330]), *X264, "-tune", "zerolatency", "-g", "50", "-c:a", "aac"]),
        "two_audio": (2, [*source(25, [300, 600]), *X264, "-bf", "2", "-g", "25", "-c:a", "aac"]),
        "late_audio": (1, [*source("30000/1001", [500], "0.73"), *X264, "-bf", "2", "-g", "30", "-c:a", "aac"]),
    }
    found = {}
    for name, (tracks, arguments) in wanted.items():
        # Matroska has timestamps in milliseconds: the tracks of one encode have uneven starts and steps.
        extension, muxer = ("mkv", "matroska") if name == "late_audio" else ("mp4", "mp4")
        path = os.path.join(directory, f"{name}.{extension}")
        if not os.path.exists(path):
            ffmpeg(*arguments, "-f", muxer, path + ".part")
            os.rename(path + ".part", path)
        found[name] = (path, tracks)
    return found


def with_ffmpeg(source, to, layout):
    if not os.path.exists(to):
        ffmpeg("-i", source, "-map", "0", "-c", "copy", *LAYOUTS[layout], "-f", "mov" if to.endswith("mov") else "mp4", to)


def with_gstreamer(source, to, muxer):
    if not os.path.exists(to):
        run(["gst-launch-1.0", "-q", "-e", "filesrc", f"location={source}", "!",
             "matroskademux" if source.endswith("mkv") else "qtdemux", "name=d",
             *muxer.split(), "name=m", "!", "filesink", f"location={to}",
             "d.video_0", "!", "queue", "!", "h264parse", "!", "m.", "d.audio_0", "!", "queue", "!", "aacparse", "!", "m."])


def make(directory, seconds=12, size="640x360", seed=1, wanted=None):
    """Makes every layout of every encode, or the wanted `(encode, layout)` pairs; returns the paths."""
    work = os.path.join(directory, "encodes")
    files = os.path.join(directory, "files")
    os.makedirs(work, exist_ok=True)
    os.makedirs(files, exist_ok=True)
    made = []
    for name, (source, tracks) in encodes(work, seconds, size, seed).items():
        for layout in LAYOUTS:
            if wanted is None or (name, layout) in wanted:
                made.append(os.path.join(files, f"{name}-{layout}.mp4"))
                with_ffmpeg(source, made[-1], layout)
        for layout, (muxer, extension) in GSTREAMER.items():
            if (wanted is None and tracks == 1) or (wanted and (name, layout) in wanted):
                made.append(os.path.join(files, f"{name}-{layout}.{extension}"))
                with_gstreamer(source, made[-1], muxer)
    return made
