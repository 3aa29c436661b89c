//! Which FFmpeg is there and whether it has what is needed, for `doctor`.

use super::MediaError;
use super::ffi::library::{has_decoder, has_demuxer, has_muxer, present, ready};
use crate::recording::Container;

/// The FFmpeg that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Libraries and their versions (`libavformat 59.27.100`).
    pub libraries: Vec<String>,
    /// Licence of the build.
    pub license: String,
    /// Options it was configured with.
    pub configuration: String,
    /// Needed parts that are missing (`muxer mp4`, `decoder hevc`); empty is good.
    pub missing: Vec<String>,
}

const CONTAINERS: [Container; 6] =
    [Container::Mp4, Container::Mov, Container::Matroska, Container::Webm, Container::Flv, Container::MpegTs];
const DECODERS: &[&str] =
    &["h264", "hevc", "vp8", "vp9", "mpeg4", "aac", "mp3", "ac3", "eac3", "opus", "vorbis", "flac"];

/// Asks FFmpeg what it is; [`MediaError::NotLoaded`] if there is none that this program can use.
pub fn versions() -> Result<Versions, MediaError> {
    ready()?;
    Ok(Versions {
        libraries: vec![
            named("libavutil", ffmpeg_next::util::version()),
            named("libavcodec", ffmpeg_next::codec::version()),
            named("libavformat", ffmpeg_next::format::version()),
            named("libswscale", ffmpeg_next::software::scaling::version()),
        ],
        license: ffmpeg_next::format::license().to_owned(),
        configuration: ffmpeg_next::format::configuration().to_owned(),
        missing: missing(),
    })
}

/// Whether the FFmpeg that this program was built for is installed, without loading it; for the start of a daemon.
///
/// `Ok` is no promise that it can be loaded: only names of files were looked at. The error names the version that is needed and
/// those that are installed.
pub fn is_installed() -> Result<(), MediaError> {
    present()
}

fn named(library: &str, version: u32) -> String {
    format!("{library} {}.{}.{}", version >> 16, version >> 8 & 0xFF, version & 0xFF)
}

fn missing() -> Vec<String> {
    let demuxers = CONTAINERS.iter().filter(|c| !has_demuxer(**c)).map(|c| format!("demuxer {}", c.extension()));
    let muxers = CONTAINERS.iter().filter(|c| !has_muxer(**c)).map(|c| format!("muxer {}", c.extension()));
    let decoders = DECODERS.iter().filter(|name| !has_decoder(name)).map(|name| format!("decoder {name}"));
    demuxers.chain(muxers).chain(decoders).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_s_ffmpeg_has_all_that_is_needed() {
        let found = versions().unwrap();
        assert_eq!(found.missing, Vec::<String>::new());
        assert!(found.libraries.iter().any(|l| l.starts_with("libavformat ")));
        assert!(!found.license.is_empty());
    }
}
