//! VP9 as containers want it: a picture that is not shown lies in one packet with the next one that is (VP9 bitstream
//! specification, annex B: superframes).
//!
//! Some writers store hidden pictures as packets of their own. Muxers put them together, or leave out what has no shown
//! picture behind it. Here they are put together as they are read, so that all who read a file count and compare the same packets.

use std::mem;

use super::ffi::source::StreamFacts;
use super::ffi::{Flags, Packet};

/// Most pictures in one superframe (annex B.3).
const MOST_FRAMES: usize = 8;

/// The hidden pictures of one track that wait for a shown one.
#[derive(Default)]
pub(super) struct Superframes {
    is_vp9: bool,
    waiting: Vec<Packet>,
}

impl Superframes {
    pub(super) fn of(facts: &StreamFacts) -> Self {
        Self { is_vp9: facts.codec == "vp9", waiting: Vec::new() }
    }

    /// Hidden pictures behind which no shown one has come.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Takes the next packet of the track; gives it back, with what waited for it, unless it is a hidden picture.
    pub(super) fn take(&mut self, packet: Packet) -> Option<Packet> {
        let payload = packet.data().unwrap_or_default();
        if !self.is_vp9 || payload.is_empty() {
            return Some(packet);
        }
        let is_hidden = is_hidden(payload);
        if self.waiting.is_empty() && !is_hidden {
            return Some(packet);
        }
        let sizes = sizes(payload);
        if sizes.len() == 1 && is_hidden && self.waiting.len() + 1 < MOST_FRAMES {
            self.waiting.push(packet);
            return None;
        }
        if self.waiting.is_empty() {
            return Some(packet);
        }
        Some(joined(&mem::take(&mut self.waiting), packet, &sizes))
    }
}

/// The shown packet with the hidden ones in front; its times and flags are those of the packet.
fn joined(hidden: &[Packet], mut packet: Packet, shown: &[usize]) -> Packet {
    let parts = hidden.iter().map(|part| part.data().unwrap_or_default());
    let sizes: Vec<usize> = parts.clone().map(<[u8]>::len).chain(shown.iter().copied()).collect();
    let mut bytes = parts.collect::<Vec<_>>().concat();
    let media = shown.iter().sum::<usize>().min(packet.size());
    bytes.extend(&packet.data().unwrap_or_default()[..media]);
    bytes.extend(index(&sizes));
    packet.grow(bytes.len().saturating_sub(packet.size()));
    packet.shrink(bytes.len());
    if let Some(into) = packet.data_mut().filter(|into| into.len() == bytes.len()) {
        into.copy_from_slice(&bytes);
    }
    if hidden.iter().any(Packet::is_key) {
        packet.set_flags(packet.flags() | Flags::KEY);
    }
    packet
}

/// The index behind the pictures of a superframe (annex B.2).
fn index(sizes: &[usize]) -> Vec<u8> {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let width = (1..4).find(|width| largest < 1 << (8 * width)).unwrap_or(4);
    let marker = 0xC0 | u8::try_from((width - 1) << 3 | (sizes.len() - 1)).unwrap_or(0) & 0x1F;
    let mut index = vec![marker];
    for size in sizes {
        index.extend(&size.to_le_bytes()[..width]);
    }
    index.push(marker);
    index
}

/// The sizes of the pictures in a packet: one, or those that its index says.
fn sizes(payload: &[u8]) -> Vec<usize> {
    said(payload).unwrap_or_else(|| vec![payload.len()])
}

fn said(payload: &[u8]) -> Option<Vec<usize>> {
    let marker = *payload.last().filter(|marker| **marker & 0xE0 == 0xC0)?;
    let (frames, width) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
    let at = payload.len().checked_sub(2 + frames * width).filter(|at| payload[*at] == marker)?;
    let size = |bytes: &[u8]| bytes.iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
    let sizes: Vec<usize> = payload[at + 1..payload.len() - 1].chunks(width).map(size).collect();
    (sizes.iter().sum::<usize>() <= at).then_some(sizes)
}

/// Whether the header of a picture says that it is not shown (§6.2: `show_existing_frame`, `show_frame`).
fn is_hidden(payload: &[u8]) -> bool {
    let Some(head) = payload.first().filter(|head| **head >> 6 == 2) else { return false };
    // Profile 3 has a reserved bit in front of what follows.
    let rest = if head >> 4 & 3 == 3 { head << 5 } else { head << 4 };
    rest & 0x80 == 0 && rest & 0x20 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u8 = 0b1000_0010;
    const SHOWN: u8 = 0b1000_0110;
    const HIDDEN: u8 = 0b1000_0100;
    const EXISTING: u8 = 0b1000_1000;

    fn packet(bytes: &[u8], pts: i64) -> Packet {
        let mut packet = Packet::copy(bytes);
        packet.set_pts(Some(pts));
        packet
    }

    fn vp9() -> Superframes {
        Superframes { is_vp9: true, ..Superframes::default() }
    }

    #[test]
    fn hidden_pictures_come_with_the_next_shown_one() {
        let mut track = vp9();
        assert!(track.take(packet(&[KEY, 1, 2], 0)).is_some_and(|p| p.size() == 3));
        assert!(track.take(packet(&[HIDDEN, 1], 40)).is_none());
        assert_eq!(track.waiting(), 1);
        let both = track.take(packet(&[SHOWN, 7, 8], 41)).unwrap();
        assert_eq!(both.data().unwrap(), [HIDDEN, 1, SHOWN, 7, 8, 0xC1, 2, 3, 0xC1]);
        assert_eq!((both.pts(), track.waiting()), (Some(41), 0));
        assert_eq!(sizes(both.data().unwrap()), [2, 3]);
        assert!(track.take(packet(&[EXISTING], 80)).is_some());
    }

    #[test]
    fn a_superframe_takes_what_waits_into_itself() {
        let mut track = vp9();
        assert!(track.take(packet(&[HIDDEN, 1], 0)).is_none());
        let both = track.take(packet(&[HIDDEN, SHOWN, 0xC1, 1, 1, 0xC1], 0)).unwrap();
        assert_eq!(both.data().unwrap(), [HIDDEN, 1, HIDDEN, SHOWN, 0xC2, 2, 1, 1, 0xC2]);
    }

    #[test]
    fn sizes_beyond_a_byte_widen_the_index() {
        let mut track = vp9();
        let long = [&[HIDDEN][..], &[1; 299]].concat();
        assert!(track.take(packet(&long, 0)).is_none());
        let both = track.take(packet(&[SHOWN], 0)).unwrap();
        assert_eq!(sizes(both.data().unwrap()), [300, 1]);
    }

    #[test]
    fn other_codecs_and_nonsense_pass() {
        let mut other = Superframes::default();
        assert!(other.take(packet(&[HIDDEN], 0)).is_some());
        let mut track = vp9();
        for bytes in [&[][..], &[0xFF; 5], &[0xC7], &[SHOWN, 0xC1, 9, 9, 0xC1], &[0b1011_0011, 0xDF]] {
            assert!(track.take(packet(bytes, 0)).is_some_and(|p| p.size() == bytes.len()), "{bytes:?}");
        }
        assert!(is_hidden(&[0b1011_0010]) && !is_hidden(&[0b1011_0111]), "profile 3 has one bit more");
        for _ in 1..MOST_FRAMES {
            assert!(track.take(packet(&[HIDDEN], 0)).is_none());
        }
        assert!(track.take(packet(&[HIDDEN], 0)).is_some(), "no more fit");
    }
}
