"""The recordings to write. Each has unique packets, so that every packet identifies its recording."""

import hashlib
import os
import struct
import subprocess
from collections import Counter

H264 = "-c:v libx264 -threads 1 -preset ultrafast -crf 40 -bf 2 -g 15 -pix_fmt yuv420p -c:a aac -b:a 48k"
VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -g 15 -b:v 150k -c:a libopus -b:a 32k"

# Kind -> codecs and muxer, suffix during writing, extension, weight.
KINDS = {
    "MP4, header last": (f"{H264} -f mp4", ".tmp_extension", "mp4", 5),
    "MP4, fragmented": (f"{H264} -movflags frag_keyframe+empty_moov -f mp4", "", "mp4", 4),
    "FLV": (f"{H264} -f flv", ".tmp", "flv", 4),
    "FLV, appended": (f"{H264} -f flv", "", "flv", 3),
    "MPEG-TS": (f"{H264} -f mpegts", "", "ts", 3),
    "Matroska": (f"{H264} -f matroska", ".tmp", "mkv", 3),
    "WebM": (f"{VP8} -f webm", ".tmp_extension", "webm", 2),
    "MP4 of 20 MB": (f"{H264} -f mp4", ".tmp", "mp4", 1),
}
BIG_BYTES = 20 << 20


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-500:]}")
    return done.stdout


def packets(path):
    """Digests of all packets of a file, with their counts; empty if it cannot be read."""
    with open(path, "rb") as file:
        is_ts = file.read(1) == b"\x47"
    if is_ts:
        # In the same form as in all other containers: without parameter sets and ADTS.
        converted = f"{path}.as-mp4"
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", path, "-map", "0", "-c", "copy", "-f", "mp4", converted]
        subprocess.run(command, capture_output=True)
        try:
            return packets_in_order(converted, Counter)
        finally:
            if os.path.exists(converted):
                os.remove(converted)
    return packets_in_order(path, Counter)


def packets_in_order(path, collect=list):
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0", "-c", "copy", "-f", "framehash", "-hash", "md5", "-"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return collect(line.split(",")[5].strip() for line in lines if not line.startswith("#"))


class Source:
    """A recording and its state."""

    def __init__(self, number, kind, path):
        self.number, self.kind, self.path = number, kind, path
        self.state = "not written"  # Then: complete, cut, overwritten.
        self.may_be_twice = False
        self.born, self.tags = 0.0, None  # The time of its start; its tags, if it was appended to another.
        self.expected = packets(path)
        self.length = os.path.getsize(path)
        self.digest = None

    def is_cut_at(self, length):
        """Its writer crashed at this offset: only the part before it is expected."""
        self.state = "cut"
        if self.kind.startswith("MP4"):
            command = ["ffprobe", "-v", "error", "-show_entries", "packet=pos,size", "-of", "csv=p=0", self.path]
            # Ends with a comma if there is side data.
            ends = [sum(map(int, sorted(line.strip(",").split(",")[:2]))) for line in run(command).split()]
            whole = zip(packets_in_order(self.path), ends)
            self.expected = Counter(digest for digest, end in whole if end <= length)
            os.truncate(self.path, length)
        else:
            os.truncate(self.path, length)
            self.expected = packets(self.path)
        self.length = length
        self.digest = digest_of(self.path)

    def is_complete(self):
        self.state = "complete"
        self.digest = digest_of(self.path)
        os.remove(self.path)


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def make(number, kind, directory, seed):
    """Makes a unique recording of 2 to 4 seconds."""
    muxing, _, extension, _ = KINDS[kind]
    path = os.path.join(directory, f"{number}.{extension}")
    noise, seconds = (seed * 100_003 + number) % 2**31, 2 + number % 3
    video = f"testsrc2=s=160x120:r=15:d={seconds},noise=alls=12:allf=t:all_seed={noise}"
    audio = f"anoisesrc=a=0.05:seed={noise}:r=48000:d={seconds}"
    run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio,
         "-map", "0:v", "-map", "1:a", *muxing.split(), path])
    if "20 MB" in kind:
        pad(path, BIG_BYTES)
    return Source(number, kind, path)


def pad(path, size):
    """Extends an MP4 to this length with a `free` box at its end; returns whether that was possible."""
    missing = size - os.path.getsize(path)
    if missing < 8:
        return missing == 0
    with open(path, "ab") as file:
        file.write(struct.pack(">I4s", missing, b"free") + b"\x2e" * (missing - 8))
    return True


def tags_of(path, from_ms):
    """The audio and video tags of an FLV as a server appends them: with continued timestamps and without metadata."""
    with open(path, "rb") as file:
        body = file.read()
    at, tags = struct.unpack(">I", body[5:9])[0] + 4, bytearray()
    while at + 11 <= len(body):
        end = at + 11 + int.from_bytes(body[at + 1:at + 4], "big") + 4
        time_ms = from_ms + (int.from_bytes(body[at + 4:at + 7], "big") | body[at + 7] << 24)
        if body[at] in (8, 9):
            tags += body[at:at + 4] + (time_ms & 0xFFFFFF).to_bytes(3, "big") + bytes([time_ms >> 24]) + body[at + 8:end]
        at = end
    return bytes(tags)
