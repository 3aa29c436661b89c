//! The VoD record: what the catalogue keeps of a finished recording, and how its id is made.
//!
//! Field names and units of Ant Media's `VoD` are kept in the JSON (`vodId`, `duration` in milliseconds, …),
//! so that whoever reads those can read these; the rest is ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::journey::Evidence;
use super::{Container, Defect, Fingerprint, Pictures, SalvageReport, SpliceUndo};

/// Version of [`VodRecord`] as stored.
pub const VOD_VERSION: u32 = 3;

/// What was done to make the finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was complete; it was only renamed or moved, or not touched at all.
    Kept,
    /// A new header was put in front of the same media.
    Spliced,
    /// Its packets were written into a new container.
    Remuxed,
    /// Its sample tables were rebuilt from the media.
    Salvaged,
}

impl Outcome {
    /// Its name, as JSON and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Spliced => "spliced",
            Self::Remuxed => "remuxed",
            Self::Salvaged => "salvaged",
        }
    }
}

/// How a header came in front of the media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpliceMethod {
    /// `fallocate(FALLOC_FL_INSERT_RANGE)`.
    InsertRange,
    /// `FICLONE` or a sharing `copy_file_range`.
    Reflink,
    /// `copy_file_range` inside the kernel.
    CopyRange,
    /// Read and write.
    Copy,
}

/// Where the start time was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartSource {
    /// The file's name.
    Name,
    /// The container's creation time.
    Container,
    /// The file's modification time minus the duration.
    Mtime,
}

/// What a VoD is, in Ant Media's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum VodType {
    /// A recorded stream.
    #[default]
    #[serde(rename = "streamVod")]
    Stream,
}

/// What kind of media a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Text for display.
    Subtitle,
    /// Anything else (SCTE-35, timed ID3, timecode).
    Data,
}

impl TrackKind {
    /// Its name, as JSON and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Subtitle => "subtitle",
            Self::Data => "data",
        }
    }
}

/// One track of the finished file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrackSummary {
    /// What it carries.
    pub kind: TrackKind,
    /// Codec name as FFmpeg says it (`h264`, `aac`, …).
    pub codec: String,
    /// Packets (samples) in the track.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Largest pts + duration minus smallest pts, milliseconds.
    pub duration_ms: i64,
    /// First presentation time, milliseconds from the start of the file.
    pub start_ms: i64,
    /// Picture size in pixels.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub width: Option<u32>,
    /// Picture size in pixels.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub height: Option<u32>,
    /// Mean frames per second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frame_rate: Option<f64>,
    /// Longest distance between two keyframes, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keyframe_interval_ms: Option<i64>,
    /// Samples per second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channels: Option<u32>,
    /// Language tag (ISO 639-2), if the container says one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub language: Option<String>,
    /// BLAKE3 of all payloads in order, hex, where they were read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
}

/// An object that holds the finished file, as the store reported it after the upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteObject {
    /// Name of the target in the configuration.
    pub target: String,
    /// Key inside the bucket or container.
    pub key: String,
    /// `s3://bucket/key`, `az://…`, `gs://…` or `file:///…`; never with a secret.
    pub url: String,
    /// Size the store reported.
    pub size_bytes: u64,
    /// Entity tag the store reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Version the store reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// `algorithm:value` as the store reported it and as it was compared with what was read from disk.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<String>,
    /// Whether the checksum (not only the size) was compared.
    #[serde(default)]
    pub checksum_compared: bool,
    /// When it was compared, milliseconds since the Unix epoch.
    pub verified_ms: i64,
    /// Fingerprint of the local file that was read for it.
    pub source: Fingerprint,
    /// When the inode of that file had changed last, nanoseconds since the Unix epoch; not noted by older versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_changed_ns: Option<i64>,
    /// What a later look at the object found to be otherwise; while it is set, the object proves nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub differs: Option<String>,
    /// Whether the object was read to find that: only reading it again can find otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub differs_when_read: bool,
    /// Whether it is a progressive copy of a fragmented file: the same packets in another number of bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_progressive_copy: bool,
}

/// What the catalogue keeps of one finished recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VodRecord {
    /// [`VOD_VERSION`] of the writer.
    pub version: u32,
    /// 24 base62 digits, see [`vod_id`].
    pub vod_id: String,
    /// The ingest server's id of the stream.
    pub stream_id: String,
    /// The stream's name; the id where nothing else is known.
    pub stream_name: String,
    /// File name with extension.
    pub vod_name: String,
    /// Absolute path of the finished file.
    pub file_path: PathBuf,
    /// The root that holds it.
    pub root: PathBuf,
    /// Duration in milliseconds, from the samples.
    pub duration: i64,
    /// When it was catalogued, milliseconds since the Unix epoch.
    pub creation_date: i64,
    /// Start of the recording, milliseconds since the Unix epoch.
    pub start_time: i64,
    /// Where the start time was taken from.
    pub start_source: StartSource,
    /// Size of the finished file in bytes.
    pub file_size: u64,
    /// Absolute path of the preview image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preview_file_path: Option<PathBuf>,
    /// The pictures that were made of it, or why there are none; since version 3.
    #[serde(skip_serializing_if = "Pictures::is_empty", default)]
    pub pictures: Pictures,
    /// Always a recorded stream.
    #[serde(rename = "type", default)]
    pub vod_type: VodType,
    /// Container of the finished file.
    pub container: Container,
    /// Its tracks in file order.
    pub tracks: Vec<TrackSummary>,
    /// Mean bits per second of the whole file.
    pub bitrate: u64,
    /// Duration that the source's container claimed, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub declared_duration: Option<i64>,
    /// Last modification minus start, milliseconds: the wall clock's view of the duration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wall_clock: Option<i64>,
    /// What is wrong with it or was repaired.
    #[serde(default)]
    pub defects: Vec<Defect>,
    /// What was done to make it.
    pub outcome: Outcome,
    /// How its header came to the front, if it was put there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub splice: Option<SpliceMethod>,
    /// What it takes to undo the splice, if the header was put in front of the file in place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub splice_undo: Option<SpliceUndo>,
    /// Whether its tables were rebuilt from media data.
    #[serde(default)]
    pub salvaged: bool,
    /// What was found and what was not, if they were.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub salvage: Option<Box<SalvageReport>>,
    /// BLAKE3 over the whole file, hex, once it was read through.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// The preset that read the name.
    pub server: String,
    /// Rendition, if the name says it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rendition: Option<String>,
    /// Where the recording lay when it was found.
    pub source_path: PathBuf,
    /// Fingerprint of the source when it was taken.
    pub source: Fingerprint,
    /// When the source's inode had changed last while it was read, nanoseconds since the Unix epoch; not noted by older
    /// versions, nor where the source itself became the finished file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_changed_ns: Option<i64>,
    /// Why the source counted as settled.
    pub evidence: Evidence,
    /// Path of the original, where it was kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original_path: Option<PathBuf>,
    /// Fingerprint of the finished file.
    pub fingerprint: Fingerprint,
    /// Proven copies in object stores.
    #[serde(default)]
    pub remote: Vec<RemoteObject>,
    /// When the local file was freed, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub freed_at: Option<i64>,
    /// What a person wrote about it; since version 2.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Names and values that a person or another program gave it; since version 2.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub metadata: BTreeMap<String, String>,
}

impl VodRecord {
    /// Path of the finished file relative to its root.
    pub fn relative_path(&self) -> &Path {
        self.file_path.strip_prefix(&self.root).unwrap_or_else(|_| Path::new(&self.vod_name))
    }

    /// The proven copy in a target.
    pub fn remote_in(&self, target: &str) -> Option<&RemoteObject> {
        self.remote.iter().find(|r| r.target == target)
    }
}

/// How many payloads of each track go into the id.
pub const ID_SAMPLES: usize = 32;
const ID_DIGITS: usize = 24;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes the id of a VoD: 24 base62 digits of SHA-256 over the stream id, the finished file's name, and per track
/// the sample count and a digest of the payloads of its first [`ID_SAMPLES`] samples.
///
/// It survives moves of the header, a rebuild of the catalogue and a restore to another disk; the same name recorded
/// again with other content is another VoD. `tracks` are (sample count, SHA-256 of the first payloads), in file order.
pub fn vod_id(stream_id: &str, file_name: &str, tracks: &[(u64, [u8; 32])]) -> String {
    let mut hash = Sha256::new();
    for text in [stream_id, file_name] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    for (samples, payloads) in tracks {
        hash.update(samples.to_be_bytes());
        hash.update(payloads);
    }
    base62(hash.finalize().into())
}

/// The lowest [`ID_DIGITS`] base62 digits of a 256-bit number, by long division.
fn base62(mut number: [u8; 32]) -> String {
    let digit = |number: &mut [u8; 32]| {
        let rest = number.iter_mut().fold(0u32, |rest, byte| {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            value % 62
        });
        char::from(BASE62[rest as usize])
    };
    (0..ID_DIGITS).map(|_| digit(&mut number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_24_alphanumeric_digits_and_depends_on_every_part() {
        let track = (750, [7; 32]);
        let id = vod_id("room1", "room1.mp4", &[track]);
        assert_eq!(id.len(), 24);
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(id, vod_id("room1", "room1.mp4", &[track]));
        assert_ne!(id, vod_id("room2", "room1.mp4", &[track]));
        assert_ne!(id, vod_id("room1", "room1_1.mp4", &[track]));
        assert_ne!(id, vod_id("room1", "room1.mp4", &[(751, [7; 32])]));
        assert_ne!(id, vod_id("room1", "room1.mp4", &[(750, [8; 32])]));
        assert_ne!(vod_id("a", "bc", &[]), vod_id("ab", "c", &[]));
    }

    #[test]
    fn base62_divides_the_whole_number() {
        let mut one = [0; 32];
        one[31] = 63;
        assert_eq!(base62(one), format!("11{}", "0".repeat(22)));
    }
}
