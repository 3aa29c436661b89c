//! From picture order counts to places in the presentation, counted in frames.
//!
//! Within a coded video sequence the counts are dense up to a step. A sequence whose beginning is lost is placed by
//! the rule that output lags behind decoding by a constant number of frames.

use super::walk::Frame;

/// The order of all pictures of a track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PictureOrder {
    /// By picture: its place within its sequence, from 0; `None` if no slice header could be read.
    pub places: Vec<Option<i32>>,
    /// By picture: whether a sequence begins with it.
    pub begins: Vec<bool>,
    /// After how many frames the counts repeat; 0 if that is not known.
    pub period: i64,
    /// By how many frames output lags behind decoding.
    pub lag: i64,
}

impl PictureOrder {
    /// Orders pictures; `period` is that of the raw counts, `gaps` the numbers of pictures before which something is
    /// missing, ascending.
    pub fn of(frames: &[Frame], period: i64, gaps: &[usize]) -> Self {
        let begins: Vec<bool> = frames.iter().map(Frame::begins_sequence).collect();
        let sequences = sequences(&begins);
        let mut places: Vec<Option<i32>> = Vec::with_capacity(frames.len());
        for sequence in &sequences {
            let frames = &frames[of(*sequence)];
            let least = frames.iter().filter_map(Frame::order).min().unwrap_or(0);
            places.extend(frames.iter().map(|frame| i32::try_from(frame.order()?.checked_sub(least)?).ok()));
        }
        let step = step_of(&places);
        places.iter_mut().flatten().for_each(|place| *place /= step);
        let whole: Vec<PictureRange> = sequences.iter().copied().filter(|s| is_whole(*s, gaps)).collect();
        if !is_dense(&places, &whole) {
            for sequence in &sequences {
                rank(&mut places[of(*sequence)]);
            }
        }
        let lag = lag_of(&places, &sequences, gaps);
        Self { places, begins, period: period / i64::from(step), lag }
    }

    /// The place of a picture within its sequence.
    pub fn place(&self, index: usize) -> Option<i64> {
        self.places.get(index).copied().flatten().map(i64::from)
    }
}

/// First picture of a sequence, and the one behind its last. There are never so many pictures that they need more bits.
type PictureRange = (u32, u32);

const fn of((from, to): PictureRange) -> std::ops::Range<usize> {
    from as usize..to as usize
}

fn sequences(begins: &[bool]) -> Vec<PictureRange> {
    let mut all: Vec<PictureRange> = Vec::new();
    for (index, begins) in (0..).zip(begins) {
        match all.last_mut() {
            Some(last) if !begins => last.1 = index + 1,
            _ => all.push((index, index + 1)),
        }
    }
    all
}

fn is_whole(sequence: PictureRange, gaps: &[usize]) -> bool {
    let pictures = of(sequence);
    let next = gaps.partition_point(|gap| *gap < pictures.start);
    gaps.get(next).is_none_or(|gap| *gap > pictures.end)
}

/// H.264 counts fields, so frames are two apart; H.265 counts pictures.
fn step_of(places: &[Option<i32>]) -> i32 {
    let known = places.iter().flatten().count();
    let odd = places.iter().flatten().filter(|place| **place % 2 != 0).count();
    if known > 1 && odd * 100 <= known { 2 } else { 1 }
}

/// Whether nearly all places of whole sequences are taken; the last sequence may be cut.
fn is_dense(places: &[Option<i32>], whole: &[PictureRange]) -> bool {
    let closed = whole.split_last().map_or(whole, |(_, others)| if others.is_empty() { whole } else { others });
    let is_filled = |sequence: &&PictureRange| {
        let last = places[of(**sequence)].iter().flatten().max().copied().unwrap_or(0);
        usize::try_from(last).unwrap_or(usize::MAX) < of(**sequence).len() + 4
    };
    closed.iter().filter(is_filled).count() * 2 >= closed.len()
}

fn rank(places: &mut [Option<i32>]) {
    let mut sorted: Vec<i32> = places.iter().flatten().copied().collect();
    sorted.sort_unstable();
    for place in places.iter_mut().flatten() {
        *place = i32::try_from(sorted.partition_point(|other| other < place)).unwrap_or(i32::MAX);
    }
}

/// The furthest that a picture is decoded behind its place, where nothing is missing before it.
fn lag_of(places: &[Option<i32>], sequences: &[PictureRange], gaps: &[usize]) -> i64 {
    const MOST: i64 = 16;
    let mut lag = 0;
    for pictures in sequences.iter().copied().map(of) {
        let (from, to) = (pictures.start, pictures.end);
        let next = gaps.partition_point(|gap| *gap <= from);
        let to = gaps.get(next).map_or(to, |gap| (*gap).min(to));
        for (index, place) in (0..).zip(&places[from..to.max(from)]) {
            let behind = place.map_or(0, |place| index - i64::from(place));
            lag = if behind <= MOST { behind.max(lag) } else { lag };
        }
    }
    lag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salvage::nal::Picture;

    pub(in crate::salvage) fn frames(orders: &[i64]) -> Vec<Frame> {
        let picture = |order: i64| Picture {
            order,
            begins_sequence: order == 0,
            is_second_field: false,
            is_consistent: true,
            is_next: true,
        };
        orders.iter().map(|order| Frame::new(0..1, 0, *order == 0, Some(picture(*order)))).collect()
    }

    #[test]
    fn b_pictures_are_put_in_their_places() {
        let order = PictureOrder::of(&frames(&[0, 8, 4, 2, 6, 10, 0, 4, 2]), 64, &[]);
        let places: Vec<_> = order.places.iter().flatten().copied().collect();
        assert_eq!((places, order.lag, order.period), (vec![0, 4, 2, 1, 3, 5, 0, 2, 1], 2, 32));
    }

    #[test]
    fn counts_with_holes_of_their_own_are_ranked() {
        let order = PictureOrder::of(&frames(&[0, 90, 60, 30, 200, 0, 70, 10, 90]), 0, &[]);
        let places: Vec<_> = order.places.iter().flatten().copied().collect();
        assert_eq!(places, [0, 3, 2, 1, 4, 0, 2, 1, 3]);
    }
}
