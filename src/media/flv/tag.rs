//! The tags that an FLV file is made of (annex E.3, E.4.1), without their bodies.
//!
//! ```text
//! 'FLV' 1 flags offset(4) | size0=0 | tag: type(1) size(3) time(3+1) stream(3) body[size] | size+11 (4) | tag …
//! ```

use std::io::{self, Read, Seek, SeekFrom};

pub(in crate::media) const TAG_HEADER_BYTES: u64 = 11;
/// Behind every tag stands its length.
pub(in crate::media) const TRAILER_BYTES: u64 = 4;
pub(in crate::media) const AUDIO: u8 = 8;
pub(in crate::media) const VIDEO: u8 = 9;
pub(in crate::media) const SCRIPT: u8 = 18;
const FILE_HEADER_BYTES: u32 = 9;

/// A tag's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct FlvTag {
    pub(in crate::media) kind: u8,
    /// Offset of the header.
    pub(in crate::media) at: u64,
    pub(in crate::media) body_bytes: u64,
    /// Decoding time, milliseconds.
    pub(in crate::media) time_ms: i64,
    stream: u32,
}

impl FlvTag {
    pub(in crate::media) fn parse(header: [u8; 11], at: u64) -> Self {
        let [kind, size_2, size_1, size_0, time_2, time_1, time_0, time_3, stream @ ..] = header;
        Self {
            kind: kind & 0x1F,
            at,
            body_bytes: u64::from(u32::from_be_bytes([0, size_2, size_1, size_0])),
            time_ms: i64::from(u32::from_be_bytes([time_3, time_2, time_1, time_0])),
            stream: u32::from_be_bytes([0, stream[0], stream[1], stream[2]]),
        }
    }

    /// Offset of the end of its body.
    pub(in crate::media) fn end(&self) -> u64 {
        self.at + TAG_HEADER_BYTES + self.body_bytes
    }

    /// Whether it is of a kind that exists.
    pub(in crate::media) fn is_known(&self) -> bool {
        matches!(self.kind, AUDIO | VIDEO | SCRIPT)
    }

    /// Whether these can hardly be eleven other bytes.
    pub(in crate::media) fn is_plausible(&self) -> bool {
        self.is_known() && self.stream == 0
    }
}

/// Offset of the first tag.
pub(in crate::media) fn first_tag(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    file.seek(SeekFrom::Start(5))?;
    let offset = read_up_to::<4>(file)?.map_or(FILE_HEADER_BYTES, u32::from_be_bytes);
    Ok(u64::from(offset) + TRAILER_BYTES)
}

/// Reads a tag's header and leaves the file at its body; none at the end of the file.
pub(in crate::media) fn read_tag(file: &mut (impl Read + Seek), at: u64) -> io::Result<Option<FlvTag>> {
    file.seek(SeekFrom::Start(at))?;
    Ok(read_up_to(file)?.map(|header| FlvTag::parse(header, at)))
}

/// Reads exactly N bytes, or none where fewer are left.
pub(in crate::media) fn read_up_to<const N: usize>(file: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(in crate::media) mod tests {
    use super::*;

    /// A tag as it lies in a file.
    pub(in crate::media) fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
        let (length, time) = (u32::try_from(body.len()).unwrap(), time_ms.to_be_bytes());
        let mut tag = vec![kind];
        tag.extend(&length.to_be_bytes()[1..]);
        tag.extend([time[1], time[2], time[3], time[0], 0, 0, 0]);
        tag.extend(body);
        tag.extend((length + 11).to_be_bytes());
        tag
    }

    /// A file of tags.
    pub(in crate::media) fn file(tags: &[Vec<u8>]) -> Vec<u8> {
        [b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec(), tags.concat()].concat()
    }

    #[test]
    fn times_go_beyond_24_bits() {
        let bytes = tag(9, 0x1234_5678, b"body");
        let parsed = FlvTag::parse(bytes[..11].try_into().unwrap(), 13);
        assert_eq!((parsed.time_ms, parsed.body_bytes, parsed.end()), (0x1234_5678, 4, 28));
        assert!(parsed.is_plausible());
    }
}
