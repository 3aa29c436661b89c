//! What libavformat passed over of a transport stream or an FLV file without a word: held against a walk of our own.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::media::whole::{tags, transport};
use crate::media::{MediaError, TrackReading};
use crate::recording::{Container, Defect, TrackKind, counted};

/// What a reading does not say of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrackEntry {
    /// Its number in the container, such as the PID.
    pub(super) id: i32,
    /// Whether it is a track of the output.
    pub(super) is_output: bool,
}

/// Codecs whose packets in a transport stream are all of its payload; Opus, for one, has a header of its own in front of each.
const ALL_PAYLOAD: [&str; 10] = ["h264", "hevc", "mpeg1video", "mpeg2video", "aac", "mp2", "mp3", "ac3", "eac3", "dts"];

/// The codec whose packets are put together anew while they are read, for its hidden pictures.
const REGROUPED: &str = "vp9";

/// What a walk of our own found.
#[derive(Debug)]
pub(super) enum OwnWalk {
    Transport(transport::TransportWalk),
    Tags(tags::TagBytes),
}

/// Walks through the source, if it is of a container whose demuxer keeps silent.
pub(super) fn walk(source: &Path, from: Container) -> Result<Option<OwnWalk>, MediaError> {
    let walk = |file: File| -> io::Result<Option<OwnWalk>> {
        let size_bytes = file.metadata()?.len();
        Ok(match from {
            Container::MpegTs => transport::walk(&mut &file, size_bytes)?.map(OwnWalk::Transport),
            Container::Flv => Some(OwnWalk::Tags(tags::walk(file, size_bytes)?)),
            _ => None,
        })
    };
    crate::durable::open_to_read(source).map_err(|e| e.source).and_then(walk).map_err(MediaError::open(source))
}

/// What the original holds and the output does not; the tracks as the demuxer handed them out, and where each is.
pub(super) fn defects(walked: &OwnWalk, tracks: &[TrackReading], entries: &[TrackEntry]) -> Vec<Defect> {
    match walked {
        OwnWalk::Transport(walked) => of_transport(walked, tracks, entries),
        OwnWalk::Tags(carried) => of_tags(carried, tracks),
    }
}

fn of_transport(walked: &transport::TransportWalk, tracks: &[TrackReading], entries: &[TrackEntry]) -> Vec<Defect> {
    let (bytes, places, misled) = (walked.skipped_bytes, walked.skipped_places, walked.misled());
    let skipped =
        (places > 0).then_some(Defect::Unexplained { bytes, places, offset: walked.skipped_from, lost_packets: 0 });
    let missing = format!("{} with a wrong PID", counted(misled, "TS packet"));
    let misled = (misled > 0).then_some(Defect::Truncated { missing });
    let misbegun = walked.misbegun();
    let missing = format!("the start of {}", counted(misbegun, "PES packet"));
    let misbegun = (misbegun > 0).then_some(Defect::Truncated { missing });
    let is_told =
        |(track, entry): &(&TrackReading, &TrackEntry)| entry.is_output && ALL_PAYLOAD.contains(&track.codec.as_str());
    let short = tracks.iter().zip(entries).filter(is_told).filter_map(|(track, entry)| {
        let pid = u16::try_from(entry.id).ok()?;
        let short = walked.bytes_of(pid).saturating_sub(track.bytes);
        // Of sound a frame that began before the recording is not handed out.
        let is_whole = track.kind == TrackKind::Video || walked.is_first_opened(pid);
        let may_lack = if is_whole { 0 } else { 2 * track.bytes / track.packets.max(1) };
        (short > may_lack).then(|| passed_over(short, &format!("track {}", track.number)))
    });
    skipped.into_iter().chain(misled).chain(misbegun).chain(short).collect()
}

fn of_tags(carried: &tags::TagBytes, tracks: &[TrackReading]) -> Vec<Defect> {
    let unknown = (carried.unknown_places > 0).then_some(Defect::Unexplained {
        bytes: carried.unknown_bytes,
        places: carried.unknown_places,
        offset: carried.unknown_from,
        lost_packets: carried.unknown_places,
    });
    let of_kind = |kind| tracks.iter().filter(|track| track.kind == kind).map(|track| track.bytes).sum::<u64>();
    let kinds = [(carried.picture_bytes, TrackKind::Video, "video"), (carried.sound_bytes, TrackKind::Audio, "audio")];
    let is_regrouped = |kind| tracks.iter().any(|track| track.kind == kind && track.codec == REGROUPED);
    let short = kinds.into_iter().filter(|(_, kind, _)| !is_regrouped(*kind)).filter_map(|(bytes, kind, what)| {
        let short = bytes.saturating_sub(of_kind(kind));
        (short > 0).then(|| passed_over(short, what))
    });
    unknown.into_iter().chain(short).collect()
}

fn passed_over(bytes: u64, of: &str) -> Defect {
    Defect::Truncated { missing: format!("{bytes} bytes of {of}, which the demuxer skipped") }
}
