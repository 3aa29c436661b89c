//! Finishes an object inside its bucket: a new header goes up, the store copies the media, and what came of it is compared. Where the
//! store copies ranges, the result has the bytes of a local run that copies. Where it puts together whole objects (Google), the whole
//! original is the content of one `mdat`, with its old headers as bytes that no sample refers to.
//!
//! ```text
//! look at the key ─▶ assemble ─▶ compare the header and the ends of every copied range
//! ```
//!
//! A cut before the end of the assembly leaves the original alone; one after it leaves both, and the next run finds the finished
//! object by its id and compares it again. The original always stays.

use std::ops::Range;

use bytes::Bytes;

use super::error::{ArchiveError, Result};
use super::item::Transferred;
use super::naming::{NUMBERS_MAX, numbered};
use crate::deliver::{Assembled, Assembly, AssemblyPart, Ledger, PinnedObject, ServerCopy, Targets};
use crate::recording::{Asset, Kind};

/// The length of each comparison.
const COMPARED_BYTES: u64 = 16 << 10;
/// What is read of a new header at once.
const HEADER_PIECE_BYTES: usize = 4 << 20;

/// What an object becomes without leaving its bucket.
#[derive(Debug, Clone)]
pub struct InsidePlan {
    /// What comes first; empty where it is copied as it is.
    pub header: Bytes,
    /// What follows: byte ranges of the original.
    pub ranges: Vec<Range<u64>>,
    /// The key without a number.
    pub key: String,
    /// What the store puts it together of.
    pub copies: ServerCopy,
}

/// A finished object and the original that it was made of.
#[derive(Clone, Copy)]
pub struct InsideJob<'a> {
    /// The store.
    pub targets: &'a Targets,
    /// Where its upload is noted.
    pub ledger: &'a dyn Ledger,
    /// The original.
    pub source: &'a PinnedObject,
    /// What is made of it.
    pub plan: &'a InsidePlan,
    /// Its id.
    pub id: &'a str,
    /// An error unless this process still is the one that works on it.
    pub require_ours: &'a dyn Fn() -> Result<()>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum InsideOutcome {
    /// It is there and was compared.
    Made {
        /// The object.
        made: PinnedObject,
        /// Whether an earlier run made it.
        is_of_before: bool,
    },
    /// The store does not copy it.
    NotSupported,
}

/// Where the finished object is or will be.
#[derive(Debug, PartialEq, Eq)]
pub enum FinishedPlace {
    /// It is there already.
    Made(PinnedObject),
    /// The first key that is free.
    Free(String),
}

impl InsidePlan {
    /// What goes over the line for it.
    pub fn transferred(&self) -> Option<Transferred> {
        let parts = self.parts()?;
        let sent_bytes = parts.iter().map(AssemblyPart::sent_bytes).sum();
        let filled_bytes: u64 = parts.iter().map(AssemblyPart::read_bytes).sum();
        let compared: u64 = self.compared().iter().map(|(range, _)| 2 * (range.end - range.start)).sum();
        let (header_bytes, reads) = (self.header.len() as u64, 2 * self.compared().len() as u64);
        let of_header = header_bytes.div_ceil(HEADER_PIECE_BYTES as u64);
        let filled = parts.iter().filter(|part| part.read_bytes() > 0).count() as u64;
        let requests = parts.len() as u64 + filled + self.copies.requests_beside(&parts) + reads + of_header;
        Some(Transferred { read_bytes: filled_bytes + compared + header_bytes, sent_bytes, requests })
    }

    fn parts(&self) -> Option<Vec<AssemblyPart>> {
        self.copies.parts_of(self.header.len(), &self.ranges)
    }

    /// Ranges of the original that are compared, each with its place in the new object: the first and the last bytes, and those with
    /// which each part begins and ends that the store copied.
    fn compared(&self) -> Vec<(Range<u64>, u64)> {
        let total: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        let copied = self.copied_parts();
        let ends =
            copied.into_iter().flat_map(|part| [part.start, part.end.saturating_sub(COMPARED_BYTES).max(part.start)]);
        let places = std::iter::once(0).chain(ends).chain([total.saturating_sub(COMPARED_BYTES)]);
        let mut compared: Vec<_> = places.filter_map(|at| self.at(at)).collect();
        compared.dedup();
        compared
    }

    /// How far behind the header each part begins and ends that the store copies.
    fn copied_parts(&self) -> Vec<Range<u64>> {
        let (header_bytes, mut at, mut copied) = (self.header.len() as u64, 0, Vec::new());
        for part in self.parts().unwrap_or_default() {
            match part {
                AssemblyPart::Copied(range) => {
                    let begin = at - header_bytes;
                    at += range.end - range.start;
                    copied.push(begin..at - header_bytes);
                }
                sent @ AssemblyPart::Sent { .. } => at += sent.sent_bytes(),
            }
        }
        copied
    }

    /// Up to [`COMPARED_BYTES`] of the original that stand so far behind the header, and where they stand in the new object.
    fn at(&self, behind: u64) -> Option<(Range<u64>, u64)> {
        let mut passed = 0;
        for range in &self.ranges {
            let len = range.end - range.start;
            if behind < passed + len {
                let start = range.start + (behind - passed);
                let end = (start + COMPARED_BYTES).min(range.end);
                return Some((start..end, self.header.len() as u64 + behind));
            }
            passed += len;
        }
        None
    }
}

/// Looks for what an earlier run made of an object and still is that, or for the first free key.
pub fn place_of(
    targets: &Targets,
    source: &PinnedObject,
    (key, id): (&str, &str),
    still_is: &dyn Fn(&PinnedObject) -> Result<bool>,
) -> Result<FinishedPlace> {
    for numbered in (0..NUMBERS_MAX).map(|n| numbered(key, n)).filter(|numbered| *numbered != source.key) {
        match targets.look_at(&source.target, &numbered)? {
            None => return Ok(FinishedPlace::Free(numbered)),
            Some(held) if held.is_of(id) && still_is(&held.object)? => return Ok(FinishedPlace::Made(held.object)),
            Some(_) => {}
        }
    }
    Err(ArchiveError::NoFreeKey { key: key.to_owned(), tried: NUMBERS_MAX })
}

impl InsideJob<'_> {
    /// Makes the finished object, or finds it, and compares it with the plan. What else stands under a key is left as it is.
    pub fn run(&self) -> Result<InsideOutcome> {
        let still_is = |made: &PinnedObject| Ok(self.difference(made)?.is_none());
        for _ in 0..NUMBERS_MAX {
            let key = match place_of(self.targets, self.source, (&self.plan.key, self.id), &still_is)? {
                FinishedPlace::Made(made) => {
                    self.targets.clear_header(&self.source.target, self.id, self.ledger)?;
                    return Ok(InsideOutcome::Made { made, is_of_before: true });
                }
                FinishedPlace::Free(key) => key,
            };
            (self.require_ours)()?;
            let asset = self.asset();
            let (header, ranges) = (&self.plan.header, &self.plan.ranges[..]);
            let (source, ledger) = (self.source, self.ledger);
            match self.targets.assemble(&Assembly { source, key: &key, header, ranges, asset: &asset, ledger })? {
                Assembled::Here(made) => {
                    self.compare(&made.object)?;
                    return Ok(InsideOutcome::Made { made: made.object, is_of_before: false });
                }
                // Something else has come there meanwhile.
                Assembled::Taken => {}
                Assembled::SourceChanged => return Err(self.changed()),
                Assembled::Differs(what) => return Err(ArchiveError::Differs { key, what }),
                Assembled::NotSupported => return Ok(InsideOutcome::NotSupported),
            }
        }
        Err(ArchiveError::NoFreeKey { key: self.plan.key.clone(), tried: NUMBERS_MAX })
    }

    fn changed(&self) -> ArchiveError {
        ArchiveError::Changed { key: self.source.key.clone() }
    }

    /// What the finished object says of itself.
    fn asset(&self) -> Asset {
        let name = self.plan.key.rsplit('/').next().unwrap_or_default();
        Asset {
            id: self.id.to_owned(),
            kind: Kind::Recording,
            vod_id: None,
            stream_id: name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned(),
            root: "/".into(),
            start_ms: 0,
            duration_ms: None,
            salvaged: false,
            files: Vec::new(),
        }
    }

    /// Compares what was just made with the plan: its size, every byte of the header, and ranges of the media. One that differs is
    /// removed as it was seen, if its original is still there as it was read: else it may be all that is left of it.
    fn compare(&self, made: &PinnedObject) -> Result<()> {
        // Not compared after an error: the next run finds it by its id, and compares it.
        let Some(what) = self.difference(made)? else { return Ok(()) };
        (self.require_ours)()?;
        let original = self.targets.look_at(&self.source.target, &self.source.key)?;
        if original.is_some_and(|seen| seen.object == *self.source) {
            self.targets.remove_as_seen(made)?;
        }
        Err(ArchiveError::Differs { key: made.key.clone(), what })
    }

    fn difference(&self, made: &PinnedObject) -> Result<Option<String>> {
        let header = &self.plan.header;
        let body: u64 = self.plan.ranges.iter().map(|range| range.end - range.start).sum();
        let expected = header.len() as u64 + body;
        if made.size_bytes != expected {
            return Ok(Some(format!("{} bytes instead of {expected}", made.size_bytes)));
        }
        let mut at = 0;
        for piece in header.chunks(HEADER_PIECE_BYTES) {
            let end = at + piece.len() as u64;
            if self.read(made, at..end)? != piece {
                return Ok(Some("the header".to_owned()));
            }
            at = end;
        }
        for (range, at) in self.plan.compared() {
            let len = range.end - range.start;
            if self.read(self.source, range)? != self.read(made, at..at + len)? {
                return Ok(Some(format!("the media at byte {at}")));
            }
        }
        Ok(None)
    }

    fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Vec<u8>> {
        self.targets.read(object, range)?.ok_or_else(|| ArchiveError::Changed { key: object.key.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compared_ranges_lie_where_the_plan_puts_them() {
        let ranges = vec![100..100_100, 200_000..200_010, 300_000..900_000];
        let plan_of = |header: &'static [u8], ranges| {
            let header = Bytes::from_static(header);
            InsidePlan { header, ranges, key: "x.mp4".into(), copies: ServerCopy::Parts }
        };
        let compared = plan_of(&[0; 50], ranges).compared();
        assert_eq!(compared[0], (100..100 + COMPARED_BYTES, 50));
        let (last, at) = compared.last().unwrap();
        assert_eq!((last.end, at + (last.end - last.start)), (900_000, 50 + 100_000 + 10 + 600_000));
        for (range, at) in &compared {
            let place = |byte: u64| match byte {
                100..100_100 => 50 + byte - 100,
                200_000..200_010 => 50 + 100_000 + byte - 200_000,
                _ => 50 + 100_010 + byte - 300_000,
            };
            assert_eq!(*at, place(range.start), "{range:?}");
        }
        let large = plan_of(&[0; 50], iter_once(9..3 << 30));
        let starts = large.compared();
        let copied = large.copied_parts();
        assert!(starts.len() >= 2 * copied.len(), "{starts:?}");
        assert_eq!(
            starts[1],
            (9 + (5 << 20) - 50..9 + (5 << 20) - 50 + COMPARED_BYTES, 5 << 20),
            "the first copied part"
        );
        let small = plan_of(&[], iter_once(0..3));
        assert_eq!(small.compared(), [(0..3, 0)]);
    }

    fn iter_once(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }
}
