//! Samples of a track by their number and time, without a walk over those before: what a clip needs of a long recording.
//!
//! Times come from the runs of `stts` and `ctts`, chunks from those of `stsc`. Sizes and chunk offsets are the largest tables of a
//! long recording, and a clip needs few entries of them: they may stay in the file.

use std::io::{Read, Seek};
use std::ops::Range;

use super::boxes::read_at;
use super::error::IsoError;
use super::movie::header_limit_bytes;
use super::samples::{Chunks, Sample, SampleTables};
use super::tables::runs::ValueRuns;
use super::tables::stsz::SampleSizes;
use super::timeline::{DecodeClock, extent};

/// Bytes that an entry of `stts`, `ctts`, `stsc`, `stss`, `stsz` and of the chunk offsets takes in memory.
const RUN_BYTES: u64 = 8;
const CHUNK_RUN_BYTES: u64 = 12;
const WORD_BYTES: u64 = 4;
const OFFSET_BYTES: u64 = 8;

/// Entries of a table that are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableInFile {
    /// Byte offset of the first one.
    pub(super) at: u64,
    /// How many.
    pub(super) count: u64,
    /// Bytes of each: 4 or 8.
    pub(super) entry_bytes: u64,
}

impl TableInFile {
    fn read<R: Read + Seek>(self, entries: &Range<u64>, reader: &mut R) -> Result<Vec<u8>, IsoError> {
        let at = self.at + entries.start * self.entry_bytes;
        let (found, limit) = ((entries.end - entries.start) * self.entry_bytes, header_limit_bytes());
        let len = usize::try_from(found).ok().filter(|_| found <= limit);
        let what = "size of a part of the movie header in bytes";
        let mut bytes = vec![0; len.ok_or(IsoError::Limit { what, found, limit })?];
        read_at(reader, at, &mut bytes)?;
        Ok(bytes)
    }
}

/// The tables of a track that are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct InFile {
    pub(super) sizes: Option<TableInFile>,
    pub(super) offsets: Option<TableInFile>,
}

/// When a sample is decoded and composed, ticks of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleTime {
    /// Decoding time.
    pub dts: i64,
    /// Composition time.
    pub pts: i64,
    /// Decoding duration.
    pub duration: u32,
}

/// Chunks with the same number of samples that follow one another; numbers from 0.
#[derive(Debug, Clone, Copy)]
struct ChunkSpan {
    /// Which entry of `stsc` it is.
    run: usize,
    first_chunk: u64,
    chunks: u64,
    first_sample: u64,
    samples_per_chunk: u64,
}

impl ChunkSpan {
    fn end_sample(&self) -> u64 {
        self.first_sample.saturating_add(self.chunks.saturating_mul(self.samples_per_chunk))
    }
}

/// The samples of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleLookup {
    /// Without what is in the file.
    tables: SampleTables,
    in_file: InFile,
    /// Samples that lie in a chunk.
    placed: u64,
}

impl SampleLookup {
    /// Of tables that are whole.
    pub fn new(tables: SampleTables) -> Self {
        Self::with(tables, InFile::default())
    }

    pub(super) fn with(tables: SampleTables, in_file: InFile) -> Self {
        let mut lookup = Self { tables, in_file, placed: 0 };
        lookup.placed = lookup.chunk_spans().last().map_or(0, |last| last.end_sample().min(lookup.declared()));
        lookup
    }

    /// Number of samples that lie in a chunk.
    pub const fn count(&self) -> u64 {
        self.placed
    }

    /// Whether [`Self::samples`] reads the file.
    pub const fn reads_file(&self) -> bool {
        self.in_file.sizes.is_some() || self.in_file.offsets.is_some()
    }

    /// What it takes in memory, bytes, about.
    pub fn memory_bytes(&self) -> u64 {
        let tables = &self.tables;
        let compositions = tables.compositions.as_ref().map_or(0, |runs| runs.as_slice().len());
        let runs = (tables.durations.as_slice().len() + compositions) as u64 * RUN_BYTES;
        let sizes = if let SampleSizes::List(sizes) = &tables.sizes { sizes.len() } else { 0 };
        let words = (sizes + tables.sync.as_ref().map_or(0, Vec::len)) as u64 * WORD_BYTES;
        let chunks = tables.chunk_runs.len() as u64 * CHUNK_RUN_BYTES;
        runs + words + chunks + tables.chunk_offsets.len() as u64 * OFFSET_BYTES
    }

    fn declared(&self) -> u64 {
        self.in_file.sizes.map_or_else(|| self.tables.count(), |sizes| sizes.count)
    }

    fn chunk_count(&self) -> u64 {
        self.in_file.offsets.map_or(self.tables.chunk_offsets.len() as u64, |offsets| offsets.count)
    }

    /// The chunks that have samples, run by run.
    fn chunk_spans(&self) -> impl Iterator<Item = ChunkSpan> {
        let (runs, all, declared) = (&self.tables.chunk_runs, self.chunk_count(), self.declared());
        let (mut chunk, mut sample) = (0_u64, 0_u64);
        runs.iter().enumerate().map_while(move |(run, own)| {
            if chunk >= all || sample >= declared {
                return None;
            }
            let next = runs.get(run + 1).map_or(all, |next| u64::from(next.first_chunk).saturating_sub(1));
            let chunks = next.min(all).saturating_sub(chunk);
            let samples_per_chunk = u64::from(own.samples_per_chunk);
            let span = ChunkSpan { run, first_chunk: chunk, chunks, first_sample: sample, samples_per_chunk };
            chunk += chunks;
            sample = span.end_sample();
            Some(span)
        })
    }

    /// When a sample (number from 0) is decoded and composed.
    pub fn time_of(&self, number: u64) -> Option<SampleTime> {
        if number >= self.placed {
            return None;
        }
        let mut clock = DecodeClock::new(&self.tables);
        let dts = clock.advance_to(number);
        let mut compositions = self.tables.compositions.as_ref().map(|offsets| offsets.cursor());
        let offset = compositions.as_mut().and_then(|cursor| {
            cursor.go_past(number);
            cursor.next()
        });
        Some(SampleTime { dts, pts: dts.saturating_add(i64::from(offset.unwrap_or(0))), duration: clock.run().value })
    }

    /// The samples with these numbers (from 0), as far as there are any. Reads the file that the tables are of where they are in it.
    pub fn samples<R: Read + Seek>(&self, numbers: Range<u64>, reader: &mut R) -> Result<Vec<Sample>, IsoError> {
        let numbers = numbers.start..numbers.end.min(self.placed);
        let Some((spans, first)) = self.spans_of(&numbers) else { return Ok(Vec::new()) };
        let chunk_of = |span: &ChunkSpan, number: u64| {
            span.first_chunk + (number - span.first_sample) / span.samples_per_chunk.max(1)
        };
        let chunks = chunk_of(&spans.start, numbers.start)..chunk_of(&spans.end, numbers.end - 1) + 1;
        let (sizes, offsets) = (self.sizes(first..numbers.end, reader)?, self.offsets(&chunks, reader)?);
        let mut clock = DecodeClock::new(&self.tables);
        clock.advance_to(first);
        let walk = Chunks {
            sizes: &sizes,
            count: self.declared(),
            offsets: offsets.iter(),
            runs: &self.tables.chunk_runs[spans.start.run..],
            number: u32::try_from(chunks.start).unwrap_or(u32::MAX),
            sample: first,
        };
        let samples = self.tables.samples_at(&clock, walk, (&sizes, first));
        let [skipped, wanted] = [numbers.start - first, numbers.end - numbers.start];
        let [skipped, wanted] = [skipped, wanted].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        Ok(samples.skip(skipped).take(wanted).collect())
    }

    /// The spans that the first and the last of these samples lie in, and the first sample of the chunk that the first one lies in.
    fn spans_of(&self, numbers: &Range<u64>) -> Option<(Range<ChunkSpan>, u64)> {
        if numbers.is_empty() {
            return None;
        }
        let mut spans = self.chunk_spans();
        let start = spans.find(|span| span.end_sample() > numbers.start)?;
        let holds_last = |span: &ChunkSpan| span.end_sample() >= numbers.end;
        let end = Some(start).filter(holds_last).or_else(|| spans.find(holds_last))?;
        let within = (numbers.start - start.first_sample) % start.samples_per_chunk.max(1);
        Some((start..end, numbers.start - within))
    }

    fn sizes<R: Read + Seek>(&self, numbers: Range<u64>, reader: &mut R) -> Result<SampleSizes, IsoError> {
        let Some(table) = self.in_file.sizes else { return Ok(self.tables.sizes.part(numbers)) };
        let bytes = table.read(&numbers, reader)?;
        Ok(SampleSizes::List(bytes.as_chunks().0.iter().map(|size| u32::from_be_bytes(*size)).collect()))
    }

    fn offsets<R: Read + Seek>(&self, chunks: &Range<u64>, reader: &mut R) -> Result<Vec<u64>, IsoError> {
        let Some(table) = self.in_file.offsets else {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let own = self.tables.chunk_offsets.get(index(chunks.start)..index(chunks.end));
            return Ok(own.unwrap_or_default().to_vec());
        };
        let bytes = table.read(chunks, reader)?;
        Ok(if table.entry_bytes == OFFSET_BYTES {
            bytes.as_chunks().0.iter().map(|offset| u64::from_be_bytes(*offset)).collect()
        } else {
            bytes.as_chunks().0.iter().map(|offset| u64::from(u32::from_be_bytes(*offset))).collect()
        })
    }

    /// The latest composition time of its samples with the duration of that sample, in ticks of the track; 0 without samples.
    pub fn end_of_composition(&self) -> i64 {
        extent(&self.tables, self.placed).map_or(0, |extent| extent.end_pts)
    }

    /// Number (from 0) of the last sample that is decoded at `dts` (ticks of the track) or before; 0 if all are decoded later.
    pub fn last_decoded_by(&self, dts: i64) -> u64 {
        let (mut at, mut number, mut value) = (0_i64, 0_u64, 0_i64);
        for run in self.tables.durations.as_slice() {
            if at > dts {
                return number.saturating_sub(1);
            }
            value = i64::from(run.value);
            let inside = (dts - at).checked_div(value).unwrap_or(i64::MAX);
            if inside < i64::from(run.count) {
                return self.inside(number + inside.unsigned_abs());
            }
            number += u64::from(run.count);
            at = at.saturating_add(i64::from(run.count).saturating_mul(value));
        }
        // A short `stts` goes on with its last duration.
        let more = dts.saturating_sub(at).checked_div(value).unwrap_or(0);
        self.inside(if at > dts { number.saturating_sub(1) } else { number.saturating_add(more.unsigned_abs()) })
    }

    fn inside(&self, number: u64) -> u64 {
        number.min(self.placed.saturating_sub(1))
    }

    /// The last sync sample that is not behind a sample, both as numbers from 0.
    pub fn sync_until(&self, number: u64) -> Option<u64> {
        let Some(sync) = &self.tables.sync else { return Some(number) };
        let behind = sync.partition_point(|known| u64::from(*known) <= number + 1);
        sync[..behind].last().and_then(|known| u64::from(*known).checked_sub(1))
    }

    /// The first sync sample that is not before a sample, both as numbers from 0.
    pub fn sync_from(&self, number: u64) -> Option<u64> {
        let Some(sync) = &self.tables.sync else { return Some(number) };
        let before = sync.partition_point(|known| u64::from(*known) <= number);
        sync.get(before).map(|known| u64::from(*known).saturating_sub(1))
    }

    /// The smallest composition offset if it is negative, else 0; ticks of the track.
    pub fn least_composition(&self) -> i64 {
        let offsets = self.tables.compositions.iter().flat_map(ValueRuns::as_slice);
        offsets.map(|run| i64::from(run.value)).fold(0, i64::min)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, empty};

    use super::*;
    use crate::isobmff::tables::runs::ValueRun;
    use crate::isobmff::tables::stsc::ChunkRun;

    fn tables(runs: &[(u32, u32)]) -> SampleTables {
        let count = runs.iter().map(|(count, _)| count).sum();
        SampleTables {
            durations: ValueRuns::new(runs.iter().map(|&(count, value)| ValueRun { count, value }).collect()),
            chunk_runs: vec![ChunkRun { first_chunk: 1, samples_per_chunk: count, description_index: 1 }],
            sizes: SampleSizes::Constant { size_bytes: 1, count },
            chunk_offsets: vec![0],
            ..SampleTables::default()
        }
    }

    fn lookup(runs: &[(u32, u32)]) -> SampleLookup {
        SampleLookup::new(tables(runs))
    }

    /// Tables with chunks of several sizes, and such as contradict themselves.
    fn odd_tables() -> Vec<SampleTables> {
        let chunks = |runs: &[(u32, u32)]| -> Vec<ChunkRun> {
            let run = |&(first_chunk, samples_per_chunk)| ChunkRun {
                first_chunk,
                samples_per_chunk,
                description_index: first_chunk,
            };
            runs.iter().map(run).collect()
        };
        let compositions = [(1, 5), (0, 9), (2, -5), (4, 7)].map(|(count, value)| ValueRun { count, value });
        let whole = SampleTables {
            compositions: Some(ValueRuns::new(compositions.to_vec())),
            chunk_runs: chunks(&[(1, 2), (3, 1), (4, 3)]),
            sizes: SampleSizes::List((1..=9).collect()),
            chunk_offsets: vec![100, 200, 300, 400, 500],
            sync: Some(vec![1, 4, 8]),
            ..tables(&[(2, 10), (0, 3), (4, 20), (3, 0)])
        };
        let with = |runs: &[(u32, u32)]| SampleTables { chunk_runs: chunks(runs), ..whole.clone() };
        vec![
            SampleTables { chunk_offsets: vec![100, 200], ..whole.clone() },
            SampleTables { chunk_offsets: Vec::new(), ..whole.clone() },
            SampleTables { sizes: SampleSizes::Constant { size_bytes: 7, count: 12 }, sync: None, ..whole.clone() },
            SampleTables { durations: ValueRuns::new(vec![ValueRun { count: 2, value: 4 }]), ..whole.clone() },
            SampleTables { compositions: None, sync: Some(vec![5, 2]), ..whole.clone() },
            with(&[]),
            with(&[(1, u32::MAX)]),
            with(&[(1, 1), (5, 2), (3, 4)]),
            with(&[(2, 2), (2, 0), (3, 1)]),
            with(&[(1, 0), (4, 2), (4, 3), (9, 1)]),
            whole,
        ]
    }

    /// The same tables with sizes and offsets in a file.
    fn filed(tables: &SampleTables, entry_bytes: u64) -> (SampleLookup, Cursor<Vec<u8>>) {
        let mut file = vec![0xEE; 5];
        let SampleSizes::List(sizes) = &tables.sizes else { panic!("{tables:?}") };
        let sizes_in_file = TableInFile { at: 5, count: sizes.len() as u64, entry_bytes: 4 };
        file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        let at = file.len() as u64;
        for offset in &tables.chunk_offsets {
            let bytes = offset.to_be_bytes();
            file.extend(&bytes[if entry_bytes == 8 { 0 } else { 4 }..]);
        }
        let offsets = TableInFile { at, count: tables.chunk_offsets.len() as u64, entry_bytes };
        let left = SampleTables { sizes: SampleSizes::default(), chunk_offsets: Vec::new(), ..tables.clone() };
        let in_file = InFile { sizes: Some(sizes_in_file), offsets: Some(offsets) };
        (SampleLookup::with(left, in_file), Cursor::new(file))
    }

    #[test]
    fn every_range_is_what_a_walk_comes_past() {
        for tables in odd_tables() {
            let all: Vec<_> = tables.samples().collect();
            let lookup = SampleLookup::new(tables.clone());
            assert_eq!(lookup.count(), all.len() as u64, "{tables:?}");
            for (start, end) in (0..14).flat_map(|start| (0..14).map(move |end| (start, end))) {
                let walked = all.get(start..end.min(all.len())).unwrap_or_default();
                let numbers = start as u64..end as u64;
                assert_eq!(lookup.samples(numbers.clone(), &mut empty()).unwrap(), walked, "{numbers:?} of {tables:?}");
                let SampleSizes::List(_) = &tables.sizes else { continue };
                for entry_bytes in [4, 8] {
                    let (lookup, mut file) = filed(&tables, entry_bytes);
                    assert_eq!(lookup.samples(numbers.clone(), &mut file).unwrap(), walked, "{numbers:?}: {tables:?}");
                }
            }
            for number in 0..14 {
                let time = |sample: &Sample| SampleTime { dts: sample.dts, pts: sample.pts, duration: sample.duration };
                assert_eq!(lookup.time_of(number as u64), all.get(number).map(time), "{number} of {tables:?}");
            }
            let end = all.iter().map(|sample| sample.pts + i64::from(sample.duration)).max().unwrap_or(0);
            assert_eq!(lookup.end_of_composition(), end, "{tables:?}");
        }
    }

    #[test]
    fn a_file_that_ends_within_its_tables_is_an_error() {
        let (lookup, mut file) = filed(&odd_tables()[9], 8);
        let len = file.get_ref().len();
        file.get_mut().truncate(len - 1);
        assert!(matches!(lookup.samples(0..9, &mut file), Err(IsoError::Io { .. })));
    }

    #[test]
    fn a_time_is_found_where_a_walk_finds_it() {
        for runs in [&[(3, 10), (2, 40)][..], &[(1, 5), (2, 0), (3, 7)], &[(5, 1)], &[(2, 0), (1, 9), (1, 0)]] {
            let times: Vec<_> = tables(runs).samples().map(|sample| sample.dts).collect();
            for dts in -3..130 {
                let walked = times.iter().rposition(|at| *at <= dts).unwrap_or(0) as u64;
                assert_eq!(lookup(runs).last_decoded_by(dts), walked, "{runs:?} at {dts}");
            }
        }
    }

    #[test]
    fn a_short_table_of_durations_goes_on_with_its_last_one() {
        let chunk = ChunkRun { first_chunk: 1, samples_per_chunk: 6, description_index: 1 };
        let sizes = SampleSizes::Constant { size_bytes: 1, count: 6 };
        let short = SampleLookup::new(SampleTables { sizes, chunk_runs: vec![chunk], ..tables(&[(2, 10)]) });
        assert_eq!([9, 10, 25, 49, 500].map(|dts| short.last_decoded_by(dts)), [0, 1, 2, 4, 5]);
    }

    #[test]
    fn sync_samples_are_found_on_both_sides() {
        let all = lookup(&[(9, 1)]);
        assert_eq!((all.sync_until(4), all.sync_from(4)), (Some(4), Some(4)));
        let some = SampleLookup::new(SampleTables { sync: Some(vec![2, 5]), ..tables(&[(9, 1)]) });
        assert_eq!([0, 1, 3, 4, 8].map(|n| some.sync_until(n)), [None, Some(1), Some(1), Some(4), Some(4)]);
        assert_eq!([0, 1, 2, 4, 5].map(|n| some.sync_from(n)), [Some(1), Some(1), Some(4), Some(4), None]);
    }
}
