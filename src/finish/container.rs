//! Which container a recording is finished into (design §5): the settings govern conversion, not repair.

use super::Options;
use crate::recording::Container;

/// Chooses the container of the finished file.
///
/// MP4, MOV and WebM keep theirs whatever the settings say. Anything else becomes MP4 if that is enabled and every
/// track fits, else WebM if that is enabled and every track fits, else Matroska; with both off it keeps its own.
/// `fits` says whether a container carries a codec; tracks are never dropped to make a recording fit.
pub fn finished_container(
    source: Container,
    codecs: &[&str],
    options: &Options,
    fits: impl Fn(&str, Container) -> bool,
) -> Container {
    if source.is_iso() || source == Container::Webm {
        return source;
    }
    let wanted = [(options.mp4_muxing_enabled, Container::Mp4), (options.webm_muxing_enabled, Container::Webm)];
    if wanted.iter().all(|(enabled, _)| !enabled) {
        return source;
    }
    let all_fit = |to: Container| codecs.iter().all(|codec| fits(codec, to));
    wanted.into_iter().find(|(enabled, to)| *enabled && all_fit(*to)).map_or(Container::Matroska, |(_, to)| to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Container::{Flv, Matroska, Mp4, MpegTs, Webm};

    /// The table of the documented rule: source × codecs × (mp4, webm) settings.
    #[test]
    fn the_rule_holds_for_every_source_and_setting() {
        let settings = [(true, false), (true, true), (false, true), (false, false)];
        let table = [
            (Flv, ["h264", "aac"], [Mp4, Mp4, Matroska, Flv]),
            (Flv, ["hevc", "aac"], [Mp4, Mp4, Matroska, Flv]),
            (Webm, ["vp8", "vorbis"], [Webm; 4]),
            (Webm, ["vp9", "opus"], [Webm; 4]),
            (Matroska, ["vp9", "opus"], [Mp4, Mp4, Webm, Matroska]),
            (Mp4, ["vp9", "opus"], [Mp4; 4]),
            (MpegTs, ["h264", "mp2"], [Matroska, Matroska, Matroska, MpegTs]),
        ];
        for (source, codecs, expected) in table {
            for ((mp4, webm), expected) in settings.into_iter().zip(expected) {
                let options = Options { mp4_muxing_enabled: mp4, webm_muxing_enabled: webm, ..Options::default() };
                let chosen = finished_container(source, &codecs, &options, crate::media::fits);
                assert_eq!(chosen, expected, "{source:?} {codecs:?} mp4={mp4} webm={webm}");
            }
        }
    }
}
