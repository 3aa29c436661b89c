//! Windows into a file: bytes at any offset, in bounded memory, without mapping the file.
//!
//! A failed read is kept and everything behind it looks empty, so that the walk stays free of errors; who asks in the
//! end ([`Source::finish`]) gets the error.

use std::io::{self, Read, Seek, SeekFrom};

/// Length of one window.
const WINDOW_BYTES: usize = 256 << 10;
/// Length of one window of a thread that goes ahead of the walk: there are several, and what they hold stays close to the
/// processor.
const SCOUT_WINDOW_BYTES: usize = 64 << 10;
/// Number of windows: the place of the walk, where it looks ahead, and where it goes on.
const WINDOWS: usize = 4;
/// Most bytes that may be asked for at once.
pub const MAX_WANTED_BYTES: usize = 64 << 10;
/// Windows begin at multiples of this.
const ALIGN: u64 = 4096;

#[derive(Debug, Default)]
struct SourceWindow {
    start: u64,
    bytes: Vec<u8>,
    used: u64,
}

/// A file that is looked into.
#[derive(Debug)]
pub struct Source<R> {
    reader: R,
    end: u64,
    window_bytes: usize,
    windows: [SourceWindow; WINDOWS],
    clock: u64,
    error: Option<io::Error>,
    /// Places that nothing lies across, ascending.
    seams: Vec<u64>,
}

impl<R: Read + Seek> Source<R> {
    /// Looks into the first `end` bytes of a reader.
    pub fn new(reader: R, end: u64) -> Self {
        Self::with_window(reader, end, WINDOW_BYTES)
    }

    /// The same for a thread that goes ahead. Its windows are made here: what a thread makes stays its own when it ends.
    pub fn for_scout(reader: R, end: u64) -> Self {
        let mut source = Self::with_window(reader, end, SCOUT_WINDOW_BYTES);
        source.windows.iter_mut().for_each(|window| window.bytes.reserve_exact(SCOUT_WINDOW_BYTES));
        source
    }

    /// The same with windows of so many bytes, for a look here and there; no more than half of one may be asked for.
    pub fn with_window(reader: R, end: u64, window_bytes: usize) -> Self {
        Self { reader, end, window_bytes, windows: Default::default(), clock: 0, error: None, seams: Vec::new() }
    }

    /// The same with places that nothing lies across, ascending.
    pub fn with_seams(self, seams: Vec<u64>) -> Self {
        Self { seams, ..self }
    }

    /// The first place behind another that nothing lies across, if it comes before `end`; else `end`.
    #[inline]
    pub fn until_seam(&self, from: u64, end: u64) -> u64 {
        if self.seams.is_empty() {
            return end;
        }
        let next = self.seams.partition_point(|seam| *seam <= from);
        self.seams.get(next).map_or(end, |seam| end.min(*seam))
    }

    /// The bytes at an offset: at least `wanted` (at most [`MAX_WANTED_BYTES`]) but for the end of the file.
    #[inline]
    pub fn at(&mut self, offset: u64, wanted: usize) -> &[u8] {
        let wanted = wanted.min(MAX_WANTED_BYTES).min(usize::try_from(self.end.saturating_sub(offset)).unwrap_or(0));
        let index = self.window(offset, wanted);
        let window = &self.windows[index];
        let from = offset.checked_sub(window.start).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| window.bytes.get(from..)).unwrap_or_default()
    }

    fn window(&mut self, offset: u64, wanted: usize) -> usize {
        self.clock += 1;
        let holds = |w: &SourceWindow| offset >= w.start && offset + wanted as u64 <= w.start + w.bytes.len() as u64;
        let index = self.windows.iter().position(|w| holds(w) && !w.bytes.is_empty());
        let index = index.unwrap_or_else(|| self.fill(offset));
        self.windows[index].used = self.clock;
        index
    }

    #[cold]
    fn fill(&mut self, offset: u64) -> usize {
        crate::stop::check();
        let oldest = self.windows.iter().enumerate().min_by_key(|(_, w)| w.used).map_or(0, |(index, _)| index);
        let window = &mut self.windows[oldest];
        window.start = offset - offset % ALIGN;
        window.bytes.clear();
        let want = (self.window_bytes as u64).min(self.end.saturating_sub(window.start));
        if want == 0 || self.error.is_some() {
            return oldest;
        }
        // At once: a reader that is asked for little at a time answers often.
        window.bytes.resize(usize::try_from(want).unwrap_or(0), 0);
        let (filled, read) = fill_as_far(&mut self.reader, window.start, &mut window.bytes);
        window.bytes.truncate(filled);
        self.error = read.err();
        oldest
    }

    /// Whether a read has failed.
    pub const fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// What remains of the first failed read.
    pub fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

/// Reads from an offset until there is no room or nothing more; how much that was, also if it ended in an error.
fn fill_as_far<R: Read + Seek>(reader: &mut R, from: u64, into: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    if let Err(error) = reader.seek(SeekFrom::Start(from)) {
        return (0, Err(error));
    }
    while filled < into.len() {
        match reader.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_is_seen_whatever_was_seen_before() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let mut source = Source::new(io::Cursor::new(&bytes), bytes.len() as u64);
        for offset in [0, 999_990, 300_000, 262_140, 5, 700_001, 0] {
            let at = usize::try_from(offset).unwrap();
            let want = 100.min(bytes.len() - at);
            assert_eq!(source.at(offset, 100)[..want], bytes[at..at + want]);
        }
        assert!(source.at(1_000_000, 10).is_empty() && source.at(u64::MAX, 10).is_empty());
        source.finish().unwrap();
    }
}
