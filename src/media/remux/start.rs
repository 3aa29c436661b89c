//! Where the finished file begins: with the first packet that can be presented. Pictures begin at their first keyframe, sound
//! with its first packet.
//!
//! ```text
//! pictures       p p p K . . .        p: before the keyframe, left out
//! sound     s s s s s s s s s s .     all of it
//!           ╰ zero
//! ```
//! Encoders give sound a lead of a packet or two (priming). Such a lead stays in the file, before zero, which is then at
//! the keyframe.
//!
//! Of a recording that was damaged every packet counts: its pictures begin with the first one, too
//! ([`OutputStart::AtFirstPacket`]), and may show only from the first keyframe on.

use std::collections::{BTreeSet, VecDeque};

use super::OutputStart;
use super::reorder::MOST_REORDERED;
use crate::media::ffi::{Packet, TimeBase};

/// A lead of sound before the first keyframe that is the encoder's.
const LEAD_MICROSECONDS: i64 = 100_000;
/// Packets held back while one of the tracks has not shown where it begins.
const HELD_BYTES: usize = 8 << 20;

/// What to do with a packet.
pub(super) enum PacketVerdict {
    /// Write it.
    Keep(Packet),
    /// It lies before the beginning.
    Drop(Packet),
    /// It waits here until the beginning is known.
    Held,
}

/// Finds the beginning, then decides which packets lie before it.
#[derive(Default)]
pub(super) struct StartFinder {
    /// The picture track that decides, index in the source.
    lead: Option<usize>,
    begins: OutputStart,
    /// Tracks of sound and pictures, and those of them that have not shown a packet that they can begin with.
    timed: BTreeSet<usize>,
    awaited: BTreeSet<usize>,
    zero_us: Option<i64>,
    /// Where the first keyframe of the picture track that decides is presented.
    keyframe_us: Option<i64>,
    /// The earliest presentation time so far, and the packets of the deciding track, where all of them are kept.
    earliest_us: Option<i64>,
    lead_packets: usize,
    held: VecDeque<Packet>,
    held_bytes: usize,
}

impl StartFinder {
    /// Of tracks of sound and pictures, of which one of pictures may decide.
    pub(super) fn new(lead: Option<usize>, tracks: impl Iterator<Item = usize>, begins: OutputStart) -> Self {
        let timed: BTreeSet<usize> = tracks.collect();
        Self { lead, begins, awaited: timed.clone(), timed, ..Self::default() }
    }

    pub(super) fn lead(&self) -> Option<usize> {
        self.lead
    }

    /// Whether there is a packet, and a picture to begin with where there are pictures.
    pub(super) fn is_found(&self) -> bool {
        self.earliest_us.is_some() && (self.lead.is_none() || self.keyframe_us.is_some())
    }

    /// The instant that becomes zero, microseconds of the source's timeline, once it is known.
    pub(super) fn zero_us(&self) -> Option<i64> {
        self.zero_us
    }

    /// Judges a packet of the source.
    pub(super) fn judge(&mut self, packet: Packet, time_base: TimeBase) -> PacketVerdict {
        let is_lead = Some(packet.stream()) == self.lead;
        let at = packet.pts().or(packet.dts()).map(|at| time_base.rescale(at, TimeBase::MICROSECONDS));
        if is_lead && packet.is_key() && self.keyframe_us.is_none() {
            self.keyframe_us = at.or(self.earliest_us).or(Some(0));
        }
        if is_lead && self.keyframe_us.is_none() && self.begins == OutputStart::AtKeyframe {
            return PacketVerdict::Drop(packet);
        }
        if self.zero_us.is_some() {
            return PacketVerdict::Keep(packet);
        }
        self.hold(packet, at);
        PacketVerdict::Held
    }

    /// Waits until no packet can come any more that is presented before those that are here.
    fn hold(&mut self, packet: Packet, at: Option<i64>) {
        if self.timed.contains(&packet.stream()) {
            self.earliest_us = self.earliest_us.into_iter().chain(at.or(Some(0))).min();
        }
        self.awaited.remove(&packet.stream());
        self.lead_packets += usize::from(Some(packet.stream()) == self.lead);
        self.held_bytes += packet.size();
        self.held.push_back(packet);
        let is_ordered =
            self.begins == OutputStart::AtKeyframe || self.lead.is_none() || self.lead_packets > MOST_REORDERED;
        if self.awaited.is_empty() && is_ordered || self.held_bytes > HELD_BYTES {
            self.settle();
        }
    }

    /// The packets held so far, oldest first, to be judged again now that the beginning is known.
    pub(super) fn release(&mut self) -> VecDeque<Packet> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Ends the wait for more packets; whether there are any to be released.
    pub(super) fn settle(&mut self) -> bool {
        let waits = self.zero_us.is_none() && !self.held.is_empty();
        if waits {
            let earliest = self.earliest_us.unwrap_or(0);
            let is_priming = |keyframe: &i64| keyframe.saturating_sub(earliest) <= LEAD_MICROSECONDS;
            let keyframe = self.keyframe_us.filter(|_| self.begins == OutputStart::AtKeyframe);
            self.zero_us = Some(keyframe.filter(is_priming).unwrap_or(earliest));
        }
        waits
    }
}
