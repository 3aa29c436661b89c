//! Where in a track a span of time lies: looked up in the compact tables, run by run, without walking the samples.

use super::samples::SampleTables;
use super::schedule::is_simple;
use super::tables::elst::Edit;
use super::tables::runs::ValueRuns;
use super::track::{Track, saturating_i64};

impl SampleTables {
    /// Number (from 0) of the last sample that is decoded at `dts` (ticks of the track) or before; 0 if all are decoded later.
    pub fn last_decoded_by(&self, dts: i64) -> u64 {
        let (mut at, mut number, mut value) = (0_i64, 0_u64, 0_i64);
        for run in self.durations.as_slice() {
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
        number.min(self.count().saturating_sub(1))
    }

    /// The last sync sample that is not behind a sample, both as numbers from 0.
    pub fn sync_until(&self, number: u64) -> Option<u64> {
        let Some(sync) = &self.sync else { return Some(number) };
        let behind = sync.partition_point(|known| u64::from(*known) <= number + 1);
        sync[..behind].last().and_then(|known| u64::from(*known).checked_sub(1))
    }

    /// The first sync sample that is not before a sample, both as numbers from 0.
    pub fn sync_from(&self, number: u64) -> Option<u64> {
        let Some(sync) = &self.sync else { return Some(number) };
        let before = sync.partition_point(|known| u64::from(*known) <= number);
        sync.get(before).map(|known| u64::from(*known).saturating_sub(1))
    }

    /// The smallest composition offset if it is negative, else 0; ticks of the track.
    pub fn least_composition(&self) -> i64 {
        let offsets = self.compositions.iter().flat_map(ValueRuns::as_slice);
        offsets.map(|run| i64::from(run.value)).fold(0, i64::min)
    }
}

impl Track {
    /// Whether its edit list only delays, then trims the beginning, at normal speed.
    pub fn has_simple_edits(&self) -> bool {
        is_simple(&self.edits)
    }

    /// When its edit list ends the presentation, in ticks of the track; `None` if it lasts as long as its samples.
    pub fn presentation_limit(&self, movie_timescale: u32) -> Option<i64> {
        let last = self.edits.last().filter(|edit| edit.segment_duration > 0 && edit.media_time.is_some())?;
        let before = self.edits.iter().take(self.edits.len() - 1).map(|edit| edit.segment_duration);
        let whole = u128::from(before.fold(last.segment_duration, u64::saturating_add));
        let ticks = (whole * u128::from(self.timescale())).div_ceil(u128::from(movie_timescale.max(1)));
        Some(saturating_i64(u64::try_from(ticks).unwrap_or(u64::MAX)))
    }

    /// Its edit list: nothing for `delay`, then the media from `media_time` on (ticks of the track) for `length`; delay and length in ticks
    /// of the movie.
    pub fn present(&mut self, delay: u64, media_time: u64, length: u64) {
        let empty = (delay > 0).then(|| Edit::empty(delay));
        self.edits = empty.into_iter().chain([Edit::media(length, media_time)]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::tables::runs::ValueRun;
    use crate::isobmff::tables::stsc::ChunkRun;
    use crate::isobmff::tables::stsz::SampleSizes;

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

    #[test]
    fn a_time_is_found_where_a_walk_finds_it() {
        for runs in [&[(3, 10), (2, 40)][..], &[(1, 5), (2, 0), (3, 7)], &[(5, 1)], &[(2, 0), (1, 9), (1, 0)]] {
            let tables = tables(runs);
            let times: Vec<_> = tables.samples().map(|sample| sample.dts).collect();
            for dts in -3..130 {
                let walked = times.iter().rposition(|at| *at <= dts).unwrap_or(0) as u64;
                assert_eq!(tables.last_decoded_by(dts), walked, "{runs:?} at {dts}");
            }
        }
    }

    #[test]
    fn a_short_table_of_durations_goes_on_with_its_last_one() {
        let mut short = tables(&[(2, 10)]);
        short.sizes = SampleSizes::Constant { size_bytes: 1, count: 6 };
        assert_eq!([9, 10, 25, 49, 500].map(|dts| short.last_decoded_by(dts)), [0, 1, 2, 4, 5]);
    }

    #[test]
    fn sync_samples_are_found_on_both_sides() {
        let mut tables = tables(&[(9, 1)]);
        assert_eq!((tables.sync_until(4), tables.sync_from(4)), (Some(4), Some(4)));
        tables.sync = Some(vec![2, 5]);
        assert_eq!([0, 1, 3, 4, 8].map(|n| tables.sync_until(n)), [None, Some(1), Some(1), Some(4), Some(4)]);
        assert_eq!([0, 1, 2, 4, 5].map(|n| tables.sync_from(n)), [Some(1), Some(1), Some(4), Some(4), None]);
    }

    #[test]
    fn an_edit_list_limits_the_presentation_only_if_it_says_how_long() {
        let mut track = Track::new(1, super::super::FourCc(*b"soun"), 48_000, &stsd(), (0, 0)).unwrap();
        assert_eq!(track.presentation_limit(1000), None);
        track.edits = vec![Edit::empty(500), Edit::media(1000, 1024)];
        assert_eq!(track.presentation_limit(1000), Some(72_000));
        track.edits = vec![Edit::empty(500), Edit::media(0, 1024)];
        assert_eq!(track.presentation_limit(1000), None);
    }

    fn stsd() -> Vec<u8> {
        b"\0\0\0\x10stsd\0\0\0\0\0\0\0\0".to_vec()
    }
}
