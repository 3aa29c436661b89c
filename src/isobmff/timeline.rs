//! What a track's time tables say as a whole, computed run by run: the cost follows the table's bytes, not the number
//! of samples that it claims.

use super::samples::SampleTables;
use super::tables::runs::{RunCursor, ValueRun};

/// Beginning and end of a track on its media timeline, in ticks of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TrackExtent {
    /// Smallest composition time.
    pub(super) first_pts: i64,
    /// Largest composition time plus duration.
    pub(super) end_pts: i64,
    /// Decoding time behind the last sample.
    pub(super) end_dts: i64,
}

/// A position on the decoding timeline.
pub(super) struct DecodeClock<'a> {
    pub(super) durations: RunCursor<'a, u32>,
    /// Duration of the sample before.
    pub(super) last: u32,
    /// Number of the sample, from 0.
    pub(super) index: u64,
    pub(super) dts: i64,
}

impl<'a> DecodeClock<'a> {
    pub(super) fn new(tables: &'a SampleTables) -> Self {
        Self { durations: tables.durations.cursor(), last: 0, index: 0, dts: 0 }
    }

    /// The duration that the next samples share, and for how many at least; a short table goes on with its last one.
    pub(super) fn run(&mut self) -> ValueRun<u32> {
        let run = self.durations.current().unwrap_or(ValueRun { count: u32::MAX, value: self.last });
        self.last = run.value;
        run
    }

    fn advance(&mut self, count: u32, duration: u32) {
        self.durations.advance(count);
        self.index += u64::from(count);
        self.dts = self.dts.saturating_add(i64::from(count).saturating_mul(i64::from(duration)));
    }

    /// Goes to a sample (index from 0); never back.
    pub(super) fn advance_to(&mut self, index: u64) -> i64 {
        while self.index < index {
            let run = self.run();
            let step = u32::try_from(index - self.index).unwrap_or(u32::MAX).min(run.count);
            self.advance(step, run.value);
        }
        self.dts
    }
}

/// Beginning and end of the first `count` samples of a track; `None` without samples.
pub(super) fn extent(tables: &SampleTables, count: u64) -> Option<TrackExtent> {
    let mut clock = DecodeClock::new(tables);
    let mut compositions = tables.compositions.as_ref().map(|c| c.cursor());
    let mut found: Option<TrackExtent> = None;
    while clock.index < count {
        let durations = clock.run();
        let offsets =
            compositions.as_mut().and_then(RunCursor::current).unwrap_or(ValueRun { count: u32::MAX, value: 0 });
        let left = u32::try_from(count - clock.index).unwrap_or(u32::MAX);
        let step = left.min(durations.count).min(offsets.count);
        let first_pts = clock.dts.saturating_add(i64::from(offsets.value));
        clock.advance(step, durations.value);
        if let Some(cursor) = &mut compositions {
            cursor.advance(step);
        }
        let end_pts = clock.dts.saturating_add(i64::from(offsets.value));
        let so_far = found.unwrap_or(TrackExtent { first_pts, end_pts, end_dts: 0 });
        found = Some(TrackExtent {
            first_pts: so_far.first_pts.min(first_pts),
            end_pts: so_far.end_pts.max(end_pts),
            end_dts: clock.dts,
        });
    }
    found
}

/// Longest distance between two sync samples in decoding time; `None` if there are fewer than two.
pub(super) fn longest_sync_interval(tables: &SampleTables) -> Option<i64> {
    let Some(sync) = &tables.sync else {
        return tables.durations.as_slice().iter().map(|run| i64::from(run.value)).max();
    };
    let mut clock = DecodeClock::new(tables);
    let mut times = sync.iter().map(|number| clock.advance_to(u64::from(*number).saturating_sub(1)));
    let first = times.next()?;
    times.scan(first, |last, at| Some(at - std::mem::replace(last, at))).max()
}

/// A jump: the duration of one sample that is far longer than those of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SampleGap {
    /// Decoding time of the sample.
    pub(super) at: i64,
    /// By how much it is longer than usual.
    pub(super) length: i64,
}

/// Samples that last longer than `least` ticks and three times as long as most, at most `limit` of them.
pub(super) fn gaps(tables: &SampleTables, least: i64, limit: usize) -> Vec<SampleGap> {
    let runs = tables.durations.as_slice();
    let usual = runs.iter().max_by_key(|run| run.count).map_or(0, |run| i64::from(run.value));
    let mut found = Vec::new();
    let mut dts: i64 = 0;
    for run in runs {
        let value = i64::from(run.value);
        if value > least.max(usual.saturating_mul(3)) && found.len() < limit {
            found.push(SampleGap { at: dts, length: value - usual });
        }
        dts = dts.saturating_add(i64::from(run.count).saturating_mul(value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::tables::runs::ValueRuns;
    use crate::isobmff::tables::stsc::ChunkRun;
    use crate::isobmff::tables::stsz::SampleSizes;

    fn tables(durations: &[(u32, u32)], offsets: &[(u32, i32)]) -> SampleTables {
        let count = durations.iter().map(|(count, _)| count).sum();
        SampleTables {
            durations: ValueRuns::new(durations.iter().map(|&(count, value)| ValueRun { count, value }).collect()),
            compositions: Some(ValueRuns::new(
                offsets.iter().map(|&(count, value)| ValueRun { count, value }).collect(),
            )),
            chunk_runs: vec![ChunkRun { first_chunk: 1, samples_per_chunk: count, description_index: 1 }],
            sizes: SampleSizes::Constant { size_bytes: 1, count },
            chunk_offsets: vec![0],
            ..SampleTables::default()
        }
    }

    #[test]
    fn the_extent_is_that_of_the_samples_themselves() {
        for tables in [
            tables(&[(3, 10), (2, 40)], &[(1, 20), (1, 50), (3, -10)]),
            tables(&[(5, 10)], &[]),
            tables(&[(1, 0), (4, 7)], &[(2, 3)]),
        ] {
            let samples: Vec<_> = tables.samples().collect();
            let extent = extent(&tables, tables.count_in_chunks()).unwrap();
            assert_eq!(extent.first_pts, samples.iter().map(|s| s.pts).min().unwrap());
            assert_eq!(extent.end_pts, samples.iter().map(|s| s.pts + i64::from(s.duration)).max().unwrap());
        }
    }

    #[test]
    fn sync_intervals_and_gaps_are_found() {
        let mut tables = tables(&[(4, 10), (1, 5000), (5, 10)], &[]);
        tables.sync = Some(vec![1, 3, 6]);
        assert_eq!(longest_sync_interval(&tables), Some(5020));
        assert_eq!(gaps(&tables, 1000, 8), [SampleGap { at: 40, length: 4990 }]);
    }

    #[test]
    fn four_billion_claimed_samples_cost_nothing() {
        let tables = tables(&[(u32::MAX, 1000)], &[]);
        assert_eq!(extent(&tables, tables.count_in_chunks()).unwrap().end_dts, i64::from(u32::MAX) * 1000);
    }
}
