"""Short encodes of every codec. All files of the matrix are muxed from them without encoding again."""

import os
import subprocess

SECONDS = 2
# Pipelines of elements that do not fit each other may wait for ever.
PATIENCE_SECONDS = 25
PICTURES = f"testsrc2=s=160x120:r=25:d={SECONDS}"
HIGH_BIT = "-pix_fmt yuv420p10le"
X264 = "-c:v libx264 -threads 1 -preset ultrafast -g 20"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1:frame-threads=1:keyint=20"
HDR10 = ("colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:hdr10=1:max-cll=1000,400:"
         "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)")
BT2020 = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv"

# Name -> FFmpeg's options, and a container that keeps the times of the codec as they are.
VIDEO = {
    "h264_b": (f"{X264} -bf 2 -pix_fmt yuv420p", "mp4"),
    "h264_no_b": (f"{X264} -bf 0 -pix_fmt yuv420p", "mp4"),
    "h264_interlaced": (f"{X264} -bf 2 -pix_fmt yuv420p -flags +ildct+ilme -x264-params tff=1 -field_order tt", "mp4"),
    "h264_10bit": (f"{X264} -bf 2 {HIGH_BIT}", "mp4"),
    "h264_open_gop": (f"{X264} -bf 3 -pix_fmt yuv420p -x264-params open-gop=1", "mp4"),
    "h264_bt709": (f"{X264} -bf 0 -pix_fmt yuv420p -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv", "mp4"),
    "h264_full_range": (f"{X264} -bf 0 -pix_fmt yuvj420p -color_range pc", "mp4"),
    "h264_sar": (f"{X264} -bf 2 -pix_fmt yuv420p -vf setsar=4/3", "mp4"),
    "h264_vfr": (f"{X264} -bf 2 -pix_fmt yuv420p -vf select='not(mod(n\\,3)*gt(mod(n\\,7)\\,2))' -vsync vfr", "mp4"),
    "h264_slides": (f"{X264} -bf 0 -pix_fmt yuv420p -vf select='not(mod(n\\,17))' -vsync vfr", "mp4"),
    "h264_one_frame": (f"{X264} -bf 0 -pix_fmt yuv420p -frames:v 1", "mp4"),
    "h264_ntsc": (f"{X264} -bf 2 -pix_fmt yuv420p -r 30000/1001", "mp4"),
    "hevc_hvc1": (f"{X265}:bframes=2 -pix_fmt yuv420p -tag:v hvc1", "mp4"),
    "hevc_hev1": (f"{X265}:bframes=0:repeat-headers=1 -pix_fmt yuv420p -tag:v hev1", "mp4"),
    "hevc_hdr10": (f"{X265}:bframes=2:{HDR10} {HIGH_BIT} {BT2020} -tag:v hvc1", "mp4"),
    "av1": ("-c:v libsvtav1 -preset 12 -g 20 -pix_fmt yuv420p", "mp4"),
    "av1_10bit": (f"-c:v libsvtav1 -preset 12 -g 20 {HIGH_BIT} {BT2020}", "mp4"),
    "vp8": ("-c:v libvpx -deadline realtime -cpu-used 8 -g 20 -b:v 200k", "mkv"),
    "vp8_hidden": ("-c:v libvpx -deadline good -cpu-used 5 -g 40 -b:v 150k -auto-alt-ref 1 -lag-in-frames 16", "mkv"),
    "vp9": ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -b:v 200k", "mp4"),
    "vp9_hidden": ("-c:v libvpx-vp9 -deadline good -cpu-used 5 -g 40 -b:v 150k -auto-alt-ref 1 -lag-in-frames 16", "mp4"),
    "vp9_bt709": ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -b:v 200k -colorspace bt709 -color_primaries bt709 "
                  "-color_trc bt709 -color_range tv", "mp4"),
    "mpeg1": ("-c:v mpeg1video -g 20 -bf 2", "ts"),
    "mpeg2": ("-c:v mpeg2video -g 20 -bf 2", "mp4"),
    "mpeg4": ("-c:v mpeg4 -g 20", "mp4"),
    "mpeg4_b": ("-c:v mpeg4 -g 20 -bf 2", "mp4"),
    "mjpeg": ("-c:v mjpeg -pix_fmt yuvj420p", "mov"),
    "prores": ("-c:v prores_ks -profile:v 1", "mov"),
    "dnxhd": ("-c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -vf scale=256:144", "mov"),
    "png": ("-c:v png", "mov"),
    "ffv1": ("-c:v ffv1 -level 3", "mkv"),
    "flv1": ("-c:v flv1 -g 20", "flv"),
    "flashsv": ("-c:v flashsv", "flv"),
    "theora": ("-c:v libtheora -g 20", "ogg"),
    "h263": ("-c:v h263 -vf scale=176:144", "mov"),
}

AUDIO = {
    "aac": ("-c:a aac -b:a 48k", "mp4"),
    "aac_mono_8k": ("-c:a aac -b:a 16k -ar 8000 -ac 1", "mp4"),
    "aac_5_1": ("-c:a aac -b:a 160k -ac 6", "mp4"),
    "he_aac": ("-c:a libfdk_aac -profile:a aac_he", "mp4"),
    "mp2": ("-c:a mp2", "mp4"),
    "mp3": ("-c:a libmp3lame -b:a 64k", "mp4"),
    "mp3_22k": ("-c:a libmp3lame -b:a 32k -ar 22050", "mp4"),
    "opus": ("-c:a libopus -b:a 32k", "ogg"),
    "vorbis": ("-c:a libvorbis", "ogg"),
    "flac": ("-c:a flac -strict -2", "mp4"),
    "ac3": ("-c:a ac3 -b:a 96k", "mp4"),
    "eac3": ("-c:a eac3 -b:a 96k", "mp4"),
    "alac": ("-c:a alac", "mov"),
    "dts": ("-c:a dca -strict -2", "mp4"),
    "speex": ("-c:a libspeex -ar 16000 -ac 1", "ogg"),
    "nellymoser": ("-c:a nellymoser -ar 11025", "flv"),
    "adpcm_swf": ("-c:a adpcm_swf -ar 22050", "flv"),
    "s302m": ("-c:a s302m -strict -2 -ac 2", "ts"),
    "truehd": ("-c:a truehd -strict -2 -ac 2", "mkv"),
    "amr_nb": ("-c:a libopencore_amrnb -ar 8000 -ac 1", "mov"),
    "pcm_s16le": ("-c:a pcm_s16le -ac 1", "mov"),
    "pcm_s16be": ("-c:a pcm_s16be -ac 1", "mov"),
    "pcm_s16le_44k": ("-c:a pcm_s16le -ac 1 -ar 44100", "mov"),
    "pcm_u8": ("-c:a pcm_u8 -ac 1 -ar 22050", "mov"),
    "pcm_alaw": ("-c:a pcm_alaw -ac 1 -ar 8000", "mov"),
    "pcm_mulaw": ("-c:a pcm_mulaw -ac 1 -ar 8000", "mov"),
    "pcm_s24le": ("-c:a pcm_s24le", "mov"),
    "pcm_f32le": ("-c:a pcm_f32le", "mov"),
}

TEXT = "1\n00:00:00,200 --> 00:00:00,900\nFirst line\n\n2\n00:00:01,000 --> 00:00:01,800\nSecond <i>line</i>\n"
CHAPTERS = (";FFMETADATA1\ntitle=Session\nartist=Somebody\ncomment=Second take\n"
            "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=800\ntitle=Start\n"
            "[CHAPTER]\nTIMEBASE=1/1000\nSTART=800\nEND=2000\ntitle=Vote\n")


class NotMade(Exception):
    """What a tool said of a file that it cannot make."""


def run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as late:
        raise NotMade(f"{command[0]} did not end within {PATIENCE_SECONDS} s") from late
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise NotMade(said[0][:160] if said else f"{command[0]} ended with {done.returncode}")


def ffmpeg(*arguments):
    run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments])


class Workshop:
    """A directory of encodes; each is made when it is first asked for, and a failure is remembered."""

    def __init__(self, directory):
        self.directory, self.failed = directory, {}
        os.makedirs(directory, exist_ok=True)

    def once(self, name, make):
        """The path of a file that `make(path)` writes, unless it is there."""
        path = os.path.join(self.directory, name)
        if name in self.failed:
            raise NotMade(self.failed[name])
        if not os.path.exists(path):
            unfinished = os.path.join(self.directory, "part-" + name)
            try:
                make(unfinished)
            except NotMade as why:
                self.failed[name] = str(why)
                raise
            os.rename(unfinished, path)
        return path

    def video(self, name):
        options, extension = VIDEO[name]
        return self.once(f"v-{name}.{extension}", lambda to: ffmpeg("-f", "lavfi", "-i", PICTURES, *options.split(), to))

    def audio(self, name, tone=440):
        options, extension = AUDIO[name]
        source = f"sine=f={tone}:b=2:r=48000:d={SECONDS}"
        return self.once(f"a-{name}-{tone}.{extension}", lambda to: ffmpeg("-f", "lavfi", "-i", source, *options.split(), to))

    def text(self, name, content):
        def write(path):
            with open(path, "w") as file:
                file.write(content)
        return self.once(name, write)

    def cover(self):
        return self.once("cover.jpg", lambda to: ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64:d=1", "-frames:v", "1", to))
