//! Whether a written file holds what was meant to be written: promise 2 of the design. Pure.

use super::meter::TrackReading;
use super::{MediaReading, Remuxed};
use crate::recording::{Defect, counted};

/// How far durations may differ: containers round timestamps, and the last packet's duration is a guess in some.
const DURATION_SLACK_MS: i64 = 100;

/// What differs between what was written and what was read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another number of tracks.
    #[error("{written} tracks were written, but {read} were found")]
    Tracks {
        /// Tracks with packets that were written.
        written: usize,
        /// Tracks with packets that were read back.
        read: usize,
    },
    /// Another codec or kind of track.
    #[error("track {track}: {written} was written, but {read} was found")]
    Codec {
        /// Track number in the output, starting at 1.
        track: u32,
        /// Codec that was written.
        written: String,
        /// Codec that was read back.
        read: String,
    },
    /// Another number of packets.
    #[error("track {track}: {written} packets were written, but {read} were found")]
    Packets {
        /// Track number in the output, starting at 1.
        track: u32,
        /// Packets that were written.
        written: u64,
        /// Packets that were read back.
        read: u64,
    },
    /// Other payloads.
    #[error("track {track}: the payloads differ from those that were written")]
    Payload {
        /// Track number in the output, starting at 1.
        track: u32,
    },
    /// Another duration.
    #[error("track {track}: {written_ms} ms were written, but {read_ms} ms were found")]
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
pub fn compare(remuxed: &Remuxed, output: &MediaReading) -> Result<(), Mismatch> {
    let (written, read) = (in_order(&remuxed.tracks_written), in_order(&output.tracks));
    if written.len() != read.len() {
        return Err(Mismatch::Tracks { written: written.len(), read: read.len() });
    }
    written.iter().zip(read).try_for_each(|(written, read)| compare_track(written, read))
}

/// Tracks with packets, covers last: containers that keep them beside the tracks have no order for both.
fn in_order(tracks: &[TrackReading]) -> Vec<&TrackReading> {
    let (covers, timed): (Vec<_>, Vec<_>) = tracks.iter().filter(|t| t.packets > 0).partition(|t| t.is_cover);
    [timed, covers].concat()
}

/// Tracks that start further apart in the output than in the source, beyond what movie headers round (ISO/IEC 14496-12
/// §8.6.6 counts in ticks of the movie, which are milliseconds).
const SYNC_SLACK_MS: i64 = 2;

/// What the output lacks or has otherwise although nothing says why: chapters, and presentation times that are not among the
/// repairs.
pub fn differences(remuxed: &Remuxed, output: &MediaReading) -> Vec<Defect> {
    let lost = remuxed.chapters.saturating_sub(output.chapters);
    let reason = || "the muxer did not write them".to_owned();
    let chapters =
        (lost > 0).then(|| Defect::ContentLeftOut { what: counted(lost as u64, "chapter"), reason: reason() });
    presentation_moved(remuxed, output).into_iter().chain(chapters).collect()
}

/// Packets that the output presents at another time than the source does, where that is not among the repairs.
///
/// Times are compared packet by packet and within a tick of the coarser container; from where they are counted is the container's
/// own choice, for all tracks alike. Where the muxer joins packets, there is nothing to compare them with.
fn presentation_moved(remuxed: &Remuxed, output: &MediaReading) -> Vec<Defect> {
    let moved = |track: &TrackReading| {
        let at = remuxed.tracks_written.iter().position(|other| other.number == track.number);
        at.and_then(|at| remuxed.moved.get(at)).copied().unwrap_or(0)
    };
    let pairs = in_order(&remuxed.tracks_written).into_iter().zip(in_order(&output.tracks));
    let timed = pairs.filter(|(written, _)| !written.is_cover && !written.joins_packets);
    let defect = |(written, read): (&TrackReading, &TrackReading)| {
        let apart_ms = (written.start_ms - read.start_ms).abs();
        let (packets, worst_ms) = match written.presented.differing(&read.presented) {
            _ if apart_ms > SYNC_SLACK_MS => (written.packets, apart_ms),
            Some((packets, worst_ms)) => (packets.saturating_sub(moved(written)), worst_ms),
            None => return None,
        };
        (packets > 0).then_some(Defect::PresentationMoved { track: written.number, packets, worst_ms })
    };
    timed.filter_map(defect).collect()
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
