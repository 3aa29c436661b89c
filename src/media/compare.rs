//! Whether a written file holds what was meant to be written: promise 2 of the design. Pure.

use super::meter::TrackReading;
use super::{Reading, Remuxed};

/// How far durations may differ: containers round timestamps, and the last packet's duration is a guess in some.
const DURATION_SLACK_MS: i64 = 100;

/// What differs between what was written and what was read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another number of tracks.
    #[error("{written} tracks were written and {read} are there")]
    Tracks {
        /// Tracks with packets that were written.
        written: usize,
        /// Tracks with packets that were read back.
        read: usize,
    },
    /// Another codec or kind of track.
    #[error("track {track}: {written} was written and {read} is there")]
    Codec {
        /// Track number in the output, starting at 1.
        track: u32,
        /// Codec that was written.
        written: String,
        /// Codec that was read back.
        read: String,
    },
    /// Another number of packets.
    #[error("track {track}: {written} packets were written and {read} are there")]
    Packets {
        /// Track number in the output, starting at 1.
        track: u32,
        /// Packets that were written.
        written: u64,
        /// Packets that were read back.
        read: u64,
    },
    /// Other payloads.
    #[error("track {track}: the payloads are not those that were written")]
    Payload {
        /// Track number in the output, starting at 1.
        track: u32,
    },
    /// Another duration.
    #[error("track {track}: {written_ms} ms were written and {read_ms} ms are there")]
    Duration {
        /// Track number in the output, starting at 1.
        track: u32,
        /// Duration that was written, milliseconds.
        written_ms: i64,
        /// Duration that was read back, milliseconds.
        read_ms: i64,
    },
    /// The tracks have another distance to each other.
    #[error("track {track}: starts {written_ms} ms after the first track as written and {read_ms} ms as read")]
    Sync {
        /// Track number in the output, starting at 1.
        track: u32,
        /// Start that was written, milliseconds.
        written_ms: i64,
        /// Start that was read back, milliseconds.
        read_ms: i64,
    },
}

/// Compares what was written with a reading of the output: tracks, codecs, packets and payload digests exactly,
/// durations and starts within 100 ms (and one packet, for durations).
pub fn compare(remuxed: &Remuxed, output: &Reading) -> Result<(), Mismatch> {
    let written: Vec<_> = remuxed.tracks_written.iter().filter(|t| t.packets > 0).collect();
    let read: Vec<_> = output.tracks.iter().filter(|t| t.packets > 0).collect();
    if written.len() != read.len() {
        return Err(Mismatch::Tracks { written: written.len(), read: read.len() });
    }
    written.iter().zip(read).try_for_each(|(written, read)| compare_track(written, read))
}

fn compare_track(written: &TrackReading, read: &TrackReading) -> Result<(), Mismatch> {
    let track = read.number;
    if written.codec != read.codec || written.kind != read.kind {
        return Err(Mismatch::Codec { track, written: written.codec.clone(), read: read.codec.clone() });
    }
    if written.packets != read.packets && !written.joins_packets {
        return Err(Mismatch::Packets { track, written: written.packets, read: read.packets });
    }
    if written.digest != read.digest {
        return Err(Mismatch::Payload { track });
    }
    compare_times(track, written, read)
}

fn compare_times(track: u32, written: &TrackReading, read: &TrackReading) -> Result<(), Mismatch> {
    let packet_ms = written.duration_ms / i64::try_from(written.packets.max(1)).unwrap_or(i64::MAX);
    let (written_ms, read_ms) = (written.duration_ms, read.duration_ms);
    if (written_ms - read_ms).abs() > DURATION_SLACK_MS + packet_ms {
        return Err(Mismatch::Duration { track, written_ms, read_ms });
    }
    let (written_ms, read_ms) = (written.start_ms, read.start_ms);
    if (written_ms - read_ms).abs() > DURATION_SLACK_MS {
        return Err(Mismatch::Sync { track, written_ms, read_ms });
    }
    Ok(())
}
