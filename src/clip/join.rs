//! Samples of several files on the clock of the clip, track by track.
//!
//! A track of the clip takes those of each file that are of its kind and have its number among them. Its clock is as fine as the finest
//! of them, so that times do not drift. Gaps in sound are filled with silence ([`Silence`]). Presentation times are exact; a decoding time that would not be later than the one before
//! it is raised.

use std::sync::Arc;

use super::cut::{Budget, Cut};
use super::error::ClipError;
use super::indexed::{Indexed, Lane};
use super::silence::Silence;
use crate::isobmff::{Track, common_timescale};
use crate::recording::TrackKind;

/// What a file gives to the clip.
#[derive(Debug)]
pub struct Piece {
    /// The file.
    pub file: Arc<Indexed>,
    /// When its presentation begins on the clock of the clip, milliseconds; negative if it begins before the clip.
    pub begins_ms: i64,
    /// The same on the wall, milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Its samples.
    pub cuts: Vec<Cut>,
}

/// A sample of the clip; times in ticks of its track on the clock of the clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Which piece it is of; of a sample of silence, which one follows.
    pub piece: u32,
    /// The payload of a sample of silence; `None` of one that lies in the file.
    pub silence: Option<&'static [u8]>,
    /// Byte offset in that file.
    pub offset: u64,
    /// Size in bytes.
    pub size_bytes: u32,
    /// Decoding time.
    pub dts: i64,
    /// Presentation time.
    pub pts: i64,
    /// How long it lasts by itself.
    pub duration: i64,
    /// Whether decoding can begin here.
    pub is_sync: bool,
    /// Which entry of the track's `stsd` describes it, from 1.
    pub description_index: u32,
}

/// A track of the clip.
#[derive(Debug)]
pub struct JoinedTrack {
    /// Headers and descriptions; its tables and edits are empty.
    pub track: Track,
    /// The samples in decoding order; not empty.
    pub samples: Vec<Joined>,
    /// When its presentation begins, ticks; not negative.
    pub begins: i64,
    /// When its presentation ends, ticks; behind the beginning.
    pub ends: i64,
}

impl JoinedTrack {
    /// How long the sample at an index lasts: to the next one, or by itself.
    pub fn duration(&self, index: usize) -> i64 {
        let sample = &self.samples[index];
        self.samples.get(index + 1).map_or(sample.duration, |next| next.dts - sample.dts)
    }

    /// Decoding time of the first sample: zero of its media.
    pub fn origin(&self) -> i64 {
        self.samples.first().map_or(0, |sample| sample.dts)
    }
}

/// Joins pieces that follow one another into the tracks of a clip of a length in milliseconds; tracks of which nothing is presented
/// are left out.
pub fn joined(pieces: &[Piece], length_ms: i64, budget: &mut Budget) -> Result<Vec<JoinedTrack>, ClipError> {
    let mut tracks: Vec<JoinedTrack> = Vec::new();
    for (kind, number, timescale) in clocks(pieces) {
        let mut joined: Option<JoinedTrack> = None;
        for (index, piece) in pieces.iter().enumerate() {
            let Some(cut) = piece.cut_of(kind, number) else { continue };
            let lane = &piece.file.lanes[cut.lane];
            let (into, numbers) = match joined.take() {
                Some(into) => described(into, lane, piece)?,
                None => begun(lane, timescale),
            };
            joined = Some(into.with(index, piece, cut, lane, &numbers, budget)?);
        }
        tracks.extend(joined.and_then(|track| track.bounded(length_ms)));
    }
    Ok(tracks)
}

/// Kind and number of each track of the clip, and the ticks of its clock in a second.
fn clocks(pieces: &[Piece]) -> Vec<(TrackKind, usize, u32)> {
    let mut clocks: Vec<(TrackKind, usize, u32)> = Vec::new();
    for piece in pieces {
        for cut in &piece.cuts {
            let (kind, number) = piece.file.lanes_before(cut.lane);
            let own = piece.file.lanes[cut.lane].track.timescale();
            match clocks.iter_mut().find(|clock| (clock.0, clock.1) == (kind, number)) {
                // Where no clock has the ticks of both, the finer one is taken.
                Some(clock) => clock.2 = common_timescale(clock.2, own).unwrap_or(clock.2.max(own)),
                None => clocks.push((kind, number, own)),
            }
        }
    }
    clocks
}

impl Piece {
    fn cut_of(&self, kind: TrackKind, number: usize) -> Option<&Cut> {
        self.cuts.iter().find(|cut| self.file.lanes_before(cut.lane) == (kind, number))
    }
}

impl Indexed {
    /// Kind of a lane, and how many of that kind stand before it.
    fn lanes_before(&self, lane: usize) -> (TrackKind, usize) {
        let kind = self.lanes[lane].track.kind();
        (kind, self.lanes[..lane].iter().filter(|other| other.track.kind() == kind).count())
    }
}

fn begun(lane: &Lane, timescale: u32) -> (JoinedTrack, Vec<u32>) {
    let mut track = lane.track.alone();
    track.media.timescale = timescale;
    let descriptions = u32::try_from(track.descriptions.entries().len()).unwrap_or(u32::MAX);
    let joined = JoinedTrack { track, samples: Vec::new(), begins: 0, ends: 0 };
    (joined, (1..=descriptions).collect())
}

/// Adds the descriptions of another file; says which number each of them has in the clip.
fn described(mut into: JoinedTrack, lane: &Lane, piece: &Piece) -> Result<(JoinedTrack, Vec<u32>), ClipError> {
    let joined = into.track.descriptions.joined(&lane.track.descriptions, into.track.handler);
    let changed = || ClipError::Codec { was: into.track.codec(), is: lane.track.codec(), at_ms: piece.start_ms };
    let (descriptions, numbers) = joined.ok_or_else(changed)?;
    into.track.descriptions = descriptions;
    Ok((into, numbers))
}

impl JoinedTrack {
    fn with(
        mut self,
        index: usize,
        piece: &Piece,
        cut: &Cut,
        lane: &Lane,
        numbers: &[u32],
        budget: &mut Budget,
    ) -> Result<Self, ClipError> {
        let (own, clip) = (lane.track.timescale(), self.track.timescale());
        let begins = scaled(piece.begins_ms, clip, 1000);
        let at = |ticks: i64| begins.saturating_add(scaled(ticks.saturating_add(lane.shift), clip, own));
        let is_first = self.samples.is_empty();
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        if is_first {
            self.begins = begins;
        } else if let Some(first) = cut.samples.first() {
            self.fill(at(first.dts), index, budget)?;
        }
        for sample in &cut.samples {
            let least = self.samples.last().filter(|_| !is_first).map_or(i64::MIN, |last| last.dts + 1);
            let described = usize::try_from(sample.description_index).ok().and_then(|i| numbers.get(i.checked_sub(1)?));
            self.samples.push(Joined {
                piece: index,
                silence: None,
                offset: sample.offset,
                size_bytes: sample.size_bytes,
                dts: at(sample.dts).max(least),
                pts: at(sample.pts),
                duration: scaled(i64::from(sample.duration), clip, own),
                is_sync: sample.is_sync,
                description_index: described.copied().unwrap_or(1),
            });
        }
        self.ends = match lane.limit {
            i64::MAX => i64::MAX,
            limit => begins.saturating_add(scaled(limit, clip, own)),
        };
        Ok(self)
    }

    /// Fills the time to the next sample with silence, packet by packet; less than a packet is left over.
    fn fill(&mut self, until: i64, piece: u32, budget: &mut Budget) -> Result<(), ClipError> {
        let Some(last) = self.samples.last().copied() else { return Ok(()) };
        let Some(Silence { payload, duration }) = Silence::of(&self.track, last.duration) else { return Ok(()) };
        let mut at = last.dts.saturating_add(last.duration);
        while until.saturating_sub(at) >= duration {
            budget.take()?;
            self.samples.push(Joined {
                piece,
                silence: Some(payload),
                offset: 0,
                size_bytes: u32::try_from(payload.len()).unwrap_or(0),
                dts: at,
                pts: at,
                duration,
                ..last
            });
            at += duration;
        }
        Ok(())
    }

    /// The same with the bounds of its presentation; `None` if there is nothing between them.
    fn bounded(mut self, length_ms: i64) -> Option<Self> {
        let first = self.samples.iter().map(|sample| sample.pts).min()?;
        let last = self.samples.iter().map(|sample| sample.pts.saturating_add(sample.duration)).max()?;
        self.begins = self.begins.max(first).max(0);
        self.ends = self.ends.min(last).min(scaled(length_ms, self.track.timescale(), 1000));
        (self.ends > self.begins).then_some(self)
    }
}

/// `value · to / from`, rounded to nearest.
fn scaled(value: i64, to: u32, from: u32) -> i64 {
    if to == from {
        return value;
    }
    let (to, from) = (i128::from(to), i128::from(from.max(1)));
    let ticks = (i128::from(value) * to * 2 + from).div_euclid(from * 2);
    i64::try_from(ticks).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}
