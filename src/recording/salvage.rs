//! What is said of a recording whose sample tables were rebuilt from its media: everything that is in the result, and
//! everything that is not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TrackKind;

/// Where the codec configuration came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterSource {
    /// A file that the operator named.
    Given,
    /// An earlier recording of the same stream.
    Stream,
    /// A recording beside it.
    Sibling,
    /// A recording of another stream, or of this one on another node.
    Other,
    /// The recording itself: parameter sets in the media, and what its frames say of themselves.
    Media,
}

impl ParameterSource {
    /// Its name, as JSON and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Stream => "stream",
            Self::Sibling => "sibling",
            Self::Other => "other",
            Self::Media => "media",
        }
    }
}

/// How far the result can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Parts are guessed.
    Low,
    /// Packets are certain, times within a frame of sound or so, or a gap has more than one explanation.
    Medium,
    /// Packets, order and times are proven by the media.
    High,
}

impl Confidence {
    /// Its name, as JSON and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The report of one salvage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SalvageReport {
    /// Where the codec configuration came from.
    pub source: ParameterSource,
    /// How far the result can be trusted.
    pub confidence: Confidence,
    /// The tracks of the result.
    pub tracks: Vec<SalvagedTrack>,
    /// Bytes that were looked at.
    pub media_bytes: u64,
    /// Bytes of it that nothing explains, the cut-off last sample among them.
    pub unexplained_bytes: u64,
    /// Zeros at the end of the file, which are no media.
    pub zero_tail_bytes: u64,
    /// The gaps, the first hundred.
    pub gaps: Vec<SalvageGap>,
    /// How many gaps there are.
    pub gap_count: usize,
    /// How the pictures were timed: proven, declared, variable, none.
    pub frame_rate: String,
    /// Pictures at the end whose time of being shown nothing tells: a variable rate hides it in when later pictures are decoded,
    /// and these were never written.
    #[serde(default)]
    pub guessed_pictures: u64,
    /// Errors of decoders on pictures and sound from the beginning, the middle and the end of the result; `None` where that was not
    /// tried, as in earlier versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decode_errors: Option<u64>,
}

/// One track of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SalvagedTrack {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SalvageGap {
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
    /// By how much longer or shorter it may have been in time, milliseconds at most: what the other numbers come to.
    /// Everything behind it comes as much too early or too late.
    #[serde(default)]
    pub doubt_ms: i64,
}

impl SalvageReport {
    /// Packets that were found, of all tracks.
    pub fn packets(&self) -> u64 {
        self.tracks.iter().map(|track| track.packets).sum()
    }

    /// Packets that gaps swallowed, of all tracks.
    pub fn lost(&self) -> i64 {
        self.tracks.iter().map(|track| track.lost).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_an_earlier_version_is_read() {
        let old = r#"{"offset":1,"bytes":2,"lostPictures":3,"lostAudio":4,"isAmbiguous":true}"#;
        let gap: SalvageGap = serde_json::from_str(old).unwrap();
        assert_eq!((gap.lost_audio, gap.doubt_ms), (4, 0));
    }

    #[test]
    fn the_json_comes_back() {
        let track =
            SalvagedTrack { kind: TrackKind::Video, codec: "h264".into(), packets: 9, duration_ms: 360, lost: 2 };
        let gap =
            SalvageGap { offset: 48, bytes: 4096, lost_pictures: 2, lost_audio: 3, is_ambiguous: true, doubt_ms: 80 };
        let report = SalvageReport {
            source: ParameterSource::Stream,
            confidence: Confidence::Medium,
            tracks: vec![track],
            media_bytes: 90_000,
            unexplained_bytes: 4096,
            zero_tail_bytes: 0,
            gaps: vec![gap],
            gap_count: 1,
            frame_rate: "proven".into(),
            guessed_pictures: 0,
            decode_errors: Some(0),
        };
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""source":"stream""#) && json.contains(r#""lostPictures":2"#), "{json}");
        assert_eq!(serde_json::from_str::<SalvageReport>(&json).unwrap(), report);
        assert_eq!((report.packets(), report.lost()), (9, 2));
    }
}
