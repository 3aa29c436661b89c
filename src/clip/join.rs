//! Samples of several files on the clock of the clip, track by track.
//!
//! A track of the clip takes those of each file that are of its kind and have its number among them. Its clock is as fine as the finest
//! of them, so that times do not drift. Gaps in sound are filled with silence ([`SilentPacket`]). Presentation times are exact; a decoding time that would not be later than the one before
//! it is raised.

use std::sync::Arc;

use super::cut::{Cut, SampleBudget};
use super::error::ClipError;
use super::indexed::{IndexedFile, PresentableTrack};
use super::silence::SilentPacket;
use crate::isobmff::{Track, common_timescale};
use crate::recording::TrackKind;

/// What a file gives to the clip.
#[derive(Debug)]
pub struct ClipPiece {
    /// The file.
    pub file: Arc<IndexedFile>,
    /// When its presentation begins on the clock of the clip, milliseconds; negative if it begins before the clip.
    pub begins_ms: i64,
    /// The same on the wall, milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Its samples.
    pub cuts: Vec<Cut>,
}

/// A sample of the clip; times in ticks of its track on the clock of the clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinedSample {
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
    pub samples: Vec<JoinedSample>,
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
pub fn joined(pieces: &[ClipPiece], length_ms: i64, budget: &mut SampleBudget) -> Result<Vec<JoinedTrack>, ClipError> {
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
fn clocks(pieces: &[ClipPiece]) -> Vec<(TrackKind, usize, u32)> {
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

impl ClipPiece {
    fn cut_of(&self, kind: TrackKind, number: usize) -> Option<&Cut> {
        self.cuts.iter().find(|cut| self.file.lanes_before(cut.lane) == (kind, number))
    }
}

impl IndexedFile {
    /// Kind of a lane, and how many of that kind stand before it.
    fn lanes_before(&self, lane: usize) -> (TrackKind, usize) {
        let kind = self.lanes[lane].track.kind();
        (kind, self.lanes[..lane].iter().filter(|other| other.track.kind() == kind).count())
    }
}

fn begun(lane: &PresentableTrack, timescale: u32) -> (JoinedTrack, Vec<u32>) {
    let mut track = lane.track.alone();
    track.media.timescale = timescale;
    let descriptions = u32::try_from(track.descriptions.entries().len()).unwrap_or(u32::MAX);
    let joined = JoinedTrack { track, samples: Vec::new(), begins: 0, ends: 0 };
    (joined, (1..=descriptions).collect())
}

/// Adds the descriptions of another file; says which number each of them has in the clip.
fn described(
    mut into: JoinedTrack,
    lane: &PresentableTrack,
    piece: &ClipPiece,
) -> Result<(JoinedTrack, Vec<u32>), ClipError> {
    let joined = into.track.descriptions.joined(&lane.track.descriptions, into.track.handler);
    // One coding name can stand for several codecs (`mp4a`: AAC, MP3).
    let joined = joined.filter(|_| into.track.codec() == lane.track.codec());
    let refused = || changed(&into.track, &lane.track, piece.start_ms);
    let (descriptions, numbers) = joined.ok_or_else(refused)?;
    into.track.descriptions = descriptions;
    Ok((into, numbers))
}

/// Says what changes: the codec, or else its coding name (`avc1`, `avc3`).
fn changed(was: &Track, is: &Track, at_ms: i64) -> ClipError {
    let coding_name = |track: &Track| track.entry().map_or_else(|| track.codec(), |entry| entry.fourcc.to_string());
    let said = if was.codec() == is.codec() { coding_name } else { Track::codec };
    ClipError::Codec { was: said(was), is: said(is), at_ms }
}

impl JoinedTrack {
    fn with(
        mut self,
        index: usize,
        piece: &ClipPiece,
        cut: &Cut,
        lane: &PresentableTrack,
        numbers: &[u32],
        budget: &mut SampleBudget,
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
            self.samples.push(JoinedSample {
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
    fn fill(&mut self, until: i64, piece: u32, budget: &mut SampleBudget) -> Result<(), ClipError> {
        let Some(last) = self.samples.last().copied() else { return Ok(()) };
        let Some(silence) = SilentPacket::of(&self.track, last.description_index) else { return Ok(()) };
        let begun = last.dts.saturating_add(last.duration);
        // Each from the beginning of the gap, so that rounding does not add up.
        let timescale = self.track.timescale();
        let at = |number: i64| begun.saturating_add(scaled(number * silence.samples, timescale, silence.rate_hz));
        for number in (0..).take_while(|number| at(number + 1) <= until) {
            budget.take(1)?;
            self.samples.push(JoinedSample {
                piece,
                silence: Some(silence.payload),
                offset: 0,
                size_bytes: u32::try_from(silence.payload.len()).unwrap_or(0),
                dts: at(number),
                pts: at(number),
                duration: at(number + 1) - at(number),
                ..last
            });
        }
        Ok(())
    }

    /// The same with the bounds of its presentation; `None` if there is nothing between them.
    fn bounded(mut self, length_ms: i64) -> Option<Self> {
        let first = self.samples.iter().map(|sample| sample.pts).min()?;
        let last = self.samples.iter().map(|sample| sample.pts.saturating_add(sample.duration)).max()?;
        self.begins = self.begins.max(first).max(0);
        self.ends = self.ends.min(last).min(scaled(length_ms, self.track.timescale(), 1000));
        self.describe_alone();
        (self.ends > self.begins).then_some(self)
    }
}

impl JoinedTrack {
    /// Leaves out all other descriptions if all samples have one: some players take the first description for the one of the track.
    fn describe_alone(&mut self) {
        let Some(used) = self.samples.first().map(|sample| sample.description_index) else { return };
        if self.samples.iter().any(|sample| sample.description_index != used) {
            return;
        }
        if let Some(only) = self.track.descriptions.only(used, self.track.handler) {
            self.track.descriptions = only;
            self.samples.iter_mut().for_each(|sample| sample.description_index = 1);
        }
    }
}

/// `value · to / from`, rounded to nearest.
pub fn scaled(value: i64, to: u32, from: u32) -> i64 {
    if to == from {
        return value;
    }
    let (to, from) = (i128::from(to), i128::from(from.max(1)));
    let ticks = (i128::from(value) * to * 2 + from).div_euclid(from * 2);
    i64::try_from(ticks).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::FourCc;

    /// A sound track whose sample entry says nothing but its name, two channels and 48 kHz.
    fn track(timescale: u32) -> Track {
        let mut stsd = b"\0\0\0\x34stsd\0\0\0\0\0\0\0\x01\0\0\0\x24Opus".to_vec();
        stsd.extend(*b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x02\0\x10\0\0\0\0\xBB\x80\0\0");
        Track::new(1, FourCc(*b"soun"), timescale, &stsd, (0, 0)).unwrap()
    }

    /// What a packet of the recording is said to last is rounded, or the end of a recording: silence lasts as long as it sounds.
    #[test]
    fn silence_is_as_long_as_the_gap_whatever_the_last_packet_is_said_to_last() {
        for said in [1, 20, 21, 500] {
            let last = JoinedSample {
                piece: 0,
                silence: None,
                offset: 0,
                size_bytes: 1,
                dts: 0,
                pts: 0,
                duration: said,
                is_sync: true,
                description_index: 1,
            };
            let mut joined = JoinedTrack { track: track(1024), samples: vec![last], begins: 0, ends: 0 };
            let mut budget = SampleBudget::of_process();
            joined.fill(said + 10 * 1024 + 19, 1, &mut budget).unwrap();
            let silence = &joined.samples[1..];
            assert_eq!(silence.len(), 500, "20 ms each, and less than a packet is left over");
            assert_eq!(silence.iter().map(|sample| sample.duration).sum::<i64>(), 10 * 1024);
            assert!(silence.iter().all(|s| s.piece == 1 && s.pts == s.dts && matches!(s.duration, 20 | 21)));
        }
    }
}
