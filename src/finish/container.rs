//! Which container a recording is finished into (design §5): the settings govern conversion, not repair.

use super::FinishOptions;
use crate::recording::Container;

/// Chooses the container of the finished file.
///
/// MP4, MOV and WebM keep theirs whatever the settings say, unless what calls itself WebM holds what WebM has no place
/// for. Anything else becomes MP4 if that is enabled and every track fits, else WebM if that is enabled and every track
/// fits, else Matroska if every track fits, else it keeps its own; with both off it keeps its own, and so does what nothing
/// is written into (Ogg, WAVE, AVI, IVF, MP3, AAC).
/// `fits` says whether a container carries a codec; tracks are never dropped to make a recording fit.
pub fn finished_container(
    source: Container,
    codecs: &[&str],
    options: &FinishOptions,
    fits: impl Fn(&str, Container) -> bool,
) -> Container {
    let all_fit = |to: Container| codecs.iter().all(|codec| fits(codec, to));
    if source.is_iso() || source.is_kept() || source == Container::Webm && all_fit(source) {
        return source;
    }
    let wanted = [(options.mp4_muxing_enabled, Container::Mp4), (options.webm_muxing_enabled, Container::Webm)];
    if wanted.iter().all(|(enabled, _)| !enabled) {
        return source;
    }
    let enabled = wanted.into_iter().filter(|(enabled, _)| *enabled).map(|(_, to)| to);
    enabled.chain([Container::Matroska]).find(|to| all_fit(*to)).unwrap_or(source)
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
            (MpegTs, ["h264", "aac_latm"], [MpegTs; 4]),
            (Flv, ["flv1", "nellymoser"], [Flv; 4]),
            (Webm, ["h264", "opus"], [Mp4, Mp4, Matroska, Webm]),
            (Container::Ogg, ["vp8", "opus"], [Container::Ogg; 4]),
            (Container::Avi, ["h264", "mp3"], [Container::Avi; 4]),
        ];
        for (source, codecs, expected) in table {
            for ((mp4, webm), expected) in settings.into_iter().zip(expected) {
                let options =
                    FinishOptions { mp4_muxing_enabled: mp4, webm_muxing_enabled: webm, ..FinishOptions::default() };
                let chosen = finished_container(source, &codecs, &options, crate::media::fits);
                assert_eq!(chosen, expected, "{source:?} {codecs:?} mp4={mp4} webm={webm}");
            }
        }
    }
}
