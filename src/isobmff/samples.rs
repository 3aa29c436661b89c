//! The samples of a track, one after the other, out of its compact tables.
//!
//! Nothing is materialised: a chunk walk sums the sizes, a sample walk adds the times. Where the tables disagree the
//! walk ends with the shorter one; it never panics and never leaves the tables.

use std::slice;

use super::tables::runs::RunCursor;
use super::tables::stsc::ChunkRun;
use super::tables::stsz::SampleSizes;
use super::tables::{ctts::CompositionOffsets, stts::Durations};
use super::timeline::DecodeClock;

/// The sample tables of a track (ISO/IEC 14496-12 §8.6, §8.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SampleTables {
    /// `stts`.
    pub durations: Durations,
    /// `ctts`; without it composition and decoding times are equal.
    pub compositions: Option<CompositionOffsets>,
    /// `stsc`.
    pub chunk_runs: Vec<ChunkRun>,
    /// `stsz` or `stz2`.
    pub sizes: SampleSizes,
    /// `stco` or `co64`: byte offsets in the file.
    pub chunk_offsets: Vec<u64>,
    /// `stss`: sample numbers from 1; without it every sample is a sync sample.
    pub sync: Option<Vec<u32>>,
    /// `sdtp`, one byte per sample.
    pub dependencies: Option<Vec<u8>>,
}

/// Consecutive samples of one track that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Byte offset in the file.
    pub offset: u64,
    /// Index of its first sample, from 0.
    pub first_sample: u64,
    /// Number of samples.
    pub samples: u32,
    /// Their sizes together, in bytes.
    pub size_bytes: u64,
    /// Which entry of `stsd` describes them, from 1.
    pub description_index: u32,
}

/// One sample on the media timeline, before edit lists; times in ticks of the track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Byte offset in the file.
    pub offset: u64,
    /// Size in bytes.
    pub size_bytes: u32,
    /// Decoding time.
    pub dts: i64,
    /// Composition time.
    pub pts: i64,
    /// Decoding duration.
    pub duration: u32,
    /// Whether decoding can begin here.
    pub is_sync: bool,
    /// Which entry of `stsd` describes it, from 1.
    pub description_index: u32,
}

impl SampleTables {
    /// Number of samples that `stsz` declares.
    pub fn count(&self) -> u64 {
        self.sizes.count()
    }

    /// Walks the chunks in order.
    pub fn chunks(&self) -> Chunks<'_> {
        let (sizes, count) = (&self.sizes, self.count());
        Chunks { sizes, count, offsets: self.chunk_offsets.iter(), runs: &self.chunk_runs, number: 0, sample: 0 }
    }

    /// Walks the samples in decoding order.
    pub fn samples(&self) -> Samples<'_> {
        self.samples_at(&DecodeClock::new(self), self.chunks(), (&self.sizes, 0))
    }

    /// Walks the samples from the first one of a chunk on, which the clock has been advanced to and the walk over the chunks comes to
    /// next. The sizes begin with that of a sample.
    pub(super) fn samples_at<'a>(
        &'a self,
        clock: &DecodeClock<'a>,
        chunks: Chunks<'a>,
        (sizes, sizes_begin): (&'a SampleSizes, u64),
    ) -> Samples<'a> {
        let mut compositions = self.compositions.as_ref().map(|c| c.cursor());
        if let Some(compositions) = &mut compositions {
            compositions.go_past(clock.index);
        }
        Samples {
            sizes,
            sizes_begin,
            chunks,
            left: 0,
            description_index: 1,
            offset: 0,
            index: clock.index,
            dts: clock.dts,
            durations: clock.durations.clone(),
            last_duration: clock.last,
            compositions,
            sync: self.sync.as_deref(),
        }
    }

    /// Number of samples that lie in a chunk; less than [`Self::count`] if the tables disagree.
    pub fn count_in_chunks(&self) -> u64 {
        self.used().1
    }

    /// Number of chunks in use and of the samples in them.
    pub(super) fn used(&self) -> (usize, u64) {
        let mut chunks = self.chunks();
        let places = std::iter::from_fn(|| chunks.next_place());
        places.fold((0, 0), |(chunks, samples), (_, run, _)| (chunks + 1, samples + u64::from(run)))
    }
}

/// Walk over [`Chunk`]s; as long as there are chunk offsets and samples left.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    pub(super) sizes: &'a SampleSizes,
    /// Samples of the track.
    pub(super) count: u64,
    pub(super) offsets: slice::Iter<'a, u64>,
    pub(super) runs: &'a [ChunkRun],
    /// Chunks that were passed.
    pub(super) number: u32,
    /// Samples in them.
    pub(super) sample: u64,
}

impl Chunks<'_> {
    /// Offset, number of samples and description of the next chunk; its size is not added up.
    fn next_place(&mut self) -> Option<(u64, u32, u32)> {
        let left = self.count - self.sample;
        if left == 0 {
            return None;
        }
        let offset = *self.offsets.next()?;
        self.number = self.number.saturating_add(1);
        while self.runs.get(1).is_some_and(|next| next.first_chunk <= self.number) {
            self.runs = &self.runs[1..];
        }
        let run = self.runs.first()?;
        let samples = u32::try_from(left).unwrap_or(u32::MAX).min(run.samples_per_chunk);
        self.sample += u64::from(samples);
        Some((offset, samples, run.description_index))
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let first_sample = self.sample;
        let (offset, samples, description_index) = self.next_place()?;
        let size_bytes = self.sizes.sum(first_sample..self.sample);
        Some(Chunk { offset, first_sample, samples, size_bytes, description_index })
    }
}

/// Walk over [`Sample`]s.
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    sizes: &'a SampleSizes,
    /// Which sample the first size is of.
    sizes_begin: u64,
    chunks: Chunks<'a>,
    left: u32,
    description_index: u32,
    offset: u64,
    index: u64,
    dts: i64,
    durations: RunCursor<'a, u32>,
    last_duration: u32,
    compositions: Option<RunCursor<'a, i32>>,
    /// What of `stss` is left, if there is one.
    sync: Option<&'a [u32]>,
}

impl Samples<'_> {
    fn next_chunk(&mut self) -> Option<()> {
        while self.left == 0 {
            (self.offset, self.left, self.description_index) = self.chunks.next_place()?;
        }
        Some(())
    }

    /// Goes past so many samples, run by run.
    fn go_past(&mut self, samples: usize) -> Option<()> {
        let mut rest = u64::try_from(samples).unwrap_or(u64::MAX);
        while rest > 0 {
            self.next_chunk()?;
            let durations = self.durations.current();
            let composed = self.compositions.as_mut().and_then(RunCursor::current);
            let runs = durations.map(|run| run.count).into_iter().chain(composed.map(|run| run.count));
            let step = runs.fold(self.left.min(u32::try_from(rest).unwrap_or(u32::MAX)), u32::min);
            self.last_duration = durations.map_or(self.last_duration, |run| run.value);
            self.durations.advance(step);
            if let Some(compositions) = &mut self.compositions {
                compositions.advance(step);
            }
            let end = self.index + u64::from(step);
            self.offset =
                self.offset.saturating_add(self.sizes.sum(self.index - self.sizes_begin..end - self.sizes_begin));
            let passed = i64::from(step).saturating_mul(i64::from(self.last_duration));
            self.dts = self.dts.saturating_add(passed);
            self.index = end;
            self.left -= step;
            rest -= u64::from(step);
        }
        Some(())
    }

    /// Whether the next sample is in `stss`; steps over numbers that are out of order.
    fn is_sync(&mut self) -> bool {
        let Some(sync) = &mut self.sync else { return true };
        let number = self.index + 1;
        while sync.first().is_some_and(|first| u64::from(*first) < number) {
            *sync = &sync[1..];
        }
        sync.first().is_some_and(|first| u64::from(*first) == number)
    }
}

impl Iterator for Samples<'_> {
    type Item = Sample;

    fn nth(&mut self, n: usize) -> Option<Sample> {
        self.go_past(n)?;
        self.next()
    }

    fn next(&mut self) -> Option<Sample> {
        self.next_chunk()?;
        let size_bytes = self.sizes.get(self.index - self.sizes_begin);
        // A short `stts` goes on with its last duration, as players do.
        self.last_duration = self.durations.next().unwrap_or(self.last_duration);
        let composition = self.compositions.as_mut().and_then(Iterator::next).unwrap_or(0);
        let sample = Sample {
            offset: self.offset,
            size_bytes,
            dts: self.dts,
            pts: self.dts.saturating_add(i64::from(composition)),
            duration: self.last_duration,
            is_sync: self.is_sync(),
            description_index: self.description_index,
        };
        self.left -= 1;
        self.index += 1;
        self.offset = self.offset.saturating_add(u64::from(size_bytes));
        self.dts = self.dts.saturating_add(i64::from(self.last_duration));
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::tables::runs::{ValueRun, ValueRuns};

    fn tables() -> SampleTables {
        SampleTables {
            durations: ValueRuns::new(vec![ValueRun { count: 2, value: 10 }, ValueRun { count: 3, value: 20 }]),
            compositions: Some(ValueRuns::new(vec![ValueRun { count: 1, value: 5 }, ValueRun { count: 4, value: -5 }])),
            chunk_runs: vec![
                ChunkRun { first_chunk: 1, samples_per_chunk: 2, description_index: 1 },
                ChunkRun { first_chunk: 3, samples_per_chunk: 1, description_index: 2 },
            ],
            sizes: SampleSizes::List(vec![1, 2, 3, 4, 5]),
            chunk_offsets: vec![100, 200, 300],
            sync: Some(vec![1, 4]),
            dependencies: None,
        }
    }

    #[test]
    fn samples_are_placed_and_timed() {
        let tables = tables();
        let all: Vec<_> = tables.samples().collect();
        assert_eq!(all.iter().map(|s| s.offset).collect::<Vec<_>>(), [100, 101, 200, 203, 300]);
        assert_eq!(all.iter().map(|s| s.dts).collect::<Vec<_>>(), [0, 10, 20, 40, 60]);
        assert_eq!(all.iter().map(|s| s.pts).collect::<Vec<_>>(), [5, 5, 15, 35, 55]);
        assert_eq!(all.iter().map(|s| s.is_sync).collect::<Vec<_>>(), [true, false, false, true, false]);
        assert_eq!(all.iter().map(|s| s.description_index).collect::<Vec<_>>(), [1, 1, 1, 1, 2]);
    }

    #[test]
    fn going_past_samples_comes_to_the_same_as_walking_over_them() {
        let short = || {
            ValueRuns::new(vec![
                ValueRun { count: 1, value: 10 },
                ValueRun { count: 0, value: 7 },
                ValueRun { count: 1, value: 20 },
            ])
        };
        let variants = [
            tables(),
            SampleTables { durations: short(), compositions: None, sync: None, ..tables() },
            SampleTables { sizes: SampleSizes::Constant { size_bytes: 3, count: 5 }, ..tables() },
            SampleTables {
                chunk_offsets: vec![100, u64::MAX],
                compositions: Some(ValueRuns::new(Vec::new())),
                ..tables()
            },
        ];
        for tables in variants {
            let all: Vec<_> = tables.samples().collect();
            for (first, then) in (0..7).flat_map(|first| (0..7).map(move |then| (first, then))) {
                let mut samples = tables.samples();
                let found = (samples.nth(first), samples.nth(then));
                assert_eq!(found, (all.get(first).copied(), all.get(first + 1 + then).copied()), "{first}, {then}");
            }
        }
    }

    #[test]
    fn the_walk_ends_with_the_shorter_table() {
        let short = SampleTables { chunk_offsets: vec![100], ..tables() };
        assert_eq!((short.samples().count(), short.count_in_chunks(), short.count()), (2, 2, 5));
        let empty = SampleTables { chunk_runs: Vec::new(), ..tables() };
        assert_eq!(empty.samples().count(), 0);
    }

    #[test]
    fn a_chunk_cannot_hold_more_samples_than_there_are() {
        let runs = vec![ChunkRun { first_chunk: 1, samples_per_chunk: u32::MAX, description_index: 1 }];
        let greedy = SampleTables { chunk_runs: runs, ..tables() };
        assert_eq!(greedy.chunks().map(|c| (c.samples, c.size_bytes)).collect::<Vec<_>>(), [(5, 15)]);
    }
}
