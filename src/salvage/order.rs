//! From picture order counts to places in the presentation, counted in frames.
//!
//! Within a coded video sequence the counts are dense up to a step. A sequence whose beginning is lost is placed by
//! the rule that output lags behind decoding by a constant number of frames.

use super::walk::Frame;

/// The order of all pictures of a track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// By picture: its place within its sequence, from 0; `None` if no slice header could be read.
    pub places: Vec<Option<i64>>,
    /// By picture: whether a sequence begins with it.
    pub begins: Vec<bool>,
    /// After how many frames the counts repeat; 0 if that is not known.
    pub period: i64,
    /// By how many frames output lags behind decoding.
    pub lag: i64,
}

impl Order {
    /// Orders pictures; `period` is that of the raw counts, `gaps` the numbers of pictures before which something is
    /// missing, ascending.
    pub fn of(frames: &[Frame], period: i64, gaps: &[usize]) -> Self {
        let begins: Vec<bool> = frames.iter().map(|f| f.picture.is_some_and(|p| p.begins_sequence)).collect();
        let mut places: Vec<Option<i64>> = frames.iter().map(|f| f.picture.map(|p| p.order)).collect();
        let sequences = sequences(&begins);
        for &(from, to) in &sequences {
            let least = places[from..to].iter().flatten().min().copied().unwrap_or(0);
            places[from..to].iter_mut().flatten().for_each(|place| *place -= least);
        }
        let step = step_of(&places);
        places.iter_mut().flatten().for_each(|place| *place /= step);
        let whole: Vec<(usize, usize)> = sequences.iter().copied().filter(|s| is_whole(s, gaps)).collect();
        if !is_dense(&places, &whole) {
            for &(from, to) in &sequences {
                rank(&mut places[from..to]);
            }
        }
        let lag = lag_of(&places, &sequences, gaps);
        Self { places, begins, period: period / step, lag }
    }
}

fn sequences(begins: &[bool]) -> Vec<(usize, usize)> {
    let mut starts: Vec<usize> = (0..begins.len()).filter(|index| *index == 0 || begins[*index]).collect();
    starts.push(begins.len());
    starts.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn is_whole(&(from, to): &(usize, usize), gaps: &[usize]) -> bool {
    let next = gaps.partition_point(|gap| *gap < from);
    gaps.get(next).is_none_or(|gap| *gap > to)
}

/// H.264 counts fields, so frames are two apart; H.265 counts pictures.
fn step_of(places: &[Option<i64>]) -> i64 {
    let known = places.iter().flatten().count();
    let odd = places.iter().flatten().filter(|place| **place % 2 != 0).count();
    if known > 1 && odd * 100 <= known { 2 } else { 1 }
}

/// Whether nearly all places of whole sequences are taken; the last sequence may be cut.
fn is_dense(places: &[Option<i64>], whole: &[(usize, usize)]) -> bool {
    let closed = whole.split_last().map_or(whole, |(_, others)| if others.is_empty() { whole } else { others });
    let is_filled = |&&(from, to): &&(usize, usize)| {
        let last = places[from..to].iter().flatten().max().copied().unwrap_or(0);
        usize::try_from(last).unwrap_or(usize::MAX) < (to - from) + 4
    };
    closed.iter().filter(is_filled).count() * 2 >= closed.len()
}

fn rank(places: &mut [Option<i64>]) {
    let mut sorted: Vec<i64> = places.iter().flatten().copied().collect();
    sorted.sort_unstable();
    for place in places.iter_mut().flatten() {
        *place = i64::try_from(sorted.partition_point(|other| other < place)).unwrap_or(i64::MAX);
    }
}

/// The furthest that a picture is decoded behind its place, where nothing is missing before it.
fn lag_of(places: &[Option<i64>], sequences: &[(usize, usize)], gaps: &[usize]) -> i64 {
    const MOST: i64 = 16;
    let mut lag = 0;
    for &(from, to) in sequences {
        let next = gaps.partition_point(|gap| *gap <= from);
        let to = gaps.get(next).map_or(to, |gap| (*gap).min(to));
        for (index, place) in (0..).zip(&places[from..to.max(from)]) {
            let behind = place.map_or(0, |place| index - place);
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
        let frame = |order: &i64| Frame {
            offset: 0,
            size_bytes: 1,
            is_sync: *order == 0,
            picture: Some(Picture {
                order: *order,
                begins_sequence: *order == 0,
                is_second_field: false,
                is_consistent: true,
            }),
            audio_before: 0,
        };
        orders.iter().map(frame).collect()
    }

    #[test]
    fn b_pictures_are_put_in_their_places() {
        let order = Order::of(&frames(&[0, 8, 4, 2, 6, 10, 0, 4, 2]), 64, &[]);
        let places: Vec<_> = order.places.iter().flatten().copied().collect();
        assert_eq!((places, order.lag, order.period), (vec![0, 4, 2, 1, 3, 5, 0, 2, 1], 2, 32));
    }

    #[test]
    fn counts_with_holes_of_their_own_are_ranked() {
        let order = Order::of(&frames(&[0, 90, 60, 30, 200, 0, 70, 10, 90]), 0, &[]);
        let places: Vec<_> = order.places.iter().flatten().copied().collect();
        assert_eq!(places, [0, 3, 2, 1, 4, 0, 2, 1, 3]);
    }
}
