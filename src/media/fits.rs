//! Which codec goes into which container (design §5). Codecs by FFmpeg's names.

use crate::recording::Container;

const MP4: &[&str] =
    &["h264", "hevc", "av1", "vp9", "mpeg4", "aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "mov_text"];
const MOV_TOO: &[&str] = &["mp2", "mjpeg", "prores", "dnxhd", "png", "mpeg2video", "vorbis"];
const WEBM: &[&str] = &["vp8", "vp9", "av1", "vorbis", "opus", "webvtt"];
const FLV: &[&str] = &["h264", "flv1", "vp6f", "vp6a", "flashsv", "aac", "mp3", "speex", "nellymoser", "adpcm_swf"];
const MPEGTS: &[&str] = &[
    "h264",
    "hevc",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "aac",
    "aac_latm",
    "mp2",
    "mp3",
    "ac3",
    "eac3",
    "opus",
    "dvb_subtitle",
];
/// Nothing we could write into Matroska holds these; an unknown codec cannot be named there either.
const NOT_MATROSKA: &[&str] = &[
    "none",
    "unknown_codec",
    "aac_latm",
    "nellymoser",
    "scte_35",
    "timed_id3",
    "bin_data",
    "klv",
    "epg",
    "dvb_teletext",
];

/// Whether a finished file of `container` may carry a track of `codec`.
///
/// MP2 sound is legal in MP4 and yet plays nowhere, so it does not count. Data tracks never fit.
pub fn fits(codec: &str, container: Container) -> bool {
    match container {
        Container::Mp4 => MP4.contains(&codec),
        Container::Mov => MP4.contains(&codec) || MOV_TOO.contains(&codec) || codec.starts_with("pcm_"),
        Container::Webm => WEBM.contains(&codec),
        Container::Matroska => !NOT_MATROSKA.contains(&codec),
        Container::Flv => FLV.contains(&codec),
        Container::MpegTs => MPEGTS.contains(&codec),
        Container::Ogg | Container::Wav | Container::Avi | Container::Ivf | Container::Mp3 | Container::Aac => false,
    }
}

/// Whether a finished file of `container` may carry a cover of `codec` among its metadata (`covr`).
pub(super) fn fits_as_cover(codec: &str, container: Container) -> bool {
    matches!(container, Container::Mp4 | Container::Mov) && matches!(codec, "mjpeg" | "png" | "bmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_design() {
        let all = |codecs: &[&str], container| codecs.iter().all(|c| fits(c, container));
        assert!(all(
            &["h264", "hevc", "av1", "vp9", "mpeg4", "aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"],
            Container::Mp4
        ));
        assert!(all(&["vp8", "vp9", "av1", "vorbis", "opus"], Container::Webm));
        assert!(!fits("mp2", Container::Mp4));
        assert!(fits("mp2", Container::Matroska));
        assert!(!fits("vp8", Container::Mp4));
        assert!(!fits("h264", Container::Webm));
        assert!(!fits("aac", Container::Webm));
        assert!(!fits("none", Container::Matroska));
    }
}
