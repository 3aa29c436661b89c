//! What a salvage says about itself: everything that is in the result, and everything that is not.

use serde::Serialize;

use super::reference::Origin;
use crate::recording::TrackKind;

/// Most gaps that are listed one by one.
pub const MAX_LISTED_GAPS: usize = 100;

/// The report of one salvage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where the codec configuration came from.
    pub source: Origin,
    /// How far the result can be trusted.
    pub confidence: Confidence,
    /// The tracks of the result.
    pub tracks: Vec<TrackReport>,
    /// Bytes that were looked at.
    pub media_bytes: u64,
    /// Bytes of it that nothing explains, the cut-off last sample among them.
    pub unexplained_bytes: u64,
    /// Zeros at the end of the file, which are no media.
    pub zero_tail_bytes: u64,
    /// The gaps, at most [`MAX_LISTED_GAPS`].
    pub gaps: Vec<GapReport>,
    /// How many gaps there are.
    pub gap_count: usize,
    /// How the pictures were timed: proven, declared, variable, none.
    pub frame_rate: &'static str,
}

/// How far the result can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Parts are guessed.
    Low,
    /// Packets are certain, times within a frame of sound or so, or a gap has more than one explanation.
    Medium,
    /// Packets, order and times are proven by the media.
    High,
}

/// One track of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackReport {
    /// What it carries.
    pub kind: TrackKind,
    /// Its codec, as FFmpeg says it.
    pub codec: String,
    /// Packets found.
    pub packets: u64,
    /// From the first to the end of the last, milliseconds.
    pub duration_ms: i64,
    /// Packets that gaps swallowed, by the best estimate.
    pub lost: i64,
}

/// Bytes that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GapReport {
    /// Byte offset in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Pictures lost in it, by the best estimate.
    pub lost_pictures: i64,
    /// Audio frames lost in it, by the best estimate.
    pub lost_audio: i64,
    /// Whether other numbers would fit nearly as well.
    pub is_ambiguous: bool,
}

impl Report {
    /// Packets that were found, of all tracks.
    pub fn packets(&self) -> u64 {
        self.tracks.iter().map(|track| track.packets).sum()
    }

    /// Packets that gaps swallowed, of all tracks.
    pub fn lost(&self) -> i64 {
        self.tracks.iter().map(|track| track.lost).sum()
    }
}
