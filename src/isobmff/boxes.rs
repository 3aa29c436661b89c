//! The top level of a file: which boxes there are, in which order, and whether the last one is whole.
//!
//! Reads box headers only (and the headers of what is inside `moov`, to see whether it announces fragments); the body
//! of no `mdat` is touched. It must not decide what is done about what it finds.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::error::IsoError;

/// Most boxes at the top level that are read: two million boxes hold half a million fragments, 24 hours at six a second.
pub const MAX_TOP_LEVEL_BOXES: usize = 2_000_000;
/// Most boxes directly inside `moov` that are looked at for `mvex`.
pub const MAX_MOVIE_CHILDREN: usize = 4096;

/// Boxes that a file may begin with; four letters alone are no proof.
const FIRST_BOXES: [[u8; 4]; 17] = [
    *b"ftyp", *b"styp", *b"moov", *b"mdat", *b"free", *b"skip", *b"wide", *b"moof", *b"pnot", *b"sidx", *b"uuid",
    *b"meta", *b"pdin", *b"udta", *b"emsg", *b"prft", *b"mfra",
];

/// Boxes of which the end of a file may be missing.
const KNOWN_BOXES: [[u8; 4]; 20] = [
    *b"ftyp", *b"styp", *b"moov", *b"mdat", *b"free", *b"skip", *b"wide", *b"moof", *b"pnot", *b"sidx", *b"ssix",
    *b"uuid", *b"meta", *b"pdin", *b"udta", *b"emsg", *b"prft", *b"mfra", *b"mtxi", *b"imda",
];

/// Length of a box header with a 64-bit size.
const LARGE_HEADER_BYTES: u64 = 16;

/// Four characters that name a box, a handler, a codec or a brand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// Whether it looks like a name: printable, or the copyright sign that QuickTime begins names with.
    pub fn is_plausible(self) -> bool {
        self.0.iter().all(|b| matches!(b, 0x20..=0x7E | 0xA9))
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// One box at the top level (ISO/IEC 14496-12 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxHeader {
    /// Its type.
    pub fourcc: FourCc,
    /// 8, or 16 with a 64-bit size.
    pub header_bytes: u8,
    /// Whether the size field is 0, or the 64-bit size of an `mdat` was never filled in: the box goes to the end of the file,
    /// however long that is.
    pub is_open_ended: bool,
    /// Byte offset in the file.
    pub offset: u64,
    /// Size with the header as declared; of an open-ended box up to the end of the file.
    pub size_bytes: u64,
}

impl BoxHeader {
    /// Byte offset of what follows the header.
    pub const fn body_offset(&self) -> u64 {
        self.offset + self.header_bytes as u64
    }

    /// Byte offset behind the box as declared; saturates on an absurd size.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.size_bytes)
    }

    /// Whether it is a box that media lies in, or a fragment's header.
    pub fn holds_media(&self) -> bool {
        self.is(b"mdat") || self.is(b"moof")
    }

    /// Whether it is of a type that stands at the top level of a file, so that it is no media that looks like a box.
    pub fn is_known(&self) -> bool {
        KNOWN_BOXES.contains(&self.fourcc.0)
    }

    /// Whether the type is the given one.
    pub fn is(&self, fourcc: &[u8; 4]) -> bool {
        self.fourcc.0 == *fourcc
    }
}

/// How header and media lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileShape {
    /// `moov` before the first `mdat`: nothing needs to move.
    HeaderFirst,
    /// `moov` behind the media.
    HeaderLast,
    /// `moof` boxes, or a `moov` that announces them with `mvex` (§8.8).
    Fragmented,
    /// Boxes, but no whole `moov`: the writer died.
    NoMovieHeader,
    /// The file has no bytes.
    Empty,
    /// The first bytes are no box.
    NotMedia,
}

impl FileShape {
    /// What it is, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeaderFirst => "header first",
            Self::HeaderLast => "header last",
            Self::Fragmented => "fragmented",
            Self::NoMovieHeader => "no header",
            Self::Empty => "empty",
            Self::NotMedia => "not media",
        }
    }
}

/// The top-level boxes of a file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Length of the file in bytes.
    pub len: u64,
    /// Every box up to the first place where none can be; the last one may reach past `len`.
    pub boxes: Vec<BoxHeader>,
    /// Where bytes begin that are no box (zeros of a crash, a size below 8), if there are such.
    pub garbage_at: Option<u64>,
    /// Whether the `moov` box has an `mvex`.
    pub announces_fragments: bool,
}

impl Layout {
    /// Of a file of `len` bytes that is another container's: samples may lie anywhere in it.
    pub const fn without_boxes(len: u64) -> Self {
        Self { len, boxes: Vec::new(), garbage_at: None, announces_fragments: false }
    }

    /// All boxes of one type.
    pub fn all<'a>(&'a self, fourcc: &'a [u8; 4]) -> impl Iterator<Item = &'a BoxHeader> {
        self.boxes.iter().filter(move |b| b.is(fourcc))
    }

    /// The first box of a type.
    pub fn first(&self, fourcc: &[u8; 4]) -> Option<&BoxHeader> {
        self.boxes.iter().find(|b| b.is(fourcc))
    }

    /// The `moov` box that is used: the first whole one.
    pub fn movie_header(&self) -> Option<&BoxHeader> {
        self.all(b"moov").find(|b| b.end() <= self.len)
    }

    /// The last box, if the file ends before it does.
    pub fn torn(&self) -> Option<&BoxHeader> {
        self.boxes.last().filter(|b| b.end() > self.len)
    }

    /// Bytes that the last box declares and the file does not have.
    pub fn missing_bytes(&self) -> u64 {
        self.torn().map_or(0, |b| b.end() - self.len)
    }

    /// How header and media lie.
    pub fn shape(&self) -> FileShape {
        if self.len == 0 {
            return FileShape::Empty;
        }
        if !self.boxes.first().is_some_and(|b| FIRST_BOXES.contains(&b.fourcc.0)) {
            return FileShape::NotMedia;
        }
        let Some(moov) = self.movie_header() else { return FileShape::NoMovieHeader };
        if self.announces_fragments || self.first(b"moof").is_some() {
            return FileShape::Fragmented;
        }
        let is_behind_media = self.first(b"mdat").is_some_and(|mdat| mdat.offset < moov.offset);
        if is_behind_media { FileShape::HeaderLast } else { FileShape::HeaderFirst }
    }

    /// Where samples may lie: everything but the boxes that are headers themselves, clipped to the file, in order; the
    /// whole of a file without boxes.
    pub fn media_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        if self.boxes.is_empty() {
            ranges.push(0..self.len);
        }
        for b in self.boxes.iter().filter(|b| !is_header(b)) {
            let range = b.body_offset()..b.end().min(self.len);
            match ranges.last_mut() {
                Some(last) if last.end == b.offset && !b.is(b"mdat") => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }
}

fn is_header(b: &BoxHeader) -> bool {
    [b"ftyp", b"moov", b"moof", b"styp", b"sidx", b"mfra", b"meta"].iter().any(|fourcc| b.is(fourcc))
}

/// Reads the top-level boxes of a file of `len` bytes.
///
/// Ends without an error at the first place that is no box; fails only where the reader fails or a limit is reached.
pub fn top_level<R: Read + Seek>(reader: &mut R, len: u64) -> Result<Layout, IsoError> {
    top_level_with(reader, len, |_, _| ())
}

/// The same, and hands on each box while the reader is near it.
pub(super) fn top_level_with<R: Read + Seek>(
    reader: &mut R,
    len: u64,
    visit: impl FnMut(&mut R, &BoxHeader),
) -> Result<Layout, IsoError> {
    let layout = Layout { len, boxes: Vec::new(), garbage_at: None, announces_fragments: false };
    go_on(reader, layout, visit)
}

/// Reads the boxes behind those of a layout, which replaces what it says of the rest of the file.
pub(super) fn go_on<R: Read + Seek>(
    reader: &mut R,
    mut layout: Layout,
    mut visit: impl FnMut(&mut R, &BoxHeader),
) -> Result<Layout, IsoError> {
    let len = layout.len;
    let mut at = layout.boxes.last().map_or(0, BoxHeader::end);
    layout.garbage_at = None;
    while at < len {
        crate::stop::check();
        // Of an unknown type and longer than the file: text that was appended, and no box.
        let is_box = |found: &BoxHeader| at == 0 || found.end() <= len || found.is_known();
        let Some(header) = header_at(reader, at, len)?.filter(is_box) else {
            layout.garbage_at = Some(at);
            break;
        };
        at = header.end();
        visit(reader, &header);
        layout.boxes.push(header);
        if layout.boxes.len() > MAX_TOP_LEVEL_BOXES {
            return Err(too_many_boxes(layout.boxes.len()));
        }
    }
    layout.announces_fragments = match layout.movie_header() {
        Some(moov) => has_child(reader, &moov.clone(), *b"mvex")?,
        None => false,
    };
    Ok(layout)
}

fn too_many_boxes(found: usize) -> IsoError {
    IsoError::Limit { what: "number of top-level boxes", found: found as u64, limit: MAX_TOP_LEVEL_BOXES as u64 }
}

/// Whether a box has a child of a type, told from the headers of its children.
pub(super) fn has_child<R: Read + Seek>(reader: &mut R, parent: &BoxHeader, fourcc: [u8; 4]) -> Result<bool, IsoError> {
    let mut at = parent.body_offset();
    for _ in 0..MAX_MOVIE_CHILDREN {
        match header_at(reader, at, parent.end())? {
            Some(child) if child.is(&fourcc) => return Ok(true),
            Some(child) if child.end() < parent.end() => at = child.end(),
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// The box header at `at`, or `None` if what is there cannot be one.
pub(super) fn header_at<R: Read + Seek>(reader: &mut R, at: u64, end: u64) -> Result<Option<BoxHeader>, IsoError> {
    let mut head = [0; 16];
    let have = usize::try_from(end - at).unwrap_or(16).min(16);
    read_at(reader, at, &mut head[..have])?;
    let [s0, s1, s2, s3, n0, n1, n2, n3, large @ ..] = head;
    let fourcc = FourCc([n0, n1, n2, n3]);
    if have < 8 || !fourcc.is_plausible() {
        return Ok(None);
    }
    let (header_bytes, size_bytes, is_open_ended) = match u32::from_be_bytes([s0, s1, s2, s3]) {
        0 => (8, end - at, true),
        1 if have == 16 => match u64::from_be_bytes(large) {
            // A writer reserves the 64 bits and fills them in when it closes the file.
            0..LARGE_HEADER_BYTES if fourcc.0 == *b"mdat" => (16, end - at, true),
            size => (16, size, false),
        },
        size => (8, u64::from(size), false),
    };
    let header = BoxHeader { fourcc, header_bytes, is_open_ended, offset: at, size_bytes };
    Ok((size_bytes >= u64::from(header_bytes)).then_some(header))
}

pub(super) fn read_at<R: Read + Seek>(reader: &mut R, at: u64, into: &mut [u8]) -> Result<(), IsoError> {
    reader.seek(SeekFrom::Start(at)).map_err(IsoError::io(at))?;
    reader.read_exact(into).map_err(IsoError::io(at))
}

/// Reads one whole box with its header into memory, refusing more than `limit` bytes.
pub(super) fn read_box<R: Read + Seek>(
    reader: &mut R,
    header: &BoxHeader,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>, IsoError> {
    let len = usize::try_from(header.size_bytes).ok().filter(|_| header.size_bytes <= limit);
    let len = len.ok_or(IsoError::Limit { what, found: header.size_bytes, limit })?;
    let mut bytes = vec![0; len];
    read_at(reader, header.offset, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn layout(bytes: &[u8]) -> Layout {
        top_level(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    fn boxes(parts: &[(&[u8; 4], usize)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (fourcc, body) in parts {
            out.extend(u32::try_from(body + 8).unwrap().to_be_bytes());
            out.extend(*fourcc);
            out.extend(vec![0; *body]);
        }
        out
    }

    #[test]
    fn the_order_of_header_and_media_is_the_shape() {
        assert_eq!(layout(&boxes(&[(b"ftyp", 8), (b"moov", 0), (b"mdat", 9)])).shape(), FileShape::HeaderFirst);
        assert_eq!(layout(&boxes(&[(b"ftyp", 8), (b"mdat", 9), (b"moov", 0)])).shape(), FileShape::HeaderLast);
        assert_eq!(layout(&boxes(&[(b"moov", 0), (b"moof", 0), (b"mdat", 0)])).shape(), FileShape::Fragmented);
        assert_eq!(layout(&boxes(&[(b"ftyp", 8), (b"mdat", 9)])).shape(), FileShape::NoMovieHeader);
        assert_eq!(layout(b"").shape(), FileShape::Empty);
        assert_eq!(layout(b"not a media file").shape(), FileShape::NotMedia);
    }

    #[test]
    fn a_movie_that_announces_fragments_is_fragmented_before_the_first_one() {
        let mut file = boxes(&[(b"moov", 8)]);
        file[8..16].copy_from_slice(b"\0\0\0\x08mvex");
        assert_eq!(layout(&file).shape(), FileShape::Fragmented);
    }

    #[test]
    fn sizes_zero_and_one_are_resolved() {
        let mut file = b"\0\0\0\x01free\0\0\0\0\0\0\0\x12ab".to_vec();
        file.extend(b"\0\0\0\0mdatxyz");
        let layout = layout(&file);
        assert_eq!((layout.boxes[0].size_bytes, layout.boxes[0].body_offset()), (18, 16));
        assert_eq!((layout.boxes[1].size_bytes, layout.boxes[1].is_open_ended), (11, true));
        assert_eq!(layout.missing_bytes(), 0);
    }

    #[test]
    fn a_64_bit_size_that_was_never_filled_in_means_to_the_end() {
        for size in [0, 15] {
            let media = [&b"\0\0\0\x01mdat\0\0\0\0\0\0\0"[..], &[size], b"media"].concat();
            let read = layout(&[boxes(&[(b"ftyp", 8)]), media].concat());
            let mdat = read.first(b"mdat").unwrap();
            assert_eq!((mdat.body_offset(), mdat.end(), mdat.is_open_ended), (32, 37, true));
        }
    }

    #[test]
    fn a_torn_last_box_and_garbage_are_flagged() {
        let mut cut = boxes(&[(b"ftyp", 8), (b"mdat", 100)]);
        cut.truncate(50);
        assert_eq!(layout(&cut).missing_bytes(), 74);
        let mut zeros = boxes(&[(b"ftyp", 8)]);
        zeros.extend([0; 40]);
        assert_eq!(layout(&zeros).garbage_at, Some(16));
        let huge = b"\0\0\0\x01mdat\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
        assert_eq!(layout(huge).torn().map(BoxHeader::end), Some(u64::MAX));
    }

    #[test]
    fn text_behind_the_boxes_is_no_box() {
        let whole = boxes(&[(b"ftyp", 8), (b"mdat", 4), (b"moov", 0)]);
        for text in ["connection closed by peer\n", "[2026-03-04] stop\n", "bye", "\n\n\n\n\n\n\n\n"] {
            let read = layout(&[&whole, text.as_bytes()].concat());
            assert_eq!((read.boxes.len(), read.garbage_at, read.torn()), (3, Some(whole.len() as u64), None), "{text}");
            assert_eq!(read.shape(), FileShape::HeaderLast);
        }
    }

    #[test]
    fn a_torn_movie_header_is_none() {
        let mut cut = boxes(&[(b"ftyp", 8), (b"mdat", 4), (b"moov", 100)]);
        cut.truncate(60);
        assert_eq!(layout(&cut).shape(), FileShape::NoMovieHeader);
    }
}
