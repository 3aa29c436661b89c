//! Where the finished file begins: at the first keyframe of the first picture track, or at the first packet where
//! there are no pictures.
//!
//! ```text
//! pictures   p p p K . . .        p: before the keyframe, left out
//! sound     s s s|s s s s . .     left of the bar: left out, unless only a lead of a tenth of a second
//!                ╰ zero
//! ```
//! Encoders give sound a lead of a packet or two (priming). Where no picture had to be dropped, such a lead stays in
//! the file, before zero; nothing is lost for it.

use std::collections::VecDeque;

use crate::media::ffi::{Packet, TimeBase};

/// A lead of sound before the first keyframe that is kept.
const LEAD_MICROSECONDS: i64 = 100_000;
/// Sound held back while no keyframe has come; older packets than that are before the beginning anyway.
const HELD_BYTES: usize = 8 << 20;

/// What to do with a packet.
pub(super) enum Verdict {
    /// Write it.
    Keep(Packet),
    /// It lies before the beginning.
    Drop(Packet),
    /// It is held until the beginning is known.
    Held,
    /// It lies before the beginning as the held packets overflow; the oldest of them come back.
    Overflow(Vec<Packet>),
}

/// Finds the beginning, then decides which packets lie before it.
#[derive(Default)]
pub(super) struct Start {
    /// The picture track that decides, index in the source.
    lead: Option<usize>,
    zero_us: Option<i64>,
    /// Whether pictures were dropped, so that no sound before zero is kept.
    is_strict: bool,
    held: VecDeque<Packet>,
    held_bytes: usize,
}

impl Start {
    pub(super) fn new(lead: Option<usize>) -> Self {
        Self { lead, ..Self::default() }
    }

    pub(super) fn lead(&self) -> Option<usize> {
        self.lead
    }

    /// The instant that becomes zero, microseconds of the source's timeline, once it is known.
    pub(super) fn zero_us(&self) -> Option<i64> {
        self.zero_us
    }

    /// Judges a packet of the source.
    pub(super) fn judge(&mut self, packet: Packet, time_base: TimeBase) -> Verdict {
        let track = packet.stream();
        match self.zero_us {
            Some(_) if Some(track) == self.lead => Verdict::Keep(packet),
            Some(zero) => self.judge_late(packet, time_base, zero),
            None if self.lead.is_none() => self.begin(packet, time_base),
            None if Some(track) != self.lead => self.hold(packet),
            None if packet.is_key() => self.begin(packet, time_base),
            None => {
                self.is_strict = true;
                Verdict::Drop(packet)
            }
        }
    }

    /// The packets held so far, oldest first, to be judged again now that the beginning is known.
    pub(super) fn release(&mut self) -> VecDeque<Packet> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    fn begin(&mut self, packet: Packet, time_base: TimeBase) -> Verdict {
        let at = packet.pts().or(packet.dts()).unwrap_or(0);
        self.zero_us = Some(time_base.rescale(at, TimeBase::MICROSECONDS));
        Verdict::Keep(packet)
    }

    fn judge_late(&self, packet: Packet, time_base: TimeBase, zero: i64) -> Verdict {
        let Some(at) = packet.pts().or(packet.dts()) else { return Verdict::Keep(packet) };
        let before = zero - time_base.rescale(at, TimeBase::MICROSECONDS);
        let lead = if self.is_strict { 0 } else { LEAD_MICROSECONDS };
        // Ticks of another track round to the microsecond below; one of them is no time before.
        let is_before =
            before > lead.max(TimeBase { num: time_base.num, den: time_base.den }.rescale(1, TimeBase::MICROSECONDS));
        if is_before && self.lead.is_some() { Verdict::Drop(packet) } else { Verdict::Keep(packet) }
    }

    fn hold(&mut self, packet: Packet) -> Verdict {
        self.held_bytes += packet.size();
        self.held.push_back(packet);
        let mut over = Vec::new();
        while self.held_bytes > HELD_BYTES {
            let Some(oldest) = self.held.pop_front() else { break };
            self.held_bytes -= oldest.size();
            over.push(oldest);
        }
        if over.is_empty() {
            return Verdict::Held;
        }
        Verdict::Overflow(over)
    }
}
