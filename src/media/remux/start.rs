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
//!
//! Of a recording that was damaged every packet counts: its finished file begins with the first one
//! ([`Begins::AtFirstPacket`]), and its pictures may show only from the first keyframe on.

use std::collections::VecDeque;

use super::Begins;
use crate::media::ffi::{Packet, TimeBase};

/// A lead of sound before the first keyframe that is kept.
const LEAD_MICROSECONDS: i64 = 100_000;
/// No codec shows more pictures before the first one that is decoded (ITU-T H.264 §E.2.1, H.265 §7.4.3.2.1).
const MOST_REORDERED: usize = 16;
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
    begins: Begins,
    zero_us: Option<i64>,
    /// Whether the picture track that decides has a keyframe.
    has_keyframe: bool,
    /// Whether pictures were dropped, so that no sound before zero is kept.
    is_strict: bool,
    /// The earliest presentation time so far, and the packets of the deciding track, where all of them are kept.
    earliest_us: Option<i64>,
    lead_packets: usize,
    held: VecDeque<Packet>,
    held_bytes: usize,
}

impl Start {
    pub(super) fn new(lead: Option<usize>, begins: Begins) -> Self {
        Self { lead, begins, ..Self::default() }
    }

    /// Whether packets may lie before the beginning.
    fn is_choosy(&self) -> bool {
        self.lead.is_some() && self.begins == Begins::AtKeyframe
    }

    pub(super) fn lead(&self) -> Option<usize> {
        self.lead
    }

    /// Whether there is a beginning, and a picture to begin with where there are pictures.
    pub(super) fn is_found(&self) -> bool {
        self.zero_us.is_some() && (self.lead.is_none() || self.has_keyframe)
    }

    /// The instant that becomes zero, microseconds of the source's timeline, once it is known.
    pub(super) fn zero_us(&self) -> Option<i64> {
        self.zero_us
    }

    /// Judges a packet of the source.
    pub(super) fn judge(&mut self, packet: Packet, time_base: TimeBase) -> Verdict {
        let track = packet.stream();
        self.has_keyframe |= Some(track) == self.lead && packet.is_key();
        match self.zero_us {
            Some(_) if Some(track) == self.lead || !self.is_choosy() => Verdict::Keep(packet),
            Some(zero) => self.judge_late(packet, time_base, zero),
            None if self.lead.is_none() => self.begin(packet, time_base),
            None if !self.is_choosy() => self.gather(packet, time_base),
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

    /// Ends the wait for more packets, at the end of the file; whether there are any to be released.
    pub(super) fn settle(&mut self) -> bool {
        let waits = self.zero_us.is_none() && !self.is_choosy() && !self.held.is_empty();
        if waits {
            self.zero_us = self.earliest_us.or(Some(0));
        }
        waits
    }

    /// Waits until no picture can come any more that is shown before those that are here.
    fn gather(&mut self, packet: Packet, time_base: TimeBase) -> Verdict {
        let at = packet.pts().or(packet.dts()).map(|at| time_base.rescale(at, TimeBase::MICROSECONDS));
        self.earliest_us = self.earliest_us.into_iter().chain(at).min();
        self.lead_packets += usize::from(Some(packet.stream()) == self.lead);
        self.held_bytes += packet.size();
        self.held.push_back(packet);
        if self.lead_packets > MOST_REORDERED || self.held_bytes > HELD_BYTES {
            self.settle();
        }
        Verdict::Held
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
        if is_before { Verdict::Drop(packet) } else { Verdict::Keep(packet) }
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
