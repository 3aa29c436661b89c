//! Sample tables made sample by sample, compact as they grow: for fragments and for what salvage finds.
//!
//! Samples come in decoding order. Consecutive samples that lie together share a chunk. Assumes nothing about the
//! numbers; it refuses more samples than [`MAX_SAMPLES_PER_TRACK`].

use super::error::IsoError;
use super::samples::{Sample, SampleTables};
use super::tables::runs::{ValueRun, ValueRuns};
use super::tables::stsc::ChunkRun;
use super::tables::stsz::SampleSizes;
use crate::memory;

/// Most samples of a track that are listed one by one: sixteen days of AAC at 48 kHz.
pub const MAX_SAMPLES_PER_TRACK: u64 = 1 << 26;
/// And not more than one for so many bytes of the memory that the process may have: a sample takes some 20 bytes in the tables,
/// as many in the header that is written from them, and more while tracks are compared.
const MEMORY_BYTES_PER_SAMPLE: u64 = 64;
/// `sdtp` of a sample that depends on no other, which every sync sample says by being one.
const DEPENDS_ON_NONE: u8 = 0x20;

/// A sample to be appended; times in ticks of the track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSample {
    /// Byte offset in the file.
    pub offset: u64,
    /// Size in bytes.
    pub size_bytes: u32,
    /// Decoding duration.
    pub duration: u32,
    /// Composition time minus decoding time.
    pub composition: i32,
    /// Whether decoding can begin here.
    pub is_sync: bool,
    /// Which entry of `stsd` describes it, from 1.
    pub description_index: u32,
    /// Byte of `sdtp`; 0 if nothing is known.
    pub dependency: u8,
}

impl NewSample {
    /// A sample of other tables, as it is; nothing is known of what it depends on.
    pub fn of(sample: &Sample) -> Self {
        Self {
            offset: sample.offset,
            size_bytes: sample.size_bytes,
            duration: sample.duration,
            composition: i32::try_from(sample.pts.saturating_sub(sample.dts)).unwrap_or(0),
            is_sync: sample.is_sync,
            description_index: sample.description_index,
            dependency: 0,
        }
    }
}

/// Tables under construction.
#[derive(Debug, Clone, Default)]
pub struct TableBuilder {
    durations: ValueRuns<u32>,
    compositions: ValueRuns<i32>,
    sizes: Vec<u32>,
    chunk_offsets: Vec<u64>,
    chunk_runs: Vec<ChunkRun>,
    open: Option<OpenChunk>,
    sync: Vec<u32>,
    dependencies: Vec<u8>,
    end_dts: u64,
}

/// The chunk that the next sample may continue.
#[derive(Debug, Clone, Copy)]
struct OpenChunk {
    end: u64,
    samples: u32,
    description_index: u32,
}

impl TableBuilder {
    /// Goes on behind the samples of existing tables as far as these lie inside a file of `len` bytes, and together are
    /// no longer than it; the number of those left out is the second value.
    pub fn resume(tables: &SampleTables, len: u64) -> Result<(Self, u64), IsoError> {
        let mut builder = Self::default();
        let mut dependencies = tables.dependencies.iter().flatten();
        let mut budget_bytes = len;
        for sample in tables.samples() {
            let size = u64::from(sample.size_bytes);
            let is_inside = sample.offset.checked_add(size).is_some_and(|end| end <= len);
            let Some(left) = budget_bytes.checked_sub(size).filter(|_| is_inside) else { break };
            budget_bytes = left;
            let dependency = dependencies.next().copied().unwrap_or(0);
            builder.push(NewSample { dependency, ..NewSample::of(&sample) })?;
        }
        let left_out = tables.count() - builder.count();
        Ok((builder, left_out))
    }

    /// Number of samples so far.
    pub fn count(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// Decoding time behind the last sample, counted from the first.
    pub const fn end_dts(&self) -> u64 {
        self.end_dts
    }

    /// Appends a sample.
    pub fn push(&mut self, sample: NewSample) -> Result<(), IsoError> {
        check_count(self.count() + 1)?;
        self.place(&sample);
        self.sizes.push(sample.size_bytes);
        self.durations.push(sample.duration);
        self.compositions.push(sample.composition);
        self.dependencies.push(sample.dependency);
        self.end_dts += u64::from(sample.duration);
        if sample.is_sync {
            self.sync.push(u32::try_from(self.count()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    fn place(&mut self, sample: &NewSample) {
        let end = sample.offset.saturating_add(u64::from(sample.size_bytes));
        match &mut self.open {
            Some(open) if open.end == sample.offset && open.description_index == sample.description_index => {
                open.end = end;
                open.samples += 1;
            }
            _ => {
                self.close_chunk();
                self.chunk_offsets.push(sample.offset);
                self.open = Some(OpenChunk { end, samples: 1, description_index: sample.description_index });
            }
        }
    }

    /// Ends the current chunk: the next sample begins a new one, wherever it lies.
    pub fn close_chunk(&mut self) {
        let Some(OpenChunk { samples, description_index, .. }) = self.open.take() else { return };
        let is_same = |run: &ChunkRun| run.samples_per_chunk == samples && run.description_index == description_index;
        if !self.chunk_runs.last().is_some_and(is_same) {
            let first_chunk = u32::try_from(self.chunk_offsets.len()).unwrap_or(u32::MAX);
            self.chunk_runs.push(ChunkRun { first_chunk, samples_per_chunk: samples, description_index });
        }
    }

    /// Makes the last sample last longer. `false` if there is none, or if 32 bits do not hold its duration.
    pub fn extend_last(&mut self, ticks: u64) -> bool {
        let Some(last) = self.durations.pop_run() else { return false };
        let longer = u32::try_from(ticks).ok().and_then(|ticks| last.value.checked_add(ticks));
        self.durations.push_many(last.value, last.count - 1);
        self.durations.push(longer.unwrap_or(last.value));
        self.end_dts += longer.map_or(0, |_| ticks);
        longer.is_some()
    }

    /// Lets a last sample of duration 0, as a muxer writes it that cannot know better, last as long as the one before it:
    /// a player that ends a track by its duration would leave that sample out.
    pub fn settle_last(&mut self) {
        let Some(last) = self.durations.pop_run() else { return };
        let before = self.durations.as_slice().last().map_or(0, |run| run.value);
        let is_unknown = last.value == 0 && last.count == 1;
        self.durations.push_many(if is_unknown { before } else { last.value }, last.count);
        self.end_dts += u64::from(if is_unknown { before } else { 0 });
    }

    /// Lets the track end `ticks` earlier by shortening its last samples, down to nothing. Says how many samples were
    /// shortened; the track cannot end before it begins.
    pub fn take_back(&mut self, ticks: u64) -> u64 {
        let (mut left, mut emptied, mut touched) = (ticks, 0, 0);
        while left > 0 {
            let Some(ValueRun { count, value }) = self.durations.pop_run() else { break };
            let whole = count.min(left.checked_div(u64::from(value)).map_or(count, saturating_u32));
            left -= u64::from(whole) * u64::from(value);
            emptied += whole;
            touched += u64::from(if value == 0 { 0 } else { whole });
            let Some(kept) = (count - whole).checked_sub(1) else { continue };
            // Less than one duration is left to take: one sample is shortened and the rest stay.
            self.durations.push_many(value, kept);
            self.durations.push(value - saturating_u32(left));
            touched += u64::from(left > 0);
            left = 0;
        }
        self.durations.push_many(0, emptied);
        self.end_dts -= ticks - left;
        touched
    }

    /// Lets one sample (its number from 0) last so many ticks less, and what follows come so much earlier.
    pub fn shorten(&mut self, sample: u64, ticks: u64) {
        let mut behind: Vec<ValueRun<u32>> = Vec::new();
        let mut first = self.durations.count();
        while first > sample {
            let Some(run) = self.durations.pop_run() else { break };
            first -= u64::from(run.count);
            behind.push(run);
        }
        let Some(ValueRun { count, value }) = behind.pop() else { return };
        let before = saturating_u32(sample - first).min(count.saturating_sub(1));
        let shorter = value.saturating_sub(saturating_u32(ticks));
        self.durations.push_many(value, before);
        self.durations.push(shorter);
        self.durations.push_many(value, count - before - 1);
        behind.into_iter().rev().for_each(|run| self.durations.push_many(run.value, run.count));
        self.end_dts -= u64::from(value - shorter);
    }

    /// Lets every sample be composed so many ticks later after its decoding: decoding comes earlier, presentation stays.
    pub fn decode_earlier(&mut self, ticks: i32) {
        let mut compositions = ValueRuns::default();
        for run in self.compositions.as_slice() {
            compositions.push_many(run.value.saturating_add(ticks), run.count);
        }
        self.compositions = compositions;
    }

    /// The tables.
    pub fn finish(mut self) -> SampleTables {
        self.close_chunk();
        let is_all_sync = self.sync.len() == self.sizes.len();
        let is_said = |byte: &u8| *byte != 0 && !(is_all_sync && *byte == DEPENDS_ON_NONE);
        SampleTables {
            durations: self.durations,
            compositions: self.compositions.as_slice().iter().any(|run| run.value != 0).then_some(self.compositions),
            chunk_runs: self.chunk_runs,
            sizes: SampleSizes::compacted(self.sizes),
            chunk_offsets: self.chunk_offsets,
            sync: (!is_all_sync).then_some(self.sync),
            dependencies: self.dependencies.iter().any(is_said).then_some(self.dependencies),
        }
    }
}

fn saturating_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Samples of a track that are listed one by one in this process.
pub(super) fn sample_limit() -> u64 {
    memory::share(MEMORY_BYTES_PER_SAMPLE, MAX_SAMPLES_PER_TRACK)
}

fn check_count(found: u64) -> Result<(), IsoError> {
    let limit = sample_limit();
    if found > limit {
        return Err(IsoError::Limit { what: "number of samples in a track", found, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(offset: u64, duration: u32, is_sync: bool) -> NewSample {
        NewSample {
            offset,
            size_bytes: 10,
            duration,
            composition: 0,
            is_sync,
            description_index: 1,
            dependency: if is_sync { DEPENDS_ON_NONE } else { 0 },
        }
    }

    fn built(samples: &[NewSample]) -> TableBuilder {
        let mut builder = TableBuilder::default();
        samples.iter().try_for_each(|s| builder.push(*s)).unwrap();
        builder
    }

    #[test]
    fn samples_come_back_and_neighbours_share_a_chunk() {
        let builder = built(&[sample(0, 5, true), sample(10, 5, false), sample(50, 7, true)]);
        let tables = builder.finish();
        assert_eq!((&tables.chunk_offsets[..], tables.chunk_runs.len()), (&[0, 50][..], 2));
        assert_eq!(tables.samples().map(|s| (s.offset, s.dts)).collect::<Vec<_>>(), [(0, 0), (10, 5), (50, 10)]);
        assert_eq!(tables.sync, Some(vec![1, 3]));
        let again = TableBuilder::resume(&tables, 60).unwrap();
        assert_eq!((again.0.finish(), again.1), (tables.clone(), 0));
        assert_eq!(TableBuilder::resume(&tables, 59).unwrap().1, 1);
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let tables = built(&[sample(0, 5, true), sample(10, 5, true)]).finish();
        assert_eq!((tables.sync, tables.dependencies, tables.compositions), (None, None, None));
    }

    #[test]
    fn time_is_taken_back_from_the_last_samples() {
        for (ticks, touched, dts) in [(2, 1, 13), (5, 1, 10), (7, 2, 8), (15, 3, 0), (99, 3, 0)] {
            let mut builder = built(&[sample(0, 5, true), sample(10, 5, true), sample(20, 5, true)]);
            assert_eq!((builder.take_back(ticks), builder.end_dts()), (touched, dts), "{ticks}");
            assert_eq!(builder.finish().durations.count(), 3);
        }
    }

    #[test]
    fn a_sample_in_the_middle_is_shortened() {
        let durations = |shortened: u64, ticks| {
            let mut builder = built(&[5, 5, 105, 5, 7].map(|duration| sample(0, duration, true)));
            builder.shorten(shortened, ticks);
            let end = builder.end_dts();
            let durations: Vec<u32> = builder.finish().durations.cursor().collect();
            assert_eq!(end, durations.iter().copied().map(u64::from).sum::<u64>());
            durations
        };
        assert_eq!(durations(2, 100), [5, 5, 5, 5, 7]);
        assert_eq!(durations(0, 2), [3, 5, 105, 5, 7]);
        assert_eq!(durations(4, 99), [5, 5, 105, 5, 0]);
        assert_eq!(durations(9, 1), [5, 5, 105, 5, 7]);
    }

    #[test]
    fn a_last_sample_of_unknown_duration_lasts_like_the_one_before() {
        for (durations, expected) in [([5, 7, 0], [5, 7, 7]), ([5, 0, 0], [5, 0, 0]), ([5, 7, 9], [5, 7, 9])] {
            let mut builder = built(&durations.map(|duration| sample(0, duration, true)));
            builder.settle_last();
            assert_eq!(builder.end_dts(), expected.iter().copied().map(u64::from).sum::<u64>());
            assert_eq!(builder.finish().durations.cursor().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_last_sample_is_extended_as_far_as_its_field_goes() {
        let mut builder = built(&[sample(0, 5, true), sample(10, 5, true)]);
        assert!(builder.extend_last(100));
        assert_eq!(builder.end_dts(), 110);
        assert!(!builder.extend_last(1 << 32));
        assert_eq!(builder.finish().durations.cursor().collect::<Vec<_>>(), [5, 105]);
    }
}
