//! The tables of all tracks while fragment after fragment is added.

use super::FragmentedMovie;
use super::clock::{ClockStep, FragmentClocks, FragmentStart};
use super::groups::SampleGroups;
use super::traf::{self, DataOffsetBase, RunSample, TrackFragmentHeader};
use super::trex::FragmentDefaults;
use crate::isobmff::build::{NewSample, TableBuilder};
use crate::isobmff::cursor::{ChildBox, children, children_of};
use crate::isobmff::error::{DefectLog, IsoError, MAX_NOTES};
use crate::isobmff::movie::Movie;
use crate::isobmff::track::{rescaled, saturating_i64};
use crate::recording::Defect;

/// No writer shows a picture so much later or earlier than it is decoded: a time that says so was hit. Seconds, and
/// samples where those last longer.
const MOST_COMPOSITION_S: i64 = 10;
const MOST_COMPOSITION_SAMPLES: i64 = 32;

/// One track on its way through the fragments.
struct TrackAssembly {
    trex: FragmentDefaults,
    timescale: u32,
    /// Composition offset of the last sample whose own could be believed.
    composition: i32,
    tables: TableBuilder,
    groups: SampleGroups,
    /// Decoding time of the track's first sample on the fragments' timeline.
    first_dts: u64,
    /// Samples that are not wholly in the file.
    lost: u64,
    /// Samples that were shortened because fragments overlap or whose composition time was hit, and by how many ticks the
    /// furthest was moved.
    repaired: (u64, u64),
    /// Where another clock was joined and by how much that is off, milliseconds.
    joined: Vec<(i64, i64)>,
}

pub(super) struct FragmentAssembly {
    movie: Movie,
    lanes: Vec<TrackAssembly>,
    clocks: FragmentClocks,
    len: u64,
    /// Bytes that samples may still be long together: samples of a file do not overlap, so a count that no bytes back
    /// cannot make more samples than the file has room for.
    budget_bytes: u64,
    whole_bytes: u64,
    stays_fragmented: Option<&'static str>,
    /// Where the recording begins that the fragments belong to.
    begins: u64,
}

/// Where the data of a `moof`'s track fragments lies.
struct DataPlace {
    /// Beginning of the recording.
    file: u64,
    moof: u64,
    /// End of the data so far, for fragments that do not say where theirs begins.
    end: u64,
    is_first: bool,
}

impl FragmentAssembly {
    pub(super) fn new(mut movie: Movie, len: u64) -> Result<Self, IsoError> {
        let defaults = movie.fragment_defaults.take().unwrap_or_default();
        let mut lanes = Vec::with_capacity(movie.tracks.len());
        for track in &movie.tracks {
            let trex = defaults.iter().find(|d| d.track_id == track.id()).copied();
            let trex = trex.unwrap_or(FragmentDefaults { track_id: track.id(), ..FragmentDefaults::default() });
            let (tables, lost) = TableBuilder::resume(&track.tables, len)?;
            let (timescale, groups) = (track.timescale(), SampleGroups::default());
            lanes.push(TrackAssembly {
                trex,
                timescale,
                composition: 0,
                tables,
                groups,
                first_dts: 0,
                lost,
                repaired: (0, 0),
                joined: Vec::new(),
            });
        }
        let stays_fragmented = movie.is_encrypted.then_some(ENCRYPTED);
        let clocks = FragmentClocks::new(lanes.iter().map(|lane: &TrackAssembly| lane.timescale));
        Ok(Self { movie, lanes, clocks, len, budget_bytes: len, whole_bytes: 0, stays_fragmented, begins: 0 })
    }

    /// Hears where the recording begins to which the next fragments belong.
    pub(super) const fn begin_at(&mut self, offset: u64) {
        self.begins = offset;
    }

    /// Adds one `moof`.
    pub(super) fn take(&mut self, bytes: &[u8], offset: u64, notes: &mut DefectLog) -> Result<(), IsoError> {
        let Some(moof) = children(bytes, offset).next() else { return Ok(()) };
        let mut place = DataPlace { file: self.begins, moof: offset, end: offset, is_first: true };
        self.meet_clocks(&moof);
        for found in children_of(&moof) {
            match &found.fourcc.0 {
                b"traf" => self.take_traf(&found, &mut place, notes)?,
                b"pssh" => self.stay_encrypted(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks at when all tracks of a fragment begin before the first sample is added.
    fn meet_clocks(&mut self, moof: &ChildBox<'_>) {
        let mut starts: Vec<FragmentStart> = Vec::new();
        for traf in children_of(moof).filter(|b| b.fourcc.0 == *b"traf") {
            let Some(track) = traf::track_id(&traf).and_then(|id| self.lane_of(id)) else { continue };
            let is_first = starts.iter().all(|start| start.track != track);
            starts.extend(traf::decode_time(&traf).filter(|_| is_first).map(|at| FragmentStart { track, at }));
        }
        let ends: Vec<Option<u64>> = self.lanes.iter().map(TrackAssembly::end).collect();
        for (track, step) in self.clocks.meet(&starts, &ends) {
            self.lanes[track].take_step(step);
        }
    }

    fn lane_of(&self, track_id: u32) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.trex.track_id == track_id)
    }

    fn stay_encrypted(&mut self) {
        self.movie.is_encrypted = true;
        self.stays_fragmented = Some(ENCRYPTED);
    }

    fn take_traf(&mut self, traf: &ChildBox<'_>, place: &mut DataPlace, notes: &mut DefectLog) -> Result<(), IsoError> {
        if children_of(traf).any(|b| matches!(&b.fourcc.0, b"senc" | b"saiz" | b"saio")) {
            self.stay_encrypted();
        }
        let id = traf::track_id(traf);
        let index = id.and_then(|id| self.lane_of(id));
        let lane = index.and_then(|index| self.lanes.get_mut(index));
        let header = lane.as_ref().and_then(|lane| traf::header(traf, lane.trex));
        let (Some(lane), Some(header)) = (lane, header) else {
            notes.malformed(traf.offset, "`traf` of a track that `moov` does not have (§8.8.6)");
            return Ok(());
        };
        if let (Some(at), Some(index)) = (traf::decode_time(traf), index) {
            let samples = lane.tables.count();
            let pause = lane.move_to(self.clocks.place(index, at), traf.offset, notes);
            self.clocks.note_pause(index, samples.saturating_sub(1), pause);
        }
        let base = place.base_of(header.base);
        let (mut at, first) = (base, lane.tables.count());
        for trun in children_of(traf).filter(|b| b.fourcc.0 == *b"trun") {
            let end = lane.take_run(&trun, &header, (base, at), (self.len, &mut self.budget_bytes), notes)?;
            at = end;
        }
        let stbl = index.map_or(&[][..], |index| &self.movie.tracks[index].kept.stbl);
        lane.groups.take(traf, stbl, first..lane.tables.count(), notes);
        place.end = at;
        place.is_first = false;
        self.whole_bytes = self.whole_bytes.max(at.min(self.len));
        Ok(())
    }

    pub(super) fn finish(mut self, is_torn: bool, notes: DefectLog) -> FragmentedMovie {
        let lanes = std::mem::take(&mut self.lanes);
        let mut starts = Vec::with_capacity(lanes.len());
        self.movie.defects.extend(notes.into_defects());
        for (index, mut lane) in lanes.into_iter().enumerate() {
            starts.push(lane.first_dts);
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            self.movie.defects.extend(lane.defects(number, is_torn));
            let track = &mut self.movie.tracks[index];
            lane.groups.write(&mut track.kept.stbl, lane.tables.count());
            lane.tables.settle_last();
            track.tables = lane.tables.finish();
        }
        self.movie.start_at(&starts);
        self.movie.settle_durations();
        self.movie.raw = Vec::new();
        FragmentedMovie {
            movie: self.movie,
            fragments: 0,
            left_behind: Vec::new(),
            // Where nothing is torn, boxes that are not known (MediaMTX's `mtxi`) may follow the last sample.
            whole_bytes: if is_torn { self.whole_bytes } else { self.len },
            stays_fragmented: self.stays_fragmented,
        }
    }
}

const ENCRYPTED: &str = "its samples are encrypted";

impl DataPlace {
    const fn base_of(&self, base: DataOffsetBase) -> u64 {
        match base {
            DataOffsetBase::File(at) if at < self.file => self.file + at,
            DataOffsetBase::File(at) => at,
            DataOffsetBase::Implicit if !self.is_first => self.end,
            DataOffsetBase::Implicit | DataOffsetBase::Moof => self.moof,
        }
    }
}

impl TrackAssembly {
    /// Where the samples so far end on the joined timeline; none without samples.
    fn end(&self) -> Option<u64> {
        (self.tables.count() > 0).then(|| self.first_dts.saturating_add(self.tables.end_dts()))
    }

    /// Takes note of what became of the clock.
    fn take_step(&mut self, step: ClockStep) {
        let ms = |ticks: u64| saturating_i64(rescaled(ticks, 1000, u64::from(self.timescale)));
        match step {
            ClockStep::Joined(ticks) if self.joined.len() < MAX_NOTES => {
                let off_ms = ms(u64::try_from(ticks.unsigned_abs()).unwrap_or(u64::MAX));
                self.joined.push((ms(self.tables.end_dts()), if ticks < 0 { -off_ms } else { off_ms }));
            }
            ClockStep::Joined(_) => {}
            ClockStep::Unpaused { sample, ticks } => {
                self.tables.shorten(sample, ticks);
                let moved = self.tables.count().saturating_sub(sample + 1);
                self.repaired = (self.repaired.0 + moved, self.repaired.1.max(ticks));
            }
        }
    }

    /// Goes to the decoding time that a fragment begins at; says how much longer the last sample lasts for that.
    fn move_to(&mut self, at: u64, offset: u64, notes: &mut DefectLog) -> u64 {
        let Some(end) = self.end() else {
            self.first_dts = at;
            return 0;
        };
        if at > end && !self.tables.extend_last(at - end) {
            notes.malformed(offset, format!("`tfdt` jumps by {} ticks, more than a sample can last", at - end));
        }
        if at < end {
            let shortened = self.tables.take_back(end - at);
            self.repaired = (self.repaired.0 + shortened, self.repaired.1.max(end - at));
        }
        at.saturating_sub(end)
    }

    /// Appends the samples of a `trun` as far as they are wholly in the file; says where their data ends.
    fn take_run(
        &mut self,
        trun: &ChildBox<'_>,
        header: &TrackFragmentHeader,
        (base, next): (u64, u64),
        (len, budget_bytes): (u64, &mut u64),
        notes: &mut DefectLog,
    ) -> Result<u64, IsoError> {
        let Some(mut run) = traf::run(trun, header.defaults, notes) else {
            notes.malformed(trun.offset, "`trun` is shorter than its own header (§8.8.8)");
            return Ok(next);
        };
        let mut at = run.data_offset.map_or(next, |offset| base.saturating_add_signed(i64::from(offset)));
        self.tables.close_chunk();
        while let Some(sample) = run.next() {
            let end = at.saturating_add(u64::from(sample.size_bytes));
            let Some(left) = budget_bytes.checked_sub(u64::from(sample.size_bytes)).filter(|_| end <= len) else {
                self.lost += 1 + u64::from(run.left());
                break;
            };
            *budget_bytes = left;
            let sample = self.plausible(sample);
            self.tables.push(placed(sample, at, header.defaults.description_index.max(1)))?;
            at = end;
        }
        Ok(at)
    }

    /// A sample whose composition time is not to be believed is shown as late as the one before.
    fn plausible(&mut self, sample: RunSample) -> RunSample {
        let by_samples = MOST_COMPOSITION_SAMPLES * i64::from(sample.duration);
        let most = (MOST_COMPOSITION_S * i64::from(self.timescale)).max(by_samples);
        if i64::from(sample.composition).abs() <= most {
            self.composition = sample.composition;
            return sample;
        }
        let moved = u64::from(sample.composition.abs_diff(self.composition));
        self.repaired = (self.repaired.0 + 1, self.repaired.1.max(moved));
        RunSample { composition: self.composition, ..sample }
    }

    fn defects(&self, number: u32, is_torn: bool) -> Vec<Defect> {
        let mut defects = Vec::new();
        let samples = self.lost;
        match (samples, is_torn) {
            (0, _) => {}
            (_, true) => defects.push(Defect::Truncated { missing: format!("{samples} samples of track {number}") }),
            (_, false) => defects.push(Defect::SamplesOutside { track: number, samples }),
        }
        let (packets, ticks) = self.repaired;
        // Packagers round; nobody hears or sees less than a millisecond.
        let worst_ms = saturating_i64(ticks.saturating_mul(1000) / u64::from(self.timescale).max(1));
        let joined = self.joined.iter().map(|(at_ms, length_ms)| (*at_ms, *length_ms));
        defects.extend(joined.map(|(at_ms, length_ms)| Defect::TimestampGap { track: number, at_ms, length_ms }));
        if packets > 0 && worst_ms > 0 {
            defects.push(Defect::TimestampsRepaired { track: number, packets, worst_ms });
        }
        defects
    }
}

fn placed(sample: RunSample, offset: u64, description_index: u32) -> NewSample {
    let RunSample { size_bytes, duration, composition, is_sync, dependency } = sample;
    NewSample { offset, size_bytes, duration, composition, is_sync, description_index, dependency }
}
