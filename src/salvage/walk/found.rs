//! What a walk finds, in few bytes: a recording of a day has millions of pictures and frames of sound.

use std::ops::Range;

use crate::salvage::nal::{CodecParameters, Picture};

/// A picture as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Byte offset in the file, and above [`OFFSET_BITS`] what is known of the picture.
    place: u64,
    /// `PicOrderCnt` within the coded video sequence.
    order: i64,
    /// Size in bytes.
    pub size_bytes: u32,
    /// Frames of the first audio track before it.
    pub audio_before: u32,
}

/// No file is longer.
const OFFSET_BITS: u32 = 60;
const IS_SYNC: u64 = 1 << 60;
const IS_READ: u64 = 1 << 61;
const BEGINS: u64 = 1 << 62;
const IS_CONSISTENT: u64 = 1 << 63;

impl Frame {
    /// A picture in a range of the file behind so many frames of sound; whether decoding can begin there, and what its
    /// slice header says, where it could be read.
    pub fn new(range: Range<u64>, audio_before: usize, is_sync: bool, picture: Option<Picture>) -> Self {
        let flag = |flag: u64, is_set: bool| if is_set { flag } else { 0 };
        let known = flag(IS_SYNC, is_sync)
            | flag(IS_READ, picture.is_some())
            | flag(BEGINS, picture.is_some_and(|picture| picture.begins_sequence))
            | flag(IS_CONSISTENT, picture.is_some_and(|picture| picture.is_consistent));
        Self {
            place: range.start & ((1 << OFFSET_BITS) - 1) | known,
            order: picture.map_or(0, |picture| picture.order),
            size_bytes: u32::try_from(range.end - range.start).unwrap_or(u32::MAX),
            audio_before: number(audio_before),
        }
    }

    /// Byte offset in the file.
    pub const fn offset(&self) -> u64 {
        self.place & ((1 << OFFSET_BITS) - 1)
    }

    /// Whether decoding can begin here.
    pub const fn is_sync(&self) -> bool {
        self.place & IS_SYNC != 0
    }

    /// `PicOrderCnt` within the coded video sequence, where its slice header could be read.
    pub const fn order(&self) -> Option<i64> {
        if self.place & IS_READ != 0 { Some(self.order) } else { None }
    }

    /// Whether a coded video sequence begins with it.
    pub const fn begins_sequence(&self) -> bool {
        self.place & BEGINS != 0
    }

    /// Whether its numbers follow on those of the picture before it, as far as they could be read.
    pub const fn is_consistent(&self) -> bool {
        self.place & IS_CONSISTENT != 0
    }
}

/// An audio frame as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFrame {
    /// Byte offset in the file.
    pub offset: u64,
    /// Size in bytes.
    pub size_bytes: u32,
}

/// Bytes that no element explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaGap {
    /// Where in the file.
    pub range: Range<u64>,
    /// Pictures before it.
    pub frames_before: usize,
    /// Frames before it, by audio track.
    pub audio_before: Box<[u32]>,
    /// Bytes that are missing there and not in the file.
    pub hidden_bytes: u64,
}

/// What a walk found.
#[derive(Debug, Clone, Default)]
pub struct WalkResult {
    /// Pictures in file order.
    pub frames: Vec<Frame>,
    /// Audio frames in file order, by track.
    pub audio: Vec<Vec<AudioFrame>>,
    /// What is not explained, in file order.
    pub gaps: Vec<MediaGap>,
    /// Parameter sets that came along in the media.
    pub inband: Vec<Vec<u8>>,
    /// The parameter sets with which the walk ended.
    pub parameters: Option<CodecParameters>,
    /// Bytes looked at.
    pub total_bytes: u64,
    /// How many bytes were looked at to find out what stands where, those that were looked at again included.
    pub work_bytes: u64,
}

impl WalkResult {
    /// What is known of media that is not looked through.
    pub fn unread(range: &Range<u64>) -> Self {
        let gap = MediaGap { range: range.clone(), frames_before: 0, audio_before: Box::default(), hidden_bytes: 0 };
        Self { gaps: vec![gap], total_bytes: range.end - range.start, ..Self::default() }
    }

    /// Bytes that no element explains.
    pub fn unexplained_bytes(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.range.end - gap.range.start).sum()
    }

    /// How many in a thousand bytes are explained.
    pub fn explained_permille(&self) -> u64 {
        1000 - (self.unexplained_bytes().saturating_mul(1000) / self.total_bytes.max(1)).min(1000)
    }

    /// Moves everything that was found to the places that those of the walk have in the file; the length of a gap is that of
    /// the media in it.
    pub fn relocate(&mut self, to: impl Fn(u64) -> u64) {
        for frame in &mut self.frames {
            let offset = frame.offset();
            frame.place = frame.place - offset + to(offset);
        }
        for frame in self.audio.iter_mut().flatten() {
            frame.offset = to(frame.offset);
        }
        for gap in &mut self.gaps {
            let bytes = gap.range.end - gap.range.start;
            gap.range.start = to(gap.range.start);
            gap.range.end = gap.range.start + bytes;
        }
    }

    /// Keeps each parameter set once; a recorder that repeats them before every key frame writes the same ones.
    pub(super) fn keep_inband(&mut self, unit: &[u8]) {
        const MOST: usize = 64;
        if self.inband.len() < MOST && !self.inband.iter().any(|known| known == unit) {
            self.inband.push(unit.to_vec());
        }
    }
}

/// A count of samples, of which there are never so many.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_picture_is_kept_in_few_bytes() {
        let picture =
            Picture { order: -3, begins_sequence: true, is_second_field: false, is_consistent: true, is_next: true };
        let at = (1 << OFFSET_BITS) - 100;
        let frame = Frame::new(at..at + 70, 9, true, Some(picture));
        assert_eq!((frame.offset(), frame.size_bytes, frame.audio_before), (at, 70, 9));
        assert_eq!((frame.order(), frame.is_sync()), (Some(-3), true));
        assert!(frame.begins_sequence() && frame.is_consistent());
        let frame = Frame::new(5..6, 0, false, None);
        assert_eq!((frame.offset(), frame.order(), frame.is_sync()), (5, None, false));
        assert!(!frame.begins_sequence() && !frame.is_consistent());
        assert_eq!((size_of::<Frame>(), size_of::<AudioFrame>()), (24, 16));
    }
}
