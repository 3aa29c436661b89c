//! Big-endian reading out of a byte slice and the walk over the boxes in it.
//!
//! Nothing here allocates or panics; what is not there reads as `None`, and a walk ends at the first box that does
//! not fit. It must not know what any box means.

use super::boxes::FourCc;

/// A position in a byte slice.
#[derive(Debug, Clone)]
pub(super) struct ByteCursor<'a> {
    rest: &'a [u8],
}

impl<'a> ByteCursor<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A 32-bit number in version 0 of a box, a 64-bit number in version 1.
    pub(super) fn wide(&mut self, version: u8) -> Option<u64> {
        if version == 0 { self.u32().map(u64::from) } else { self.u64() }
    }

    /// Version and flags of a full box (ISO/IEC 14496-12 §4.2.2).
    pub(super) fn full(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        let [version, ..] = word.to_be_bytes();
        Some((version, word & 0x00FF_FFFF))
    }

    /// Table entries of `N` words each: so many, or as many as there are. What collects them is allocated once.
    pub(super) fn entries<const N: usize>(&self, count: usize) -> impl ExactSizeIterator<Item = [u32; N]> + use<'a, N> {
        let (words, _) = self.rest.as_chunks::<4>();
        words.as_chunks::<N>().0.iter().take(count).map(|entry| entry.map(u32::from_be_bytes))
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }
}

/// A box inside a byte slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChildBox<'a> {
    pub(super) fourcc: FourCc,
    /// Byte offset in the file.
    pub(super) offset: u64,
    /// The whole box with its header, clipped to what is there.
    pub(super) raw: &'a [u8],
    /// What follows the header.
    pub(super) body: &'a [u8],
    /// Whether the box says that it is longer than its parent.
    pub(super) is_torn: bool,
}

impl ChildBox<'_> {
    /// Appends the box with the length that it has: one that says that it is longer than its parent, or that it goes to the
    /// end (size 0, §4.2), would swallow what is written behind it.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend(self.raw);
        let length = self.raw.len() as u64;
        match self.raw {
            [0, 0, 0, 1, ..] if self.raw.len() >= 16 => out[at + 8..at + 16].copy_from_slice(&length.to_be_bytes()),
            [_, _, _, _, ..] => {
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            _ => {}
        }
    }

    /// The box as [`Self::append_to`] writes it.
    pub(super) fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len());
        self.append_to(&mut out);
        out
    }

    /// Byte offset of the body in the file.
    pub(super) const fn body_offset(&self) -> u64 {
        self.offset + (self.raw.len() - self.body.len()) as u64
    }
}

/// The boxes in a slice, in order.
#[derive(Debug, Clone)]
pub(super) struct ChildBoxes<'a> {
    data: &'a [u8],
    offset: u64,
}

/// Walks the boxes in `data`, which begins at byte `offset` of the file.
pub(super) const fn children(data: &[u8], offset: u64) -> ChildBoxes<'_> {
    ChildBoxes { data, offset }
}

/// Walks the boxes inside a box.
pub(super) const fn children_of<'a>(parent: &ChildBox<'a>) -> ChildBoxes<'a> {
    children(parent.body, parent.body_offset())
}

impl<'a> Iterator for ChildBoxes<'a> {
    type Item = ChildBox<'a>;

    fn next(&mut self) -> Option<ChildBox<'a>> {
        let mut head = ByteCursor::new(self.data);
        let size32 = head.u32()?;
        let fourcc = FourCc(head.array()?);
        let size = match size32 {
            0 => self.data.len() as u64,
            1 => head.u64()?,
            n => u64::from(n),
        };
        let header_bytes = self.data.len() - head.remaining();
        if size < header_bytes as u64 {
            self.data = &[];
            return None;
        }
        let taken = usize::try_from(size).unwrap_or(usize::MAX).min(self.data.len());
        let (raw, rest) = self.data.split_at(taken);
        let child =
            ChildBox { fourcc, offset: self.offset, raw, body: &raw[header_bytes..], is_torn: size > taken as u64 };
        self.data = rest;
        self.offset += taken as u64;
        Some(child)
    }
}

impl ChildBoxes<'_> {
    /// Bytes that the walk has not come past: not zero at its end if they are no box.
    pub(super) const fn remaining(&self) -> usize {
        self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_at_what_is_no_box() {
        let data = b"\0\0\0\x09abcdX\0\0\0\x04efgh";
        let found: Vec<_> = children(data, 100).map(|c| (c.fourcc, c.offset, c.body.len())).collect();
        assert_eq!(found, [(FourCc(*b"abcd"), 100, 1)]);
    }

    #[test]
    fn a_box_longer_than_its_parent_is_clipped_and_says_so() {
        let child = children(b"\0\0\0\x01wide\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFab", 0).next().unwrap();
        assert!(child.is_torn);
        assert_eq!(child.body, b"ab");
        assert_eq!(child.body_offset(), 16);
    }

    #[test]
    fn a_size_of_zero_goes_to_the_end_of_the_parent() {
        let child = children(b"\0\0\0\0lastxyz", 0).next().unwrap();
        assert_eq!((child.body, child.is_torn), (&b"xyz"[..], false));
    }

    #[test]
    fn a_box_is_written_with_the_length_that_it_has() {
        for (raw, written) in [
            (&b"\0\0\0\x0Afreexy"[..], &b"\0\0\0\x0Afreexy"[..]),
            (&b"\0\0\0\0freexy"[..], &b"\0\0\0\x0Afreexy"[..]),
            (&b"\0\0\x7F\0freexy"[..], &b"\0\0\0\x0Afreexy"[..]),
            (&b"\0\0\0\x01free\0\0\0\0\0\0\x7F\0xy"[..], &b"\0\0\0\x01free\0\0\0\0\0\0\0\x12xy"[..]),
        ] {
            assert_eq!(children(raw, 0).next().unwrap().to_vec(), written);
        }
    }
}
