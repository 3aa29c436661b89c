//! The memory that is read into and written from past the page cache: one large page for each block, where the system has them.
//!
//! A disk reads into one stretch of memory at once, and a page for each 4 KiB is a stretch for each of them: a virtual disk takes
//! two to three times as long for these.

use std::io;
use std::ops::Range;

use memmap2::{Advice, MmapMut};

/// Bytes that are read or written at a time: a large page.
pub const BLOCK_BYTES: u64 = 1 << 21;

/// The same as a place in memory; one that begins there is where a disk can read to (`open(2)`, `O_DIRECT`), too.
const LARGE_PAGE: usize = 1 << 21;

/// Memory for one block.
#[derive(Debug)]
pub struct AlignedBlock {
    /// Twice as long as a block, so that one lies in it wherever it begins. What is never looked at takes no memory.
    mapped: MmapMut,
}

impl AlignedBlock {
    /// Zeros. An error where the system has no memory left.
    pub fn new() -> io::Result<Self> {
        let mapped = MmapMut::map_anon(2 * LARGE_PAGE)?;
        // A system without large pages refuses; small ones serve as well.
        #[cfg(target_os = "linux")]
        let _ = mapped.advise(Advice::HugePage);
        Ok(Self { mapped })
    }

    /// [`BLOCK_BYTES`] of them.
    pub fn as_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.mapped[range]
    }

    fn range(&self) -> Range<usize> {
        let start = self.mapped.as_ptr().align_offset(LARGE_PAGE);
        start..start + LARGE_PAGE
    }
}

impl AsRef<[u8]> for AlignedBlock {
    fn as_ref(&self) -> &[u8] {
        &self.mapped[self.range()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_fills_one_large_page() {
        let mut memory = AlignedBlock::new().unwrap();
        assert_eq!(memory.as_mut().len() as u64, BLOCK_BYTES);
        assert_eq!(memory.as_ref().as_ptr().align_offset(LARGE_PAGE), 0);
        memory.as_mut().fill(7);
        assert!(memory.as_ref().iter().all(|byte| *byte == 7));
    }
}
