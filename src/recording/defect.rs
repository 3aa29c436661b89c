//! What is wrong with a recording. A defect is data that travels with the recording, never an error.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is wrong with a recording or that was repaired while it was finished.
///
/// Serialised with a `kind` tag; the names are part of the stable JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Defect {
    /// The file has no bytes.
    Empty,
    /// The bytes are no container we know.
    NotMedia,
    /// ISO base media without a `moov` box (ISO/IEC 14496-12 §8.2.1): the writer died before it wrote the header.
    NoMovieHeader,
    /// No track holds a packet.
    NoPackets,
    /// A video track without a keyframe: nothing in it can be decoded.
    NoKeyframe,
    /// The file is shorter than it declares, or stops in the middle of a unit.
    Truncated {
        /// What is missing, in words (bytes, samples, milliseconds).
        missing: String,
    },
    /// Samples the header declares that lie outside the file.
    SamplesOutside {
        /// Track number, starting at 1.
        track: u32,
        /// How many samples point outside.
        samples: u64,
    },
    /// The structure contradicts itself.
    Malformed {
        /// Where (byte offset in the file), if known.
        offset: Option<u64>,
        /// What the standard asks for and what is there.
        detail: String,
    },
    /// Packets before the first keyframe that the finished file does not begin with.
    LeadingPacketsDropped {
        /// Track number, starting at 1.
        track: u32,
        /// How many packets.
        packets: u64,
    },
    /// Packets the demuxer itself called corrupt; they were left out.
    CorruptPackets {
        /// Track number, starting at 1.
        track: u32,
        /// How many packets.
        packets: u64,
    },
    /// Timestamps that had to be made monotonic.
    TimestampsRepaired {
        /// Track number, starting at 1.
        track: u32,
        /// How many packets were moved.
        packets: u64,
        /// The furthest a packet was moved, in milliseconds.
        worst_ms: i64,
    },
    /// Packets that the finished file presents at another time than the original, for no reason that is known.
    PresentationMoved {
        /// Track number, starting at 1.
        track: u32,
        /// How many packets.
        packets: u64,
        /// The furthest a packet was moved, in milliseconds.
        worst_ms: i64,
    },
    /// A jump in the timeline of a track: a pause, or another clock that was joined to the one before.
    TimestampGap {
        /// Track number, starting at 1.
        track: u32,
        /// Where it starts, milliseconds from the start.
        at_ms: i64,
        /// Its length in milliseconds; negative where the clock goes back.
        length_ms: i64,
    },
    /// A track that the finished container cannot carry and that was left out.
    TrackLeftOut {
        /// Track number, starting at 1.
        track: u32,
        /// The codec's name.
        codec: String,
        /// Why.
        reason: String,
    },
    /// Something beside the tracks that the finished container cannot carry: attached files, chapters, programmes.
    ContentLeftOut {
        /// What it is, in words.
        what: String,
        /// Why.
        reason: String,
    },
    /// A declared track with no packets in it; nothing is lost by leaving it out.
    EmptyTrack {
        /// Track number, starting at 1.
        track: u32,
        /// The codec's name.
        codec: String,
    },
    /// The container's claim of the duration and the samples disagree.
    DurationMismatch {
        /// What the container says, milliseconds.
        declared_ms: i64,
        /// What the samples say, milliseconds.
        measured_ms: i64,
    },
    /// A packet or frame that does not decode.
    Undecodable {
        /// Track number, starting at 1.
        track: u32,
        /// How many errors the decoder reported.
        errors: u64,
    },
    /// Whether it decodes is not known: the decoder crashed, took too long or too much memory.
    NotDecoded {
        /// What became of the decoder.
        reason: String,
    },
    /// The process died while it worked on this file, and again on the second try.
    KillsTheProcess {
        /// How many attempts were made.
        attempts: u32,
    },
    /// A number that the file states is beyond what is worked with here (`docs/limits.md`).
    BeyondLimit {
        /// What is too large.
        what: String,
        /// How large it is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// No other container takes what is in the file; it is kept in its own, and nothing is missing.
    NotConverted {
        /// Why not.
        reason: String,
    },
    /// The movie header is compressed (`cmov`), which is not expanded here.
    CompressedHeader,
    /// Encrypted media that cannot be checked or converted.
    Encrypted,
    /// The pictures of a crashed recording were found, but nothing says how they are coded.
    NeedsParameters {
        /// How many pictures were found.
        pictures: u64,
        /// The codec's name.
        codec: String,
    },
    /// A crashed recording of a codec whose packets cannot be told in the media, as other recordings of its stream say.
    NotRebuilt {
        /// The codec's name.
        codec: String,
    },
    /// Bytes of media that no sample table lists, or of a crashed recording in which no packet was found.
    Unexplained {
        /// How many bytes.
        bytes: u64,
        /// In how many places.
        places: u64,
        /// Byte offset of the first place in the original, if known.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        offset: Option<u64>,
        /// Packets that were lost there, by the best estimate.
        lost_packets: u64,
    },
}

impl Defect {
    /// Whether the recording cannot be finished because of it and is quarantined where it is.
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::NotMedia
                | Self::NoMovieHeader
                | Self::NoPackets
                | Self::NoKeyframe
                | Self::KillsTheProcess { .. }
                | Self::BeyondLimit { .. }
                | Self::CompressedHeader
                | Self::NeedsParameters { .. }
                | Self::NotRebuilt { .. }
        )
    }

    /// Whether the recording can be finished as soon as something says how its stream is coded.
    pub const fn is_missing_parameters(&self) -> bool {
        matches!(self, Self::NeedsParameters { .. })
    }

    /// Whether the finished file lacks something the original holds, so that the original must stay (promise 7).
    pub const fn leaves_something_out(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::SamplesOutside { .. }
                | Self::LeadingPacketsDropped { .. }
                | Self::CorruptPackets { .. }
                | Self::TrackLeftOut { .. }
                | Self::ContentLeftOut { .. }
                | Self::PresentationMoved { .. }
                | Self::Unexplained { .. }
        ) || self.is_fatal()
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "empty: the file has no bytes"),
            Self::NotMedia => write!(f, "not a recording: unknown container format"),
            Self::NoMovieHeader => write!(f, "no moov: the writer died before it wrote the MP4 header"),
            Self::NoPackets => write!(f, "no packets: the container holds no media packets"),
            Self::NoKeyframe => write!(f, "no keyframe: nothing in the video can be decoded"),
            Self::Truncated { missing } => write!(f, "truncated: {missing}"),
            Self::SamplesOutside { track, samples } => {
                write!(f, "track {track}: {} outside the file", counted(*samples, "sample"))
            }
            Self::Malformed { offset: Some(at), detail } => write!(f, "malformed at byte {at}: {detail}"),
            Self::Malformed { offset: None, detail } => write!(f, "malformed: {detail}"),
            Self::LeadingPacketsDropped { track, packets } => {
                write!(f, "track {track}: {} before the first keyframe left out", counted(*packets, "packet"))
            }
            Self::CorruptPackets { track, packets } => {
                write!(f, "track {track}: {} left out", counted(*packets, "corrupt packet"))
            }
            Self::TimestampsRepaired { track, packets, worst_ms } => {
                write!(f, "track {track}: {} repaired, the worst by {worst_ms} ms", counted(*packets, "timestamp"))
            }
            Self::PresentationMoved { track, packets, worst_ms } => {
                let packets = counted(*packets, "packet");
                write!(
                    f,
                    "track {track}: {packets} presented at a different time than in the original, the worst by {worst_ms} ms"
                )
            }
            Self::TimestampGap { track, at_ms, length_ms } if *length_ms < 0 => {
                write!(f, "track {track}: timestamps go back by {} ms at {at_ms} ms", length_ms.unsigned_abs())
            }
            Self::TimestampGap { track, at_ms, length_ms } => {
                write!(f, "track {track}: gap of {length_ms} ms at {at_ms} ms")
            }
            Self::TrackLeftOut { track, codec, reason } => write!(f, "track {track} ({codec}) left out: {reason}"),
            Self::ContentLeftOut { what, reason } => write!(f, "{what} left out: {reason}"),
            Self::EmptyTrack { track, codec } => write!(f, "track {track} ({codec}) is declared but holds no packets"),
            Self::DurationMismatch { declared_ms, measured_ms } => {
                write!(f, "duration mismatch: container {declared_ms} ms, samples {measured_ms} ms")
            }
            Self::Undecodable { track, errors } => write!(f, "track {track}: {}", counted(*errors, "decoding error")),
            Self::NotDecoded { reason } => write!(f, "not checked by a decoder: {reason}"),
            Self::KillsTheProcess { attempts } => {
                write!(f, "the process died {attempts} times while processing this file")
            }
            Self::BeyondLimit { what, found, limit } => write!(f, "{what} is {found}; the limit is {limit}"),
            Self::NotConverted { reason } => write!(f, "kept in its original container: {reason}"),
            Self::CompressedHeader => write!(f, "compressed movie header (`cmov`), which is not supported"),
            Self::Encrypted => write!(f, "encrypted: kept unchanged"),
            Self::NeedsParameters { pictures, codec } => needs_parameters(f, *pictures, codec),
            Self::NotRebuilt { codec } => not_rebuilt(f, codec),
            Self::Unexplained { bytes, places, offset, lost_packets } => {
                unexplained(f, *bytes, *places, *offset, *lost_packets)
            }
        }
    }
}

/// What is said of a codec that is not covered.
fn not_rebuilt(f: &mut fmt::Formatter<'_>, codec: &str) -> fmt::Result {
    write!(
        f,
        "{codec} is not rebuilt: the MP4 header was never written, and without it packet boundaries of this codec \
         cannot be found; the recording is unchanged"
    )
}

fn needs_parameters(f: &mut fmt::Formatter<'_>, pictures: u64, codec: &str) -> fmt::Result {
    match pictures {
        0 => {
            write!(f, "needs parameters: the beginning of the {codec} is lost, and its codec parameters are unknown")?;
        }
        1 => write!(f, "needs parameters: 1 {codec} picture found, but its codec parameters are unknown")?,
        _ => write!(f, "needs parameters: {pictures} {codec} pictures found, but their codec parameters are unknown")?,
    }
    write!(
        f,
        "; run `aftercast recover FILE --reference GOOD --output OUT` with an intact recording of the same stream"
    )
}

/// A number with what it counts: `1 packet`, `2 packets`, `2 entries`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    match (number, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {one}s"),
    }
}

/// What is said of bytes that no packet explains, with where the first of them are.
fn unexplained(
    f: &mut fmt::Formatter<'_>,
    bytes: u64,
    places: u64,
    offset: Option<u64>,
    lost_packets: u64,
) -> fmt::Result {
    match (offset, places) {
        (Some(at), 1) => write!(f, "unexplained: {bytes} bytes of media at byte {at} belong to no packet")?,
        (Some(at), _) => write!(
            f,
            "unexplained: {bytes} bytes of media in {places} places, the first at byte {at}, belong to no packet"
        )?,
        (None, _) => write!(f, "unexplained: {bytes} bytes of media belong to no packet")?,
    }
    match lost_packets {
        0 => Ok(()),
        1 => write!(f, ", about 1 packet lost"),
        lost => write!(f, ", about {lost} packets lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unexplained_is_said_with_its_place_and_no_number_of_nothing() {
        let said =
            |places, offset, lost_packets| Defect::Unexplained { bytes: 70, places, offset, lost_packets }.to_string();
        assert_eq!(said(1, Some(9), 0), "unexplained: 70 bytes of media at byte 9 belong to no packet");
        assert_eq!(said(0, None, 1), "unexplained: 70 bytes of media belong to no packet, about 1 packet lost");
        assert!(said(3, Some(9), 2).contains("in 3 places, the first at byte 9"));
    }

    #[test]
    fn one_is_no_plural() {
        let said = |packets| Defect::CorruptPackets { track: 2, packets }.to_string();
        assert_eq!(
            (said(1), said(2)),
            ("track 2: 1 corrupt packet left out".into(), "track 2: 2 corrupt packets left out".into())
        );
        assert_eq!([0, 1, 2].map(|n| counted(n, "delivery")), ["0 deliveries", "1 delivery", "2 deliveries"]);
    }

    #[test]
    fn the_json_is_tagged_and_comes_back() {
        let defect = Defect::TimestampsRepaired { track: 1, packets: 3, worst_ms: 40 };
        let json = serde_json::to_string(&defect).unwrap();
        assert_eq!(json, r#"{"kind":"timestamps_repaired","track":1,"packets":3,"worstMs":40}"#);
        assert_eq!(serde_json::from_str::<Defect>(&json).unwrap(), defect);
    }
}
