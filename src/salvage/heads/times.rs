//! The time of a cluster that has lost it: that with which its blocks and those of its neighbour have one pace.

use std::io::{Read, Seek};

use super::ebml::{EbmlElement, TIMESTAMP};
use crate::salvage::source::Source;

/// Most blocks of a cluster that are looked at.
const MOST_BLOCKS: usize = 4096;

/// The times of the blocks of a cluster.
#[derive(Debug, Clone, Default)]
pub struct BlockTimes {
    /// Its own time, if it says so.
    time: Option<u64>,
    /// Track and time after its own of each block.
    blocks: Vec<(u64, i64)>,
    /// Where what is no part of it begins.
    end: u64,
}

impl BlockTimes {
    /// Reads them from where the body of the cluster begins, or what is left of it.
    pub fn read<R: Read + Seek>(source: &mut Source<R>, body: u64, len: u64) -> Self {
        let mut found = Self { end: body, ..Self::default() };
        while found.end < len && found.blocks.len() < MOST_BLOCKS {
            let Some(element) = EbmlElement::at(source, found.end).filter(EbmlElement::is_of_cluster) else { break };
            let Some(end) = element.end else { break };
            if element.id == u64::from(TIMESTAMP) {
                let bytes = source.at(element.body, 8);
                let length = usize::try_from(end - element.body).unwrap_or(8).min(bytes.len());
                found.time = Some(bytes[..length].iter().fold(0, |time, byte| time << 8 | u64::from(*byte)));
            }
            found.blocks.extend(element.block.map(|block| (block.track, block.time)));
            found.end = end;
        }
        found
    }

    /// The times of a track, if none lies before the one before it.
    fn of_track(&self, track: u64) -> Option<Vec<i64>> {
        let times: Vec<i64> = self.blocks.iter().filter(|(of, _)| *of == track).map(|(_, time)| *time).collect();
        (times.len() > 1 && times.is_sorted()).then_some(times)
    }
}

/// The time of the cluster whose blocks begin at a place, told by the cluster behind it.
pub fn time_before<R: Read + Seek>(source: &mut Source<R>, blocks: u64, len: u64) -> Option<u64> {
    let own = BlockTimes::read(source, blocks, len);
    let next = EbmlElement::at(source, own.end).filter(EbmlElement::is_cluster)?;
    let next = BlockTimes::read(source, next.body, len);
    let distance = distance(&own, &next, false)?;
    u64::try_from(i64::try_from(next.time?).ok()? - distance).ok()
}

/// The same, told by the cluster before it.
pub fn time_behind<R: Read + Seek>(source: &mut Source<R>, before: &BlockTimes, blocks: u64, len: u64) -> Option<u64> {
    let own = BlockTimes::read(source, blocks, len);
    let distance = distance(before, &own, true)?;
    u64::try_from(i64::try_from(before.time?).ok()? + distance).ok()
}

/// From the time of a cluster to that of the next, so that the blocks of a track keep their pace. Times are rounded to
/// ticks: a line through all of them tells more than two of them. The beginning of the second may be lost, and a cluster
/// begins with its own time.
fn distance(first: &BlockTimes, second: &BlockTimes, may_lack_first: bool) -> Option<i64> {
    let mut tracks: Vec<u64> = first.blocks.iter().map(|(track, _)| *track).collect();
    tracks.sort_unstable();
    tracks.dedup();
    let pairs = tracks.iter().filter_map(|track| Some((first.of_track(*track)?, second.of_track(*track)?)));
    let unsteady = |(a, b): &(Vec<i64>, Vec<i64>)| unsteadiness(a).max(unsteadiness(b));
    let (a, b) = pairs.min_by_key(unsteady)?;
    let ((a_count, a_sum, a_slope, a_spread), (b_count, b_sum, b_slope, b_spread)) = (line(&a), line(&b));
    // Distance of the means in blocks is half of all blocks; the pace of a block is slope over spread.
    let (slope, spread) = (a_slope + b_slope, a_spread + b_spread);
    let whole = 2 * a_count * b_count * spread;
    let lost = if may_lack_first && slope > 0 { (i128::from(b[0]) * spread + slope / 2).div_euclid(slope) } else { 0 };
    let pace = (a_count + b_count + 2 * lost.max(0)) * a_count * b_count * slope;
    let means = 2 * spread * (a_sum * b_count - b_sum * a_count);
    i64::try_from((pace + means + whole / 2).div_euclid(whole)).ok()
}

/// How far the steps of a track are from their mean, in thousandths of a tick and on average; a few steps tell little.
fn unsteadiness(times: &[i64]) -> i64 {
    const FEW: usize = 4;
    let steps = i64::try_from(times.len() - 1).unwrap_or(i64::MAX).max(1);
    let whole = times[times.len() - 1] - times[0];
    let away: i64 = times.windows(2).map(|pair| ((pair[1] - pair[0]) * steps - whole).saturating_abs()).sum();
    let mean = away.saturating_mul(1000) / steps.saturating_mul(steps);
    if times.len() > FEW { mean } else { i64::MAX - steps }
}

/// Number of times, their sum, and what a line through them is made of: the sums of products of places and times and of
/// squares of places, both from the middle and four times as large.
fn line(times: &[i64]) -> (i128, i128, i128, i128) {
    let count = i128::try_from(times.len()).unwrap_or(0);
    let sum = times.iter().map(|time| i128::from(*time)).sum();
    let places = (0_i128..).map(|place| 2 * place - (count - 1));
    let slope = places.clone().zip(times).map(|(place, time)| 2 * place * i128::from(*time)).sum();
    let spread = places.take(times.len()).map(|place| place * place).sum();
    (count, sum, slope, spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(times: impl Iterator<Item = i64>) -> BlockTimes {
        BlockTimes { blocks: times.map(|time| (2, time)).collect(), ..BlockTimes::default() }
    }

    #[test]
    fn blocks_keep_their_pace_over_the_border_of_clusters() {
        // Frames of sound every 21 1/3 ms, in whole ticks from where their cluster begins.
        let at = |number: i64| (number * 64 + 1) / 3;
        for (border, time, next) in [(97, 0, 2069), (97, 7, 2069), (50, 15, 1068), (200, 21, 4267)] {
            let (first, second) = ((0..border).map(|n| at(n) - time), (border..border + 80).map(|n| at(n) - next));
            assert_eq!(distance(&beats(first), &beats(second), false), Some(next - time), "{border} {time}");
        }
        assert_eq!(distance(&beats(0..1), &beats(0..5), false), None);
        let (first, second) = ((0..97).map(at), (99..180).map(|n| at(n) - 2069));
        assert_eq!(distance(&beats(first), &beats(second), true), Some(2069), "two blocks are lost");
    }
}
