//! The end of a RIFF file (WAVE, AVI): its first chunk says how long the file is.

use std::io::{self, Read, Seek, SeekFrom};

use super::Tail;
use crate::media::flv::read_up_to;

/// Where the length stands, and what lies in front of what it counts.
const SIZE_AT: u64 = 4;
const HEAD_BYTES: u64 = 8;

/// Compares the declared length with that of the file. A writer that cannot go back leaves 0 or all ones; of AVI beyond a
/// gigabyte more such chunks follow, which say more than the first.
pub fn tail(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<Tail> {
    file.seek(SeekFrom::Start(SIZE_AT))?;
    let declared = read_up_to(file)?.map(u32::from_le_bytes).filter(|bytes| (1..u32::MAX).contains(bytes));
    let missing = declared.and_then(|bytes| (u64::from(bytes) + HEAD_BYTES).checked_sub(size_bytes));
    let missing =
        missing.filter(|missing| *missing > 0).map(|missing| format!("{missing} bytes of the declared length"));
    Ok(Tail { missing, ..Tail::default() })
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
        assert_eq!(tail(&mut Cursor::new(b"RIFF"), 4).unwrap().missing, None);
    }
}
