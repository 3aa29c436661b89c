//! The media of a crashed file as one stretch: the bodies of all its `mdat` boxes, and what lies behind one whose size is an old one
//! or wrapped, without the headers and the padding between them.
//!
//! Places in the first piece are those of the file, so that nothing changes for the usual file of one piece.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::isobmff::{BoxHeader, Layout};

/// Pieces of a file, read one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePieces {
    /// Each with the place that it has in the stretch, ascending. Never empty.
    pieces: Vec<(u64, Range<u64>)>,
}

impl FilePieces {
    /// Where the media of a file without a movie header lies; `None` if it has none.
    ///
    /// It goes to the end of the file whatever sizes say: only what is a box for certain is left out.
    pub fn of(layout: &Layout) -> Option<Self> {
        let Some(first) = layout.first(b"mdat") else {
            return (layout.garbage_at == Some(0)).then(|| Self::one(0..layout.len));
        };
        let is_no_media =
            |b: &&BoxHeader| b.is_known() && b.offset > first.offset && (b.end() <= layout.len || is_cut_header(b));
        let mut ranges = Vec::new();
        let mut at = first.body_offset();
        for b in layout.boxes.iter().filter(|b| b.is(b"mdat") && b.offset > first.offset || is_no_media(b)) {
            ranges.push(at..b.offset);
            at = if b.is(b"mdat") { b.body_offset() } else { b.end().min(layout.len) };
        }
        ranges.push(at..layout.len);
        ranges.retain(|range| range.start < range.end);
        let mut ranges = ranges.into_iter();
        let mut all = Self::one(ranges.next().unwrap_or(layout.len..layout.len));
        ranges.for_each(|range| all.push(range));
        Some(all)
    }

    fn one(range: Range<u64>) -> Self {
        Self { pieces: vec![(range.start, range)] }
    }

    fn push(&mut self, range: Range<u64>) {
        let place = self.stretch().end;
        match self.pieces.last_mut() {
            Some((_, last)) if last.end == range.start => last.end = range.end,
            _ => self.pieces.push((place, range)),
        }
    }

    /// Whether it is a range of the file.
    pub const fn is_one(&self) -> bool {
        self.pieces.len() == 1
    }

    /// The last range of the file.
    pub fn last(&self) -> Range<u64> {
        self.pieces.last().map_or(0..0, |(_, range)| range.clone())
    }

    /// The stretch without so many bytes at its end, which are in the last piece.
    pub fn without_end(mut self, bytes: u64) -> Self {
        if let Some((_, last)) = self.pieces.last_mut() {
            last.end = last.end.saturating_sub(bytes).max(last.start);
        }
        self
    }

    /// The places of the stretch.
    pub fn stretch(&self) -> Range<u64> {
        let (first, last) = (self.pieces.first(), self.pieces.last());
        first.map_or(0, |(at, _)| *at)..last.map_or(0, |(at, range)| at + (range.end - range.start))
    }

    /// Where the second piece and those behind it begin.
    pub fn seams(&self) -> Vec<u64> {
        self.pieces.iter().skip(1).map(|(at, _)| *at).collect()
    }

    /// Where in the file a place lies. The end of a piece is the beginning of the next one.
    pub fn to_file(&self, place: u64) -> u64 {
        self.piece_at(place).map_or(place, |(at, range)| range.start.saturating_add(place).saturating_sub(*at))
    }

    /// The piece in which a place lies; the first one goes back to the beginning of the file, the last one to its end.
    fn piece_at(&self, place: u64) -> Option<&(u64, Range<u64>)> {
        let behind = self.pieces.partition_point(|(at, _)| *at <= place);
        self.pieces.get(behind.saturating_sub(1))
    }

    /// Up to which place bytes lie together in the file.
    fn together_until(&self, place: u64) -> u64 {
        let next = self.pieces.partition_point(|(at, _)| *at <= place);
        self.pieces.get(next.max(1)).map_or(u64::MAX, |(at, _)| *at)
    }
}

/// A header that its writer did not end: no media follows it.
fn is_cut_header(found: &BoxHeader) -> bool {
    found.is(b"moov")
}

/// A file of which only pieces are seen.
#[derive(Debug)]
pub struct PieceReader<'a, R> {
    reader: R,
    pieces: &'a FilePieces,
    at: u64,
}

impl<'a, R: Read + Seek> PieceReader<'a, R> {
    /// Looks at a file through its pieces.
    pub const fn new(reader: R, pieces: &'a FilePieces) -> Self {
        Self { reader, pieces, at: 0 }
    }
}

impl<R: Read + Seek> Read for PieceReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let together = usize::try_from(self.pieces.together_until(self.at) - self.at).unwrap_or(usize::MAX);
        let most = into.len().min(together);
        self.reader.seek(SeekFrom::Start(self.pieces.to_file(self.at)))?;
        let read = self.reader.read(&mut into[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for PieceReader<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.at = at,
            SeekFrom::Current(by) => self.at = self.at.saturating_add_signed(by),
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::isobmff::top_level;

    fn boxed(fourcc: [u8; 4], body: &[u8], size: Option<u32>) -> Vec<u8> {
        let size = size.unwrap_or_else(|| u32::try_from(body.len() + 8).unwrap());
        [&size.to_be_bytes()[..], &fourcc, body].concat()
    }

    fn media(file: &[u8]) -> String {
        let layout = top_level(&mut Cursor::new(file), file.len() as u64).unwrap();
        let pieces = FilePieces::of(&layout).unwrap();
        let Range { start, end } = pieces.stretch();
        let mut seen = PieceReader::new(Cursor::new(file), &pieces);
        seen.seek(SeekFrom::Start(start)).unwrap();
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        seen.read_exact(&mut bytes).unwrap();
        for (place, byte) in (start..end).zip(&bytes) {
            assert_eq!(file[usize::try_from(pieces.to_file(place)).unwrap()], *byte);
        }
        assert_eq!(pieces.to_file(start), start);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn media_is_what_lies_behind_the_first_header_of_media_and_is_no_box() {
        let ftyp = boxed(*b"ftyp", b"isom\0\0\0\0", None);
        let file = |parts: &[Vec<u8>]| [std::slice::from_ref(&ftyp), parts].concat().concat();
        let (free, whole) = (boxed(*b"free", &[0; 30], None), boxed(*b"mdat", b"first.", None));
        let open = boxed(*b"mdat", b"second", Some(0));
        assert_eq!(media(&file(&[free.clone(), open.clone()])), "second");
        assert_eq!(media(&file(&[whole.clone(), open.clone()])), "first.second");
        assert_eq!(media(&file(&[whole.clone(), free, whole.clone(), open])), "first.first.second");
        assert_eq!(media(&file(&[boxed(*b"mdat", b"all of it", Some(11))])), "all of it");
        assert_eq!(media(&file(&[boxed(*b"mdat", b"all of it", Some(8))])), "all of it");
        assert_eq!(media(&file(&[whole.clone(), boxed(*b"moov", b"cut", Some(900))])), "first.");
        assert_eq!(media(&file(&[whole, boxed(*b"text", b"is media", None)])), "first.\0\0\0\x10textis media");
    }
}
