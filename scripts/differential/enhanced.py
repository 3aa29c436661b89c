"""FLV with the codecs of enhanced RTMP, which the FFmpeg of most distributions neither writes nor reads: written here from an MP4, which
is also what the result is held against."""

import json
import struct
import subprocess

import encodes

CODECS = {"hevc_hvc1": (b"hvc1", b"hvcC"), "hevc_hdr10": (b"hvc1", b"hvcC"), "av1": (b"av01", b"av1C"), "vp9": (b"vp09", b"vpcC")}
SEQUENCE_START, CODED_FRAMES, CODED_FRAMES_X = 0, 1, 3


def tag(kind, milliseconds, body):
    head = struct.pack(">B3s3sB3x", kind, len(body).to_bytes(3, "big"), (milliseconds & 0xFFFFFF).to_bytes(3, "big"), milliseconds >> 24 & 255)
    return head + body + struct.pack(">I", len(head) + len(body))


def picture(codec, milliseconds, later, is_key, data):
    """A coded picture; HEVC says how much later than decoded it is presented."""
    frame = 0x90 if is_key else 0xA0
    if codec == b"hvc1" and later:
        return tag(9, milliseconds, bytes([frame | CODED_FRAMES]) + codec + later.to_bytes(3, "big") + data)
    kind = CODED_FRAMES_X if codec == b"hvc1" else CODED_FRAMES
    return tag(9, milliseconds, bytes([frame | kind]) + codec + data)


def box(data, kind):
    at = data.index(kind)
    return data[at + 4:at - 4 + struct.unpack_from(">I", data, at - 4)[0]]


def packets_of(path):
    shown = ["-show_entries", "packet=codec_type,pts_time,dts_time,pos,size,flags", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "error", *shown, path], capture_output=True, text=True)
    return json.loads(done.stdout)["packets"]


def audio_configuration(data):
    """The AudioSpecificConfig in an `esds`: behind the tag 5 and its length (ISO/IEC 14496-1, 7.2.6.7)."""
    esds = box(data, b"esds")
    at = esds.index(b"\x05\x80\x80\x80") + 4
    return esds[at + 1:at + 1 + esds[at]]


def write(source, codec, configuration, to):
    """The packets of an MP4 as an enhanced FLV."""
    with open(source, "rb") as file:
        data = file.read()
    found = packets_of(source)
    # Decoding begins before zero where pictures are reordered, which FLV cannot say.
    earliest = min(float(packet["dts_time"]) for packet in found)
    out = [b"FLV\x01\x05\0\0\0\x09\0\0\0\0", tag(9, 0, bytes([0x90 | SEQUENCE_START]) + codec + box(data, configuration)),
           tag(8, 0, b"\xAF\0" + audio_configuration(data))]
    for packet in sorted(found, key=lambda packet: float(packet["dts_time"])):
        pts, dts = (round((float(packet[key]) - earliest) * 1000) for key in ("pts_time", "dts_time"))
        payload = data[int(packet["pos"]):int(packet["pos"]) + int(packet["size"])]
        if packet["codec_type"] == "video":
            out.append(picture(codec, dts, pts - dts, "K" in packet["flags"], payload))
        else:
            out.append(tag(8, dts, b"\xAF\1" + payload))
    with open(to, "wb") as file:
        file.write(b"".join(out))


def recipes(work):
    """Name, maker and twin of each."""
    for encode, (codec, configuration) in CODECS.items():
        def twin(encode=encode):
            inputs = lambda: ["-i", work.video(encode), "-i", work.audio("aac"), "-map", "0", "-map", "1", "-c", "copy"]
            return work.once(f"twin-{encode}.mp4", lambda to: encodes.ffmpeg(*inputs(), to))
        yield f"enhanced-{encode}", lambda to, twin=twin, codec=codec, box=configuration: write(twin(), codec, box, to), twin
