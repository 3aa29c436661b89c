"""Makes intact recordings in every container, and damages them."""

import os
import subprocess

H264 = "-c:v libx264 -threads 1 -preset ultrafast -crf 36 -bf 2 -g 15 -pix_fmt yuv420p"
AAC = "-c:a aac -b:a 48k"
VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -g 15 -b:v 150k"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 15 -b:v 150k"

# Name -> codecs and muxer, extension.
KINDS = {
    "mp4-last": (f"{H264} {AAC} -f mp4", "mp4"),
    "mp4-first": (f"{H264} {AAC} -movflags +faststart -f mp4", "mp4"),
    "mov": (f"{H264} {AAC} -f mov", "mov"),
    "fragmented": (f"{H264} {AAC} -movflags frag_keyframe+empty_moov -f mp4", "mp4"),
    "fragmented-often": (f"{H264} {AAC} -movflags empty_moov+default_base_moof -frag_duration 200000 -f mp4", "mp4"),
    "flv": (f"{H264} {AAC} -f flv", "flv"),
    "ts": (f"{H264} {AAC} -f mpegts", "ts"),
    "mkv": (f"{H264} {AAC} -f matroska", "mkv"),
    "mkv-short-clusters": (f"{H264} {AAC} -cluster_time_limit 300 -f matroska", "mkv"),
    "mkv-live": (f"{H264} -c:a libopus -b:a 32k -live 1 -f matroska", "mkv"),
    "webm-vp8": (f"{VP8} -c:a libvorbis -b:a 48k -f webm", "webm"),
    "webm-vp9": (f"{VP9} -c:a libopus -b:a 32k -f webm", "webm"),
}


def recording(directory, kind, seed, seconds=4):
    """The path of an intact recording of this kind, which is made if it does not exist."""
    muxing, extension = KINDS[kind]
    path = os.path.join(directory, f"{kind}-{seed}.{extension}")
    if not os.path.exists(path):
        video = f"testsrc2=s=160x120:r=15:d={seconds},noise=alls=12:allf=t:all_seed={seed}"
        audio = f"anoisesrc=a=0.05:seed={seed}:r=48000:d={seconds}"
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio,
                   "-map", "0:v", "-map", "1:a", *muxing.split(), path + ".part"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{kind}: {done.stderr.strip()[-400:]}")
        os.rename(path + ".part", path)
    return path


def flips(data, packets, chance):
    """Flips one to three bits anywhere."""
    return [flip(data, chance.randrange(len(data)), chance) for _ in range(chance.randint(1, 3))]


def flips_in_front_of_a_packet(data, packets, chance):
    """Flips one or two bits in the container's description of a packet, just before its payload."""
    at = chance.choice(packets).ranges[0][0]
    return [flip(data, max(at - chance.randint(1, 16), 0), chance) for _ in range(chance.randint(1, 2))]


def hole(data, packets, chance):
    """Zeroes blocks, as if they had never been written to the disk."""
    size = chance.choice([512, 4096, 16384])
    start = chance.randrange(max(len(data) // 512, 1)) * 512
    end = min(start + size, len(data))
    data[start:end] = bytes(end - start)
    return [(start, end)]


def cut(data, packets, chance):
    """Cuts off the end."""
    length, whole = chance.randrange(len(data) // 8, len(data)), len(data)
    del data[length:]
    return [(length, whole)]


def zeros_at_the_end(data, packets, chance):
    """Zeroes the end: the length was stored, the last blocks were not."""
    start = chance.randrange(len(data) // 2, len(data))
    data[start:] = bytes(len(data) - start)
    return [(start, len(data))]


def flip(data, at, chance):
    data[at] ^= 1 << chance.randrange(8)
    return at, at + 1


DAMAGES = [flips, flips, flips_in_front_of_a_packet, flips_in_front_of_a_packet, hole, cut, zeros_at_the_end]
