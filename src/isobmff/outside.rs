//! Whether a file's headers may be read by another reader, which knows no limits: libavformat expands a compressed movie
//! header (`cmov`) wherever it stands, as large as that says, and one inside another; and it reads a `moov` of any length.
//!
//! Boxes are walked as libavformat walks them, which is laxer than [`top_level`](super::top_level).

use std::io::{Read, Seek, SeekFrom};

use super::boxes::{BoxHeader, Layout};
use super::error::IsoError;
use super::movie::header_limit_bytes;

/// Bytes that are looked at at once.
const WINDOW_BYTES: usize = 64 << 10;
/// A compressed header: `cmov`, `dcom` with its method in four letters, `cmvd`, each box behind its size (QuickTime File Format,
/// "Compressed Movie Resources"). libavformat knows `zlib` only.
const COMPRESSED_BYTES: usize = 24;

/// Refuses a file of `len` bytes that has a compressed movie header, or a header of more than
/// [`header_limit_bytes`], whatever its type.
pub fn check_for_others<R: Read + Seek>(reader: &mut R, len: u64) -> Result<(), IsoError> {
    let (mut at, limit) = (0, header_limit_bytes());
    while let Some(found) = header_at(reader, at, len)? {
        let end = found.end.min(len);
        if !found.is_media {
            if end - at > limit {
                let what = "size of a header in bytes";
                return Err(IsoError::Limit { what, found: found.end - at, limit });
            }
            if is_compressed(reader, at, end)? {
                return Err(IsoError::Compressed { offset: at });
            }
        }
        at = found.end;
    }
    Ok(())
}

/// Refuses a file with a whole header, whatever its type, that is larger than [`header_limit_bytes`].
pub fn check_headers(layout: &Layout) -> Result<(), IsoError> {
    let (what, limit) = ("size of a header in bytes", header_limit_bytes());
    let is_header = |b: &&BoxHeader| b.end() <= layout.len && [b"moov", b"moof", b"mfra"].iter().any(|name| b.is(name));
    match layout.boxes.iter().filter(is_header).map(|b| b.size_bytes).max() {
        Some(found) if found > limit => Err(IsoError::Limit { what, found, limit }),
        _ => Ok(()),
    }
}

/// A box at the top level.
struct TopLevelBox {
    end: u64,
    /// Nothing in it is read as a box.
    is_media: bool,
}

fn header_at<R: Read + Seek>(reader: &mut R, at: u64, len: u64) -> Result<Option<TopLevelBox>, IsoError> {
    let mut head = [0; 16];
    let have = usize::try_from(len.saturating_sub(at)).unwrap_or(16).min(16);
    reader.seek(SeekFrom::Start(at)).map_err(IsoError::io(at))?;
    reader.read_exact(&mut head[..have]).map_err(IsoError::io(at))?;
    let [s0, s1, s2, s3, n0, n1, n2, n3, large @ ..] = head;
    let size = match u32::from_be_bytes([s0, s1, s2, s3]) {
        0 => len.saturating_sub(at),
        1 => u64::from_be_bytes(large),
        size => u64::from(size),
    };
    // A `free` box may be a `moov` whose name was not changed yet: libavformat looks.
    let is_media = match &[n0, n1, n2, n3] {
        b"mdat" => true,
        b"free" | b"skip" | b"wide" => large[4..] != *b"moov",
        _ => false,
    };
    Ok((have >= 8 && size >= 8).then_some(TopLevelBox { end: at.saturating_add(size), is_media }))
}

fn is_compressed<R: Read + Seek>(reader: &mut R, at: u64, end: u64) -> Result<bool, IsoError> {
    reader.seek(SeekFrom::Start(at)).map_err(IsoError::io(at))?;
    let (mut left, mut window) = (end - at, Vec::with_capacity(WINDOW_BYTES + COMPRESSED_BYTES));
    while left > 0 {
        crate::stop::check();
        window.drain(..window.len().saturating_sub(COMPRESSED_BYTES - 1));
        let read = reader.take(left.min(WINDOW_BYTES as u64)).read_to_end(&mut window).map_err(IsoError::io(at))?;
        if window.windows(COMPRESSED_BYTES).any(is_header) {
            return Ok(true);
        }
        left = if read == 0 { 0 } else { left - read as u64 };
    }
    Ok(false)
}

fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(b"cmov") && bytes[8..12] == *b"dcom" && bytes[20..24] == *b"cmvd"
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{self, Cursor};

    use super::*;

    const CMOV: &[u8] = b"\0\0\0\x28cmov\0\0\0\x0Cdcomzlib\0\0\0\x14cmvd\x7F\0\0\0zzzz";

    fn boxed(fourcc: [u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 8).unwrap();
        [&size.to_be_bytes()[..], &fourcc, body].concat()
    }

    fn check(file: &[u8]) -> Result<(), IsoError> {
        check_for_others(&mut Cursor::new(file), file.len() as u64)
    }

    fn is_refused(file: &[u8]) -> bool {
        matches!(check(file), Err(IsoError::Compressed { .. }))
    }

    #[test]
    fn a_compressed_header_is_found_wherever_another_reader_would() {
        let ftyp = boxed(*b"ftyp", b"qt  \0\0\0\0");
        let behind = |header: &[u8]| [&ftyp[..], header].concat();
        for nested in [boxed(*b"moov", CMOV), boxed(*b"\x01abc", CMOV), CMOV.to_vec(), boxed(*b"moof", CMOV)] {
            assert!(is_refused(&behind(&nested)));
        }
        let deep = boxed(*b"moov", &[boxed(*b"mvhd", &[0; 100]), boxed(*b"trak", &boxed(*b"mdia", CMOV))].concat());
        assert!(is_refused(&behind(&deep)));
        assert!(is_refused(&behind(&boxed(*b"free", &boxed(*b"moov", CMOV)))), "a free box that is none");
        let torn = &boxed(*b"moov", &[CMOV, &[0; 50]].concat())[..60];
        assert!(is_refused(&behind(torn)));
        for harmless in [boxed(*b"mdat", CMOV), boxed(*b"free", CMOV), boxed(*b"moov", &CMOV[..20]), Vec::new()] {
            assert!(check(&behind(&harmless)).is_ok(), "{harmless:?}");
        }
    }

    #[test]
    fn a_compressed_header_at_the_border_of_two_reads_is_found() {
        for before in WINDOW_BYTES - 60..WINDOW_BYTES + 8 {
            assert!(is_refused(&boxed(*b"moov", &[&vec![0; before], CMOV].concat())), "{before}");
        }
    }

    /// A file of zeros behind its first bytes, which counts what is read of it.
    struct Hole<'a>(&'a [u8], u64, &'a Cell<u64>);

    impl Read for Hole<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let from = self.0.get(usize::try_from(self.1).unwrap()..).unwrap_or_default();
            into.fill(0);
            let have = from.len().min(into.len());
            into[..have].copy_from_slice(&from[..have]);
            self.1 += into.len() as u64;
            self.2.set(self.2.get() + into.len() as u64);
            Ok(into.len())
        }
    }

    impl Seek for Hole<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            let SeekFrom::Start(at) = to else { panic!("{to:?}") };
            self.1 = at;
            Ok(at)
        }
    }

    #[test]
    fn of_a_terabyte_of_header_only_the_beginning_is_read() {
        let size = (1u64 << 40).to_be_bytes();
        for name in [b"moov", b"moof", b"udta", b"abcd"] {
            let head = [b"\0\0\0\x01", &name[..], &size].concat();
            let read = Cell::new(0);
            let refused = check_for_others(&mut Hole(&head, 0, &read), 1 << 40);
            assert!(matches!(refused, Err(IsoError::Limit { found, .. }) if found == 1 << 40), "{refused:?}");
            assert!(read.get() < 100, "{}", read.get());
        }
    }
}
