//! What is in a file, without reading it through.

use std::path::Path;

use super::ffi::source::{PARAMETER_BYTES, StreamFacts};
use super::ffi::{MediaSource, ProbeDepth, TimeBase};
use super::{MediaError, whole};
use crate::recording::{Container, TrackKind};

/// A file as its headers and first megabytes describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What it was read as.
    pub container: Container,
    /// Length of the file, bytes.
    pub size_bytes: u64,
    /// Its tracks, in file order.
    pub tracks: Vec<ProbedTrack>,
    /// Duration that the container claims, milliseconds.
    pub declared_ms: Option<i64>,
    /// Creation time that the container claims, milliseconds since the Unix epoch.
    pub created_ms: Option<i64>,
    /// First timestamp, milliseconds.
    pub start_ms: Option<i64>,
    /// How many chapters it has.
    pub chapters: usize,
}

impl Probe {
    /// Whether there is something that stands in the header of a finished file beside its tracks.
    pub fn has_extras(&self) -> bool {
        self.chapters > 0 || self.tracks.iter().any(|track| track.is_cover)
    }
}

/// One track as it is described.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbedTrack {
    /// Track number, starting at 1.
    pub number: u32,
    /// What it carries.
    pub kind: TrackKind,
    /// Codec by FFmpeg's name; `none` where it is not known.
    pub codec: String,
    /// Whether it is a cover: one picture that belongs to the whole recording.
    pub is_cover: bool,
    /// Whether this FFmpeg can read it and enough is known to write it.
    pub is_readable: bool,
    /// Whether there is a codec configuration out of band.
    pub has_extradata: bool,
    /// Picture width in pixels.
    pub width: Option<u32>,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// Mean frames per second.
    pub frame_rate: Option<f64>,
    /// Samples per second.
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    pub channels: Option<u32>,
    /// Language tag.
    pub language: Option<String>,
    /// Duration that the container claims for the track, milliseconds.
    pub declared_ms: Option<i64>,
}

/// Looks at the headers and as many packets as the tracks need to be known, at most 32 MiB of them.
pub fn probe(path: &Path, container: Container) -> Result<Probe, MediaError> {
    let source = MediaSource::open(path, container, ProbeDepth::ParametersOnly(PARAMETER_BYTES))?;
    let flv = whole::flv::head(path, container).map_err(MediaError::open(path))?;
    Ok(Probe {
        container,
        size_bytes: source.size_bytes,
        tracks: source.tracks().into_iter().map(probed).collect(),
        declared_ms: flv.declared_ms.or(source.declared_ms()),
        created_ms: created_ms(&source.metadata()),
        start_ms: source.start_us().map(|us| TimeBase::MICROSECONDS.to_ms(us)),
        chapters: source.chapters().len(),
    })
}

fn probed(facts: StreamFacts) -> ProbedTrack {
    ProbedTrack {
        number: facts.number(),
        kind: facts.kind,
        is_readable: facts.is_described(),
        is_cover: facts.is_picture,
        has_extradata: !facts.extradata.is_empty(),
        codec: facts.codec,
        width: facts.width,
        height: facts.height,
        frame_rate: facts.frame_rate,
        sample_rate_hz: facts.sample_rate_hz,
        channels: facts.channels,
        language: facts.language,
        declared_ms: facts.declared_ms,
    }
}

/// The creation time among a container's metadata, milliseconds since the Unix epoch.
/// FFmpeg's name of the time at which a recording was made.
pub(super) const CREATION_TIME: &str = "creation_time";

pub(super) fn created_ms(metadata: &[(String, String)]) -> Option<i64> {
    let (_, text) = metadata.iter().find(|(key, _)| key == CREATION_TIME)?;
    let at: jiff::Timestamp = text.parse().ok()?;
    // Writers without a clock say 1904 (the epoch of ISO media) or 1970.
    (at.as_second() > 0).then(|| at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_time_is_utc_and_never_an_epoch() {
        let entry = |text: &str| [("creation_time".to_owned(), text.to_owned())];
        assert_eq!(created_ms(&entry("2026-03-04T14:30:15.250000Z")), Some(1_772_634_615_250));
        assert_eq!(created_ms(&entry("1904-01-01T00:00:00.000000Z")), None);
        assert_eq!(created_ms(&entry("yesterday")), None);
        assert_eq!(created_ms(&[]), None);
    }
}
