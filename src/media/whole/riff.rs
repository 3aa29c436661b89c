//! The end of a RIFF file (WAVE, AVI): its first chunk says how long the file is.

use std::io::{self, Read, Seek, SeekFrom};

use super::FileTail;
use crate::media::flv::read_up_to;

/// Where the length stands, and what lies in front of what it counts.
const SIZE_AT: u64 = 4;
const HEAD_BYTES: u64 = 8;

/// Where the chunk lies that has the length of RF64 and BW64, its name, and the length behind its head (EBU Tech 3306 §3).
const LONG_AT: u64 = 12;
const LONG: &[u8; 4] = b"ds64";

/// Compares the declared length with that of the file. A writer that cannot go back leaves 0 or all ones; of AVI beyond a
/// gigabyte more such chunks follow, which say more than the first.
pub fn tail(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<FileTail> {
    file.seek(SeekFrom::Start(SIZE_AT))?;
    let short = read_up_to(file)?.map(u32::from_le_bytes).filter(|bytes| (1..u32::MAX).contains(bytes));
    let declared = short.map(u64::from).map_or_else(|| long(file), |bytes| Ok(Some(bytes)))?;
    let missing = declared.and_then(|bytes| bytes.checked_add(HEAD_BYTES)?.checked_sub(size_bytes));
    let missing =
        missing.filter(|missing| *missing > 0).map(|missing| format!("{missing} bytes of the declared length"));
    Ok(FileTail { missing, ..FileTail::default() })
}

/// The length that 64 bits say, of a file that has them.
fn long(file: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(LONG_AT))?;
    let Some(name) = read_up_to::<4>(file)?.filter(|name| name == LONG) else { return Ok(None) };
    file.seek(SeekFrom::Start(LONG_AT + name.len() as u64 + 4))?;
    Ok(read_up_to(file)?.map(u64::from_le_bytes).filter(|bytes| (1..u64::MAX).contains(bytes)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_declared_length_is_held_against_the_file() {
        let missing = |declared: u32| {
            let bytes = [b"RIFF", &declared.to_le_bytes()[..], b"WAVEdata"].concat();
            tail(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap().missing
        };
        assert_eq!(missing(8), None);
        assert_eq!(missing(0), None, "not written yet");
        assert_eq!(missing(u32::MAX), None, "not known");
        assert_eq!(missing(10).as_deref(), Some("2 bytes of the declared length"));
        let long = |declared: u64| {
            let bytes = [&b"RF64\xFF\xFF\xFF\xFFWAVEds64\x1C\0\0\0"[..], &declared.to_le_bytes(), &[0; 20]].concat();
            tail(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap().missing
        };
        assert_eq!((long(40), long(0)), (None, None));
        assert_eq!(long(48).as_deref(), Some("8 bytes of the declared length"));
        assert_eq!(tail(&mut Cursor::new(b"RIFF"), 4).unwrap().missing, None);
    }
}
