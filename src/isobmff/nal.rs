//! Whether the NAL units of each sample fill it exactly (ISO/IEC 14496-15 §5.3.3, §8.3.3).
//!
//! Fed with the payload of a track in decoding order, in pieces of any size; looks at lengths and at the first byte of
//! each unit and at nothing else.

use super::headers::stsd::SampleEntry;
use super::tables::stsz::SampleSizes;
use super::track::Track;

/// Follows the lengths through one track.
#[derive(Debug)]
pub(super) struct NalChain<'a> {
    entries: &'a [SampleEntry],
    sizes: &'a SampleSizes,
    /// Bytes of each length field in this chunk; 0 where the samples have no NAL units.
    length_bytes: u8,
    /// Index of the next sample.
    next: u64,
    left_in_sample: u64,
    /// Bytes of the length field that are still to come; 0 inside a unit.
    left_in_length: u8,
    left_in_unit: u64,
    /// Whether the next byte is the first of a unit.
    is_unit_start: bool,
    is_broken: bool,
    broken: u64,
}

impl<'a> NalChain<'a> {
    pub(super) fn new(track: &'a Track) -> Self {
        Self {
            entries: track.descriptions.entries(),
            sizes: &track.tables.sizes,
            length_bytes: 0,
            next: 0,
            left_in_sample: 0,
            left_in_length: 0,
            left_in_unit: 0,
            is_unit_start: false,
            is_broken: false,
            broken: 0,
        }
    }

    /// Number of samples so far whose units do not fill them.
    pub(super) const fn broken(&self) -> u64 {
        self.broken
    }

    /// Says which sample description holds from here on.
    pub(super) fn begin_chunk(&mut self, description_index: u32) {
        let index = usize::try_from(description_index).ok().and_then(|index| index.checked_sub(1));
        let entry = index.and_then(|index| self.entries.get(index));
        self.length_bytes = entry.and_then(|entry| entry.nal_length_bytes).unwrap_or(0);
    }

    /// Takes the next bytes of the track.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left_in_sample == 0 && !self.begin_sample() {
                return;
            }
            let whole = self.left_in_sample.min(bytes.len() as u64);
            let step = match () {
                () if self.is_broken || self.length_bytes == 0 => whole,
                () if self.left_in_length > 0 || self.is_unit_start => 1,
                () => self.left_in_unit.min(whole),
            };
            let Some((taken, rest)) = bytes.split_at_checked(usize::try_from(step).unwrap_or(bytes.len())) else {
                return;
            };
            self.take(taken);
            bytes = rest;
        }
    }

    /// Goes to the next sample that has bytes; `false` behind the last one.
    fn begin_sample(&mut self) -> bool {
        while self.left_in_sample == 0 && self.next < self.sizes.count() {
            self.left_in_sample = u64::from(self.sizes.get(self.next));
            self.next += 1;
        }
        self.is_broken = false;
        self.is_unit_start = false;
        self.left_in_length = self.length_bytes;
        self.left_in_unit = 0;
        self.left_in_sample > 0
    }

    fn take(&mut self, taken: &[u8]) {
        self.left_in_sample -= taken.len() as u64;
        if !self.is_broken && self.length_bytes > 0 {
            self.follow(taken);
        }
        if self.left_in_sample == 0 {
            let ends_between_units = self.left_in_unit == 0 && self.left_in_length == self.length_bytes;
            self.broken += u64::from(self.is_broken || !ends_between_units);
        }
    }

    fn follow(&mut self, taken: &[u8]) {
        let first = taken.first().copied().unwrap_or(0);
        if self.left_in_length > 0 {
            self.left_in_unit = self.left_in_unit << 8 | u64::from(first);
            self.left_in_length -= 1;
            self.is_unit_start = self.left_in_length == 0;
            // A unit has at least its header, and ends with the sample at the latest.
            let is_possible = (1..=self.left_in_sample).contains(&self.left_in_unit);
            self.is_broken = self.is_unit_start && !is_possible;
            return;
        }
        // `forbidden_zero_bit` is the first bit of a unit in both standards.
        self.is_broken = self.is_unit_start && first & 0x80 != 0;
        self.is_unit_start = false;
        self.left_in_unit -= taken.len() as u64;
        if self.left_in_unit == 0 {
            self.left_in_length = self.length_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::{FourCc, Track};

    /// Feeds samples in pieces of a length and counts the broken ones.
    fn broken(samples: &[&[u8]], piece: usize) -> u64 {
        let mut stsd = b"\0\0\0\x75stsd\0\0\0\0\0\0\0\x01\0\0\0\x65avc1".to_vec();
        stsd.resize(16 + 8 + 78, 0);
        stsd.extend(b"\0\0\0\x0FavcC\x01\x64\0\x1E\xFF\xE0\0");
        let mut track = Track::new(1, FourCc(*b"vide"), 1000, &stsd, (16, 16)).unwrap();
        let size = |sample: &&[u8]| u32::try_from(sample.len()).unwrap();
        track.tables.sizes = SampleSizes::List(samples.iter().map(size).collect());
        let mut chain = NalChain::new(&track);
        chain.begin_chunk(1);
        assert_eq!(chain.length_bytes, 4);
        samples.concat().chunks(piece).for_each(|bytes| chain.feed(bytes));
        chain.broken()
    }

    #[test]
    fn units_that_fill_their_samples_are_sound_in_any_pieces() {
        let samples: [&[u8]; 3] = [b"\0\0\0\x02\x65a\0\0\0\x01\x06", b"", b"\0\0\0\x01\x41"];
        for piece in [1, 2, 3, 5, 100] {
            assert_eq!(broken(&samples, piece), 0);
        }
    }

    #[test]
    fn each_way_of_not_filling_a_sample_counts_once() {
        let samples: [&[u8]; 5] = [
            b"\0\0\0\x09\x65a",     // longer than the sample
            b"\0\0\0\x02\x65a\0\0", // ends inside a length
            b"\0\0\0\0\0\0\0\0",    // zeros
            b"\0\0\0\x02\xE5a",     // forbidden bit
            b"\0\0\0\x02\x65a",     // sound again
        ];
        for piece in [1, 3, 100] {
            assert_eq!(broken(&samples, piece), 4);
        }
    }
}
