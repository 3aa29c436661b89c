//! The same packets in another container, in one pass.
//!
//! The finished file begins with the first packet that can be presented, its timestamps at zero, and the tracks keep their
//! distance; pictures begin at their first keyframe. What cannot be kept is named as a defect; sound and pictures are never
//! dropped to make a recording fit, but a track that cannot be read does not keep the others from being finished. The source is
//! digested on the way, so that a reading of the output can be compared with it ([`compare`](super::compare)).
//! Memory is bounded: packets are held only until the first keyframe, while the muxer interleaves one second, and half a
//! second of pictures until it is known when they must be decoded.
//!
//! A track that turns up only after the header was written, and a declared picture track that never sends a packet,
//! are learned the hard way: the attempt ends, and the next one knows.

mod attempt;
mod jump;
mod layout;
mod next;
mod passed_over;
mod reorder;
mod start;
mod track;

use std::collections::BTreeSet;
use std::path::Path;

use attempt::{RemuxAttempt, RemuxEnd};
use passed_over::TrackEntry;

use super::ffi::source::PARAMETER_BYTES;
use super::{MediaError, MediaReading, PassControl, TrackReading};
use crate::recording::name::printable;
use crate::recording::{Container, Defect};
use crate::threads::alongside;

/// Where the index of an MP4 goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderPlacement {
    /// To the front; the media is moved once more when all is written (`+faststart`).
    #[default]
    First,
    /// Nowhere yet: in fragments, so that the muxer remembers no packet; for a caller that makes one header of them and
    /// puts it in front.
    Fragments,
}

/// With which packet the output begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputStart {
    /// With the first keyframe of the first picture track, and all of the sound.
    #[default]
    AtKeyframe,
    /// With the first packet there is: of a damaged recording nothing is left out that is whole.
    AtFirstPacket,
}

/// What to remux.
#[derive(Debug, Clone, Copy)]
pub struct Remux<'a> {
    /// The recording.
    pub source: &'a Path,
    /// Its container.
    pub from: Container,
    /// An existing file that may be emptied and written.
    pub output: &'a Path,
    /// The wanted container.
    pub to: Container,
    /// Where the index of an MP4 goes.
    pub header: HeaderPlacement,
    /// With which packet the output begins.
    pub begins: OutputStart,
    /// Byte offsets at which further recordings begin in the same file, rising. They are joined as far as they are coded
    /// alike.
    pub recordings: &'a [u64],
    /// When the recording began, milliseconds since the Unix epoch; used where the source does not say.
    pub created_ms: Option<i64>,
    /// Stops the pass and hears of its progress.
    pub watch: PassControl<'a>,
}

impl<'a> Remux<'a> {
    /// A remux with the defaults.
    pub fn new(source: &'a Path, from: Container, output: &'a Path, to: Container) -> Self {
        Self {
            source,
            from,
            output,
            to,
            header: HeaderPlacement::First,
            begins: OutputStart::default(),
            recordings: &[],
            created_ms: None,
            watch: PassControl::default(),
        }
    }
}

/// What was written, and what the source held.
#[derive(Debug, Clone, PartialEq)]
pub struct Remuxed {
    /// The tracks of the output in its order, as they were handed to the muxer.
    pub tracks_written: Vec<TrackReading>,
    /// For each of them how many packets are presented at another time than in the source, for a reason that is among the
    /// defects: the time was hit, or did not come after the one before.
    pub moved: Vec<u64>,
    /// How many chapters were written.
    pub chapters: usize,
    /// The source as it was read on the way; its numbers count what was left out, too.
    pub source: MediaReading,
    /// What is wrong with the source and what was repaired or left out.
    pub defects: Vec<Defect>,
}

impl Remuxed {
    /// Whether the original holds something that the output does not.
    pub fn leaves_something_out(&self) -> bool {
        self.defects.iter().any(Defect::leaves_something_out)
    }
}

/// What an earlier attempt found out.
#[derive(Debug, Clone, Default)]
struct AttemptHints {
    /// Read so many bytes for the parameters of late tracks.
    look_bytes: Option<u64>,
    /// Tracks (index in the source) that never send a packet.
    silent: BTreeSet<usize>,
    /// Whether it is the last attempt: what turns up now is left out.
    is_last: bool,
}

const ATTEMPTS: usize = 5;
/// Beyond a late track's first packet, so that its parameters are found.
const LOOK_BEYOND_BYTES: u64 = PARAMETER_BYTES / 4;

impl AttemptHints {
    /// A track turned up at this byte. The second time, all of the file is looked at.
    fn note_late(&mut self, at: u64) {
        let near = at.saturating_add(LOOK_BEYOND_BYTES).max(PARAMETER_BYTES);
        self.look_bytes = Some(if self.look_bytes.is_none() { near } else { u64::MAX });
    }
}

/// Writes the packets of a recording into another container.
///
/// The output is complete and in the kernel's hands afterwards, not yet durable, and not yet compared. On any error
/// it holds nothing of use; the source is never touched.
///
/// # Errors
/// [`MediaError::Unfinishable`] where no finished file can be made (no packets, no keyframe),
/// [`MediaError::DoesNotFit`] where a track would be lost that another container carries,
/// [`MediaError::UnreadableTrack`] where no track can be read,
/// [`MediaError::Write`] with the operating system's error where the disk is full.
pub fn remux(request: &Remux<'_>) -> Result<Remuxed, MediaError> {
    // It reads the same bytes at the same time, which are in memory then.
    let (source, from) = (request.source, request.from);
    let (done, walked) = alongside(|| attempts(request), || passed_over::walk(source, from));
    let (mut remuxed, entries) = done?;
    let passed_over = walked?.map(|walked| passed_over::defects(&walked, &remuxed.source.tracks, &entries));
    remuxed.defects.extend(passed_over.into_iter().flatten());
    Ok(remuxed)
}

fn attempts(request: &Remux<'_>) -> Result<(Remuxed, Vec<TrackEntry>), MediaError> {
    let mut lessons = AttemptHints::default();
    for attempt in 1..=ATTEMPTS {
        lessons.is_last = attempt == ATTEMPTS;
        let ended = match RemuxAttempt::begin(request, &lessons) {
            // What the first megabytes do not tell may stand further on.
            Err(MediaError::UnreadableTrack { .. }) if lessons.look_bytes.is_none() => RemuxEnd::LateTrack { at: 0 },
            begun => begun?.run()?,
        };
        match ended {
            RemuxEnd::Done(remuxed, entries) => return Ok((*remuxed, entries)),
            RemuxEnd::LateTrack { at } => lessons.note_late(at),
            RemuxEnd::Silent { track } => drop(lessons.silent.insert(track)),
        }
        tracing::debug!(source = %printable(request.source), ?lessons, "restarting the remux");
    }
    Err(MediaError::Refused {
        path: request.source.to_owned(),
        action: "determine the tracks of",
        detail: format!("they changed in each of {ATTEMPTS} attempts"),
    })
}
