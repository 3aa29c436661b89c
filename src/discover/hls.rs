//! HLS and DASH units: a playlist and the files it names. A unit is delivered whole, never remuxed, never a `VoD`.
//!
//! Which files belong is decided by exact names (`room1` never touches `room10`) and by Ant Media's own segment
//! pattern, and by the numbers of a sliding playlist. Names that lead out of the playlist's directory (`..`, absolute, a URL) are ignored. This room must not
//! change or repair a playlist.

mod claim;
mod folder;
mod limits;
mod m3u8;
mod mpd;
mod refused;
mod sequence;
mod unit;

use std::path::{Path, PathBuf};

use crate::recording::{Container, Fingerprint};

pub(super) use claim::is_claimed;
pub(super) use folder::DirectoryListing;
pub(super) use unit::{Collected, collect};

/// What kind of unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// HTTP Live Streaming (RFC 8216).
    Hls,
    /// MPEG-DASH (ISO/IEC 23009-1).
    Dash,
}

/// Whether a unit may be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// `#EXT-X-ENDLIST`, or a static manifest: nothing will be added.
    Ended,
    /// Playlist and segments have been unchanged for three target durations without a writer.
    Unchanged {
        /// Milliseconds since the last change.
        for_ms: i64,
    },
    /// It is being written; worth another look at that time, milliseconds since the Unix epoch.
    Live {
        /// When to look again.
        until_ms: i64,
    },
}

impl Readiness {
    /// Whether the unit may be delivered now.
    pub const fn is_ready(self) -> bool {
        !matches!(self, Self::Live { .. })
    }
}

/// A playlist or manifest with the files it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// HLS or DASH.
    pub kind: UnitKind,
    /// The playlist or manifest; of a master playlist, the master.
    pub playlist: PathBuf,
    /// The root it was found under.
    pub root: PathBuf,
    /// What is delivered, in this order: initialisation and media segments first, then variant playlists, the
    /// playlist last. Only files that exist.
    pub files: Vec<PathBuf>,
    /// Names in the playlist for which there is no file (deleted by the server, or elsewhere).
    pub missing: usize,
    /// Fingerprint of the playlist when it was read.
    pub fingerprint: Fingerprint,
    /// Last change of playlists and newest segments, milliseconds since the Unix epoch.
    pub changed_ms: i64,
    /// Whether it may be delivered.
    pub ready: Readiness,
    /// Those of `files` that are media playlists without `#EXT-X-ENDLIST`: of a unit that is ready all the same, what the
    /// server would have written had it lived.
    pub unended: Vec<PathBuf>,
}

/// What decides whether a unit is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitFacts {
    /// Every media playlist has `#EXT-X-ENDLIST`, or the manifest is static.
    pub(super) has_ended: bool,
    /// Longest target duration of the playlists, milliseconds.
    pub(super) target_ms: i64,
    /// Last change of playlists and newest segments, milliseconds since the Unix epoch.
    pub(super) changed_ms: i64,
    /// Whether a process has the playlist or the newest segment open for writing.
    pub(super) has_writer: bool,
}

/// Target durations that must pass without a change.
const TARGETS_UNCHANGED: i64 = 3;

/// Whether a file may stand alone and serve as a segment as well.
pub(super) fn may_be_segment(path: &Path) -> bool {
    let container = path.extension().and_then(|e| e.to_str()).and_then(Container::from_extension);
    container.is_some_and(Container::may_be_segment)
}

/// Whether a unit may be delivered at that time (design §4).
pub(super) fn readiness(facts: UnitFacts, now_ms: i64) -> Readiness {
    if facts.has_ended {
        return Readiness::Ended;
    }
    let wait_ms = facts.target_ms.saturating_mul(TARGETS_UNCHANGED);
    let for_ms = now_ms.saturating_sub(facts.changed_ms);
    if facts.has_writer {
        Readiness::Live { until_ms: now_ms.saturating_add(facts.target_ms) }
    } else if for_ms >= wait_ms {
        Readiness::Unchanged { for_ms }
    } else {
        Readiness::Live { until_ms: facts.changed_ms.saturating_add(wait_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: UnitFacts = UnitFacts { has_ended: false, target_ms: 2000, changed_ms: 10_000, has_writer: false };

    #[test]
    fn a_unit_is_ready_at_its_end_or_after_three_target_durations() {
        assert_eq!(readiness(FACTS, 15_999), Readiness::Live { until_ms: 16_000 });
        assert_eq!(readiness(FACTS, 16_000), Readiness::Unchanged { for_ms: 6000 });
        assert_eq!(readiness(UnitFacts { has_ended: true, ..FACTS }, 10_000), Readiness::Ended);
        let written = readiness(UnitFacts { has_writer: true, ..FACTS }, 60_000);
        assert_eq!(written, Readiness::Live { until_ms: 62_000 });
        assert!(!written.is_ready());
    }
}
