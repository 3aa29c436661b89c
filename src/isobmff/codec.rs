//! Codec names as FFmpeg says them, from the coding name of a sample entry.

use super::headers::stsd::SampleEntry;

/// The codec's name, or the coding name itself where FFmpeg has none that is known here.
pub fn codec_name(entry: &SampleEntry) -> String {
    let known = match entry.original.0 {
        [b'm', b'p', b'4', b'a' | b'v' | b's'] => mpeg4_codec(entry),
        // The same name stands for pictures that are not coded.
        [b'r', b'a', b'w', b' '] if entry.dimensions.is_some() => Some("rawvideo"),
        other if entry.is_little_endian => little_endian(other).or_else(|| by_coding_name(other)),
        other => by_coding_name(other),
    };
    known.map_or_else(|| entry.original.to_string().trim().to_owned(), str::to_owned)
}

fn by_coding_name(fourcc: [u8; 4]) -> Option<&'static str> {
    Some(match &fourcc {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" => "h264",
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "hevc",
        b"av01" => "av1",
        b"vp08" => "vp8",
        b"vp09" => "vp9",
        b"jpeg" | b"mjpa" => "mjpeg",
        b"ac-3" => "ac3",
        b"dtsc" | b"dtsh" | b"dtsl" | b"dtse" => "dts",
        b"ec-3" => "eac3",
        b"Opus" => "opus",
        b"fLaC" => "flac",
        b"alac" => "alac",
        b".mp3" => "mp3",
        b"m2v1" | b"mx5p" | b"mx5n" | b"mx4p" | b"mx4n" | b"mx3p" | b"mx3n" | b"hdv1" | b"hdv2" | b"hdv3" | b"xdv1"
        | b"xdv2" | b"xdv3" | b"xdvb" | b"xdvc" => "mpeg2video",
        b"m1v " | b"m1v1" => "mpeg1video",
        b"AVdn" | b"AVdh" => "dnxhd",
        b"h263" | b"s263" | b"H263" => "h263",
        b"png " => "png",
        b"samr" => "amr_nb",
        b"sawb" => "amr_wb",
        b"sowt" | b"lpcm" | b"ipcm" => "pcm_s16le",
        b"raw " => "pcm_u8",
        b"in24" => "pcm_s24be",
        b"in32" => "pcm_s32be",
        b"fl32" => "pcm_f32be",
        b"fl64" => "pcm_f64be",
        b"twos" => "pcm_s16be",
        b"ulaw" => "pcm_mulaw",
        b"alaw" => "pcm_alaw",
        b"tx3g" | b"text" => "mov_text",
        b"wvtt" => "webvtt",
        b"stpp" => "ttml",
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "prores",
        _ => return None,
    })
}

fn little_endian(fourcc: [u8; 4]) -> Option<&'static str> {
    Some(match &fourcc {
        b"in24" => "pcm_s24le",
        b"in32" => "pcm_s32le",
        b"fl32" => "pcm_f32le",
        b"fl64" => "pcm_f64le",
        _ => return None,
    })
}

/// By `objectTypeIndication` (ISO/IEC 14496-1 §7.2.6.6.2 and the MP4 registration authority).
fn mpeg4_codec(entry: &SampleEntry) -> Option<&'static str> {
    Some(match entry.object_type {
        Some(0x20) => "mpeg4",
        Some(0x21) => "h264",
        Some(0x23) => "hevc",
        Some(0x40 | 0x66..=0x68) => "aac",
        Some(0x69 | 0x6B) => "mp3",
        Some(0x60..=0x65) => "mpeg2video",
        Some(0x6A) => "mpeg1video",
        Some(0x6C) => "mjpeg",
        Some(0xA5) => "ac3",
        Some(0xA6) => "eac3",
        Some(0xA9) => "dts",
        Some(0xAD) => "opus",
        Some(0xDD) => "vorbis",
        _ if entry.original.0 == *b"mp4a" => "aac",
        _ if entry.original.0 == *b"mp4v" => "mpeg4",
        _ => return None,
    })
}
