//! When pictures are decoded: early enough that each is there when it is presented. Pure.
//!
//! ```text
//! presented   0 120  40  80        as the source says, and never moved while decoding times can give way
//! source      0  40  80 120        decoded after it is presented: 80 > 40
//! written   -40   0  40  80        all of them earlier, by the most that one of the next pictures needs
//! ```
//! Some writers begin decoding times at the first presentation, without the delay that reordering costs (ITU-T H.264
//! §C.4.5.3); some repeat one; Matroska stores none (RFC 9559 §11). A few pictures wait, so that what they need is known before
//! the first of them is written.

use std::collections::VecDeque;

use crate::media::timeline::PacketTime;

/// No codec shows a picture after more that were decoded later (ITU-T H.264 §E.2.1, H.265 §7.4.3.2.1).
pub(super) const MOST_REORDERED: usize = 16;
/// Pictures that wait although the time that they span is over: of slides one or two lie behind a picture, minutes apart.
const LEAST_WAITING: usize = 4;
/// Most milliseconds that pictures wait for those behind them.
pub(super) const WAIT_MS: i64 = 500;

/// A picture with its place on the timeline, by how much later than the source says it is presented, and how long it is until
/// the next is decoded, if that is known.
#[derive(Debug)]
pub(super) struct OrderedPicture<P> {
    pub(super) packet: P,
    pub(super) stamp: PacketTime,
    pub(super) later: i64,
    pub(super) lasts: Option<i64>,
}

#[derive(Debug)]
struct WaitingPicture<P> {
    packet: P,
    /// Not known while too few are there to tell.
    dts: Option<i64>,
    pts: i64,
    said: i64,
    duration: i64,
}

/// The pictures of a track in decoding order.
#[derive(Debug)]
pub(super) struct ReorderBuffer<P> {
    waiting: VecDeque<WaitingPicture<P>>,
    /// How many pictures are decoded between one and the last that is presented before it, as far as that is known.
    delay: usize,
    /// Most ticks that pictures wait.
    wait: i64,
    /// By how many ticks decoding is earlier than the source says.
    lead: i64,
    /// The newest presentation times, rising; as many as the delay.
    newest: Vec<i64>,
    last_dts: Option<i64>,
    last_written: Option<i64>,
    is_reordered: bool,
}

impl<P> ReorderBuffer<P> {
    /// Of a track whose decoder says that it delays by so many pictures, and of which `wait` ticks may wait.
    pub(super) fn new(delay: usize, wait: i64) -> Self {
        Self {
            waiting: VecDeque::new(),
            delay: delay.min(MOST_REORDERED),
            wait,
            lead: 0,
            newest: Vec::new(),
            last_dts: None,
            last_written: None,
            is_reordered: delay > 0,
        }
    }

    /// Takes the next picture with a decoding time, which is after the one before.
    pub(super) fn push(&mut self, packet: P, stamp: PacketTime, duration: i64) {
        let PacketTime { pts, dts, said } = stamp;
        self.is_reordered |= pts != dts;
        self.waiting.push_back(WaitingPicture { packet, dts: Some(dts), pts, said, duration });
    }

    /// Takes the next picture of a container that keeps only presentation times. It is decoded when the one is presented that
    /// lies so many places before it in the order of presentation as the decoder delays.
    pub(super) fn push_presented(&mut self, packet: P, pts: i64, duration: i64) {
        self.waiting.push_back(WaitingPicture { packet, dts: None, pts, said: pts, duration });
        let at = self.newest.partition_point(|other| *other <= pts);
        self.newest.insert(at, pts);
        if self.newest.len() > self.delay {
            let dts = self.newest.remove(0);
            self.date_back(dts);
        }
    }

    /// Dates the newest picture, and those before it that wait for that.
    fn date_back(&mut self, dts: i64) {
        let newest = self.last_dts.map_or(dts, |last| dts.max(last + 1));
        let mut behind = None;
        for waiting in self.waiting.iter_mut().rev().take_while(|waiting| waiting.dts.is_none()) {
            let dts = behind.map_or(newest, |behind: i64| behind.saturating_sub(waiting.duration.max(1)));
            (waiting.dts, behind) = (Some(dts), Some(dts));
        }
        self.last_dts = Some(newest);
    }

    /// The oldest picture, once it is known when it is decoded.
    pub(super) fn next(&mut self) -> Option<OrderedPicture<P>> {
        let (oldest, newest) = (self.waiting.front()?, self.waiting.back()?);
        let span = newest.dts?.saturating_sub(oldest.dts?);
        let least = if self.is_reordered { LEAST_WAITING.max(self.delay) } else { 0 };
        let is_enough = self.waiting.len() > MOST_REORDERED || span > self.wait && self.waiting.len() > least;
        if is_enough { self.take() } else { None }
    }

    /// The oldest picture, as none comes behind those that wait.
    pub(super) fn rest(&mut self) -> Option<OrderedPicture<P>> {
        if self.waiting.front()?.dts.is_none() {
            let earliest = *self.newest.first()?;
            self.date_back(earliest);
        }
        self.take()
    }

    fn take(&mut self) -> Option<OrderedPicture<P>> {
        let behind = |w: &WaitingPicture<P>| w.dts.map(|dts| dts.saturating_sub(w.pts));
        let most = self.waiting.iter().filter_map(behind).max().unwrap_or(0);
        self.lead = self.lead.max(most);
        let oldest = self.waiting.pop_front()?;
        let wanted = oldest.dts.unwrap_or(oldest.pts).saturating_sub(self.lead);
        let dts = self.last_written.map_or(wanted, |last| wanted.max(last + 1));
        self.last_written = Some(dts);
        let stamp = PacketTime { pts: oldest.pts.max(dts), dts, said: oldest.said };
        let next = self.waiting.front().and_then(|next| next.dts).map(|next| next.saturating_sub(self.lead));
        let lasts = next.map(|next| next.saturating_sub(dts)).filter(|ticks| *ticks > 0);
        Some(OrderedPicture { packet: oldest.packet, stamp, later: stamp.pts - oldest.pts, lasts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presentation and decoding times in milliseconds, as they are written.
    fn written(mut reorder: ReorderBuffer<()>, times: &[(i64, Option<i64>)]) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        for (pts, dts) in times {
            match dts {
                Some(dts) => reorder.push((), PacketTime { pts: *pts, dts: *dts, said: *pts }, 40),
                None => reorder.push_presented((), *pts, 40),
            }
            found.extend(std::iter::from_fn(|| reorder.next()));
        }
        found.extend(std::iter::from_fn(|| reorder.rest()));
        assert!(found.iter().all(|o| o.later == o.stamp.pts - o.stamp.said));
        let found: Vec<_> = found.iter().map(|o| (o.stamp.pts, o.stamp.dts)).collect();
        assert!(found.iter().all(|(pts, dts)| pts >= dts) && found.windows(2).all(|w| w[0].1 < w[1].1), "{found:?}");
        found
    }

    /// Two pictures between those that they are predicted from, `count` groups of them.
    fn pattern(count: i64) -> Vec<i64> {
        [0].into_iter().chain((0..count).flat_map(|n| [120, 40, 80].map(|at| n * 120 + at))).collect()
    }

    fn presented(times: &[(i64, i64)]) -> Vec<i64> {
        times.iter().map(|time| time.0).collect()
    }

    #[test]
    fn decoding_gives_way_to_presentation_evenly_from_the_first_picture_on() {
        let pts = pattern(40);
        let times: Vec<_> = pts.iter().zip(0..).map(|(pts, n)| (*pts, Some(n * 40))).collect();
        let found = written(ReorderBuffer::new(0, WAIT_MS), &times);
        assert_eq!(presented(&found), pts);
        assert!(found.iter().zip(-1..).all(|((_, dts), n)| *dts == n * 40), "{found:?}");
    }

    #[test]
    fn decoding_times_that_are_early_enough_stay_as_they_are() {
        let times: Vec<_> = pattern(40).iter().zip(-2..).map(|(pts, n)| (*pts, Some(n * 40))).collect();
        let found = written(ReorderBuffer::new(2, WAIT_MS), &times);
        assert!(found.iter().zip(&times).all(|(found, time)| (found.0, Some(found.1)) == *time));
    }

    #[test]
    fn a_time_that_goes_back_a_little_moves_no_picture() {
        let times = [(0, 0), (40, 40), (30, 41), (80, 80), (120, 120)].map(|(pts, dts)| (pts, Some(dts)));
        assert_eq!(presented(&written(ReorderBuffer::new(0, WAIT_MS), &times)), [0, 40, 30, 80, 120]);
    }

    #[test]
    fn presentation_times_alone_tell_decoding_times() {
        for delay in [0, 1, 2, 16] {
            let pts = pattern(40);
            let times: Vec<_> = pts.iter().map(|pts| (*pts, None)).collect();
            let found = written(ReorderBuffer::new(delay, WAIT_MS), &times);
            assert_eq!(presented(&found), pts, "{delay}");
            let steps: Vec<_> = found.windows(2).map(|w| w[1].1 - w[0].1).collect();
            assert!(delay == 0 || steps.iter().all(|step| *step == 40), "{delay}: {steps:?}");
        }
        for count in 1..4 {
            let times: Vec<_> = pattern(1)[..count].iter().map(|pts| (*pts, None)).collect();
            assert_eq!(presented(&written(ReorderBuffer::new(2, WAIT_MS), &times)), pattern(1)[..count]);
        }
    }

    #[test]
    fn slides_wait_only_for_the_next() {
        let mut reorder = ReorderBuffer::new(0, WAIT_MS);
        let slide = |at: i64| PacketTime { pts: at, dts: at, said: at };
        reorder.push((), slide(0), 40);
        assert!(reorder.next().is_none());
        reorder.push((), slide(5000), 40);
        let first = reorder.next().unwrap();
        assert_eq!((first.stamp, first.lasts), (slide(0), Some(5000)));
        assert!(reorder.next().is_none());
    }

    #[test]
    fn a_picture_that_is_shown_before_what_is_written_is_shown_later_and_that_is_counted() {
        let mut reorder = ReorderBuffer::new(0, 0);
        reorder.push((), PacketTime { pts: 1000, dts: 1000, said: 1000 }, 40);
        assert_eq!(reorder.rest().unwrap().later, 0);
        reorder.push((), PacketTime { pts: 900, dts: 1001, said: 900 }, 40);
        assert_eq!(reorder.rest().unwrap().later, 101);
    }
}
