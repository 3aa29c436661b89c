//! Pictures that are samples of their own: JPEG, of which the end must be looked for, and ProRes.

use std::io::{Read, Seek};
use std::ops::Range;

use super::Walker;
use crate::salvage::element::LOOK_BYTES;
use crate::salvage::nal::intra::{self, Marker};
use crate::salvage::nal::{MAX_UNIT_BYTES, Standard};

/// Most markers of one picture: progressive ones have a scan for each of a few refinements of each component.
const MOST_MARKERS: usize = 512;
/// How much of the data is looked at at once.
const DATA_BYTES: usize = 32 << 10;

impl<R: Read + Seek> Walker<'_, R> {
    /// The end of the JPEG at a place, and how many bytes were looked at to tell.
    pub(super) fn jpeg_end(&mut self, start: u64) -> (Option<u64>, u64) {
        if !intra::may_begin(Standard::Jpeg, self.source.at(start, LOOK_BYTES)) {
            return (None, 0);
        }
        let mut at = start + 2;
        let end = self.markers_end(&mut at);
        (end.filter(|end| *end <= self.limit), at - start)
    }

    /// Goes from marker to marker.
    fn markers_end(&mut self, at: &mut u64) -> Option<u64> {
        let mut has_frame = false;
        for _ in 0..MOST_MARKERS {
            match intra::marker(self.source.at(*at, LOOK_BYTES))? {
                Marker::Table(bytes) => *at += bytes,
                Marker::Frame(bytes, (width, height)) => {
                    has_frame = width > 0 && height > 0;
                    *at += bytes;
                }
                Marker::Scan(bytes) if has_frame => {
                    *at += bytes;
                    self.pass_data(at)?;
                }
                Marker::End(bytes) if has_frame => return Some(*at + bytes),
                Marker::Scan(_) | Marker::End(_) => return None,
            }
        }
        None
    }

    /// Goes to the marker behind coded data.
    fn pass_data(&mut self, at: &mut u64) -> Option<()> {
        let most = self.limit.min(at.saturating_add(MAX_UNIT_BYTES));
        while *at < most {
            let bytes = self.source.at(*at, DATA_BYTES);
            if let Some(marker) = intra::next_marker(bytes) {
                *at += marker as u64;
                return Some(());
            }
            // A marker may lie across the end of what was seen.
            *at += (bytes.len().saturating_sub(1) as u64).max(1);
        }
        None
    }

    /// Where a picture begins that the end of the media cuts off.
    pub(super) fn find_cut_intra(&mut self, from: u64, step: u64) -> Option<u64> {
        let standard = self.video?.standard;
        let mut at = from;
        while at < self.limit && !self.budget.is_spent() {
            let before = at;
            at += self.glance(at, self.limit);
            let bytes = self.source.at(at, LOOK_BYTES);
            if at < self.limit && intra::begins(standard, bytes) && (at - from).is_multiple_of(step) {
                return Some(at);
            }
            at += 1;
            self.budget.spend(at - before);
        }
        None
    }

    /// Takes a picture.
    pub(super) fn accept_intra(&mut self, range: Range<u64>) {
        let sample = self.source.at(range.start, LOOK_BYTES);
        let picture = self.parameters.as_mut().and_then(|parameters| parameters.picture(sample));
        self.largest_unit_bytes = self.largest_unit_bytes.max(range.end - range.start);
        self.push_frame(range, true, picture);
    }
}
