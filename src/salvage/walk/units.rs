//! NAL units become access units: what belongs to one picture, and what of a picture is whole.

use std::io::{Read, Seek};
use std::ops::Range;

use super::{Frame, Walker, sample_limit};
use crate::salvage::element::LOOK_BYTES;
use crate::salvage::nal::{CodecParameters, Picture, SLICE_PREFIX_BYTES, UnitRole};

/// An access unit that is being put together.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct OpenUnit {
    pub(super) range: (u64, u64),
    pub(super) has_picture: bool,
    pub(super) is_orphan: bool,
    pub(super) is_sync: bool,
    pub(super) picture: Option<Picture>,
    /// Whether the picture that is shown has not come yet: those before it are hidden.
    pub(super) waits: bool,
}

impl<R: Read + Seek> Walker<'_, R> {
    /// What the unit at a place is to its access unit; what is wanted of its body is put behind `head`.
    pub(super) fn unit_head(&mut self, at: u64, head: &mut Vec<u8>) -> Option<UnitRole> {
        let video = self.video?;
        let bytes = self.source.at(at, LOOK_BYTES);
        let unit = video.unit(bytes)?;
        let most = if matches!(unit.role, UnitRole::Slice { .. }) { SLICE_PREFIX_BYTES } else { LOOK_BYTES };
        let end = usize::try_from(unit.bytes).unwrap_or(usize::MAX).min(bytes.len()).min(video.length_bytes + most);
        head.extend_from_slice(bytes.get(video.length_bytes..end)?);
        Some(unit.role)
    }

    /// Takes a unit of which `look` puts what is wanted of its body into an empty buffer, and says what it is.
    pub(super) fn accept_with(
        &mut self,
        range: Range<u64>,
        look: impl FnOnce(&mut Self, &mut Vec<u8>) -> Option<UnitRole>,
    ) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        if let Some(role) = look(self, &mut head) {
            self.accept_unit(range, role, &head);
        }
        self.head = head;
    }

    fn accept_unit(&mut self, range: Range<u64>, role: UnitRole, body: &[u8]) {
        self.largest_unit_bytes = self.largest_unit_bytes.max(range.end - range.start);
        match role {
            UnitRole::Opens => {
                if self.parameters.as_mut().is_some_and(|p| p.take(body)) {
                    self.found.keep_inband(body);
                }
                self.begin_unit_if(|open| open.has_picture && !open.waits, &range);
            }
            UnitRole::Slice { is_first: true, is_sync } => {
                let picture = self.parameters.as_mut().and_then(|p| p.picture(body));
                let continues = picture.is_some_and(|p| p.is_second_field);
                self.begin_unit_if(|open| open.has_picture && !continues, &range);
                let waits = self.parameters.as_ref().is_some_and(CodecParameters::awaits_picture);
                // Of hidden pictures and the one that is shown with them, that is the one that counts.
                if let Some(open) = self.open.as_mut().filter(|open| !open.has_picture || open.waits) {
                    (open.has_picture, open.is_sync, open.picture, open.waits) = (true, is_sync, picture, waits);
                }
            }
            UnitRole::Slice { is_first: false, .. } => {
                self.begin_unit_if(|_| false, &range);
                if let Some(open) = self.open.as_mut().filter(|open| !open.has_picture) {
                    (open.has_picture, open.is_orphan) = (true, true);
                }
            }
            UnitRole::Closes => self.begin_unit_if(|_| false, &range),
        }
        if let Some(open) = &mut self.open {
            open.range.1 = range.end;
        }
    }

    /// Begins an access unit where none is open, or where the open one ends with what came before.
    fn begin_unit_if(&mut self, ends: impl Fn(&OpenUnit) -> bool, range: &Range<u64>) {
        if self.open.as_ref().is_some_and(ends) {
            self.close_unit();
        }
        self.open.get_or_insert(OpenUnit {
            range: (range.start, range.start),
            has_picture: false,
            is_orphan: false,
            is_sync: false,
            picture: None,
            waits: false,
        });
    }

    pub(super) fn close_unit(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (start, end) = open.range;
        if !open.has_picture || open.is_orphan || open.waits {
            self.note_gap(start..end);
            return;
        }
        self.push_frame(start..end, open.is_sync, open.picture);
    }

    /// Takes a sample of pictures; the walk is full with so many.
    pub(super) fn push_frame(&mut self, range: Range<u64>, is_sync: bool, picture: Option<Picture>) {
        let audio_before = self.found.audio.first().map_or(0, Vec::len);
        self.found.frames.push(Frame::new(range, audio_before, is_sync, picture));
        self.is_full |= self.found.frames.len() >= sample_limit();
    }

    /// A picture whose next slice is cut off by the end of the media is not whole. A slice of many megabytes is none: a frame
    /// of sound that is cut off begins as the length of one.
    pub(super) fn drop_if_continued(&mut self, at: u64) {
        let Some(video) = self.video else { return };
        let unit = video.unit(self.source.at(at, LOOK_BYTES));
        let is_cut_off = unit.is_some_and(|u| {
            at.saturating_add(u.bytes) > self.limit
                && !self.is_odd(u.bytes)
                && matches!(u.role, UnitRole::Slice { is_first: false, .. })
        });
        if let Some(open) = self.open.as_mut().filter(|_| is_cut_off) {
            open.is_orphan = true;
        }
    }
}
