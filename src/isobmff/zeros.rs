//! Where the data of a file ends when a crash left zeros behind it.
//!
//! A power cut leaves blocks that were allocated and never written. Reads backwards from the end and stops at the first
//! byte that is not zero, so a file without such a tail costs one read.

use std::io::{Read, Seek};
use std::ops::Range;

use super::boxes::read_at;
use super::error::IsoError;

/// Shorter runs of zeros at the end are data: no picture or sound ends in more, but boxes and digital silence do in
/// less.
pub const MIN_ZERO_TAIL_BYTES: u64 = 512;
/// Bytes read at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// Where the zeros at the end of a range begin, however few they are; its beginning if there is nothing else.
pub fn end_of_data_in<R: Read + Seek>(reader: &mut R, range: &Range<u64>) -> Result<u64, IsoError> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut end = range.end;
    while end > range.start {
        crate::stop::check();
        let size = usize::try_from(end - range.start).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let block = &mut block[..size];
        let start = end - size as u64;
        read_at(reader, start, block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(end)
}

/// Where the zeros at the end of a file of `len` bytes begin; `len` if there are fewer than [`MIN_ZERO_TAIL_BYTES`].
///
/// Meant for files without a finished header: read as if they ended there, a fragment whose media turned into zeros is
/// torn like any other. Not meant for uncompressed sound, which is silent in zeros.
pub fn end_of_data<R: Read + Seek>(reader: &mut R, len: u64) -> Result<u64, IsoError> {
    let end = end_of_data_in(reader, &(0..len))?;
    Ok(if len - end < MIN_ZERO_TAIL_BYTES { len } else { end })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn only_a_long_tail_of_zeros_counts() {
        for (data, zeros, end) in
            [(0, 0, 0), (10, 0, 10), (10, 511, 521), (10, 512, 10), (70_000, 200_000, 70_000), (0, 600, 0)]
        {
            let mut file = vec![7; data];
            file.resize(data + zeros, 0);
            assert_eq!(end_of_data(&mut Cursor::new(&file), file.len() as u64).unwrap(), end);
        }
    }
}
