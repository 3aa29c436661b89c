//! Reads a `moov` without the tables that grow with the recording and of which a clip needs few entries: sample sizes and chunk offsets.
//! They stay in the file, and what is read is parsed as any other `moov`.
//!
//! A `moov` that is written in an unusual way is read whole: nothing is decided here about what is wrong with it.

use std::io::{Read, Seek};

use super::boxes::{BoxHeader, Layout, header_at, read_at};
use super::encode::full_boxed;
use super::error::IsoError;
use super::lookup::{InFile, SampleLookup, TableInFile};
use super::movie::{Movie, header_limit_bytes};

/// The boxes on the way to the tables.
const WAY: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];
/// Boxes that are copied one by one; writers make a dozen for each track.
const MOST_BOXES: usize = 4096;

/// A movie whose samples are looked up.
#[derive(Debug)]
pub struct SparseMovie {
    /// Its tracks have no tables.
    pub movie: Movie,
    /// The samples of each track.
    pub samples: Vec<SampleLookup>,
}

impl SparseMovie {
    /// Of a movie that was read whole.
    pub fn of(mut movie: Movie) -> Self {
        let samples =
            movie.tracks.iter_mut().map(|track| SampleLookup::new(std::mem::take(&mut track.tables))).collect();
        Self { movie, samples }
    }

    /// Reads the `moov` that a layout found, and leaves in the file what is large and seldom needed.
    pub fn read<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<Self, IsoError> {
        let moov = layout.movie_header().ok_or(IsoError::NoMovieHeader)?;
        // Room for all of it: what is not written takes no memory, and what is written is not moved.
        let room = usize::try_from(moov.size_bytes.min(header_limit_bytes())).unwrap_or(0);
        let mut copy = Copy { reader, out: Vec::with_capacity(room), tracks: Vec::new(), has_sizes: false, boxes: 0 };
        let is_usual = moov.size_bytes <= header_limit_bytes() && copy.container(moov, 0)?;
        let Copy { out, tracks, .. } = copy;
        if is_usual
            && let Ok(mut movie) = Movie::from_moov_at(out, moov.offset)
            && movie.tracks.len() == tracks.len()
        {
            let own = movie.tracks.iter_mut().zip(tracks);
            let samples = own.map(|(track, in_file)| SampleLookup::with(std::mem::take(&mut track.tables), in_file));
            let samples = samples.collect();
            return Ok(Self { movie, samples });
        }
        Ok(Self::of(Movie::read(reader, layout)?))
    }
}

/// The `moov` as far as it is copied. What answers false has come to something unusual.
struct Copy<'a, R> {
    reader: &'a mut R,
    out: Vec<u8>,
    tracks: Vec<InFile>,
    /// Whether the last track has its `stsz`, of whatever form.
    has_sizes: bool,
    boxes: usize,
}

impl<R: Read + Seek> Copy<'_, R> {
    fn container(&mut self, found: &BoxHeader, depth: usize) -> Result<bool, IsoError> {
        let start = self.out.len();
        self.out.extend([0; 4]);
        self.out.extend(found.fourcc.0);
        if found.is(b"trak") {
            self.tracks.push(InFile::default());
            self.has_sizes = false;
        }
        let (mut at, end) = (found.body_offset(), found.end());
        while at < end {
            let child = header_at(self.reader, at, end)?.filter(|child| !child.is_open_ended && child.end() <= end);
            let Some(child) = child.filter(|_| self.boxes < MOST_BOXES) else { return Ok(false) };
            self.boxes += 1;
            if !self.child(&child, depth + 1)? {
                return Ok(false);
            }
            at = child.end();
        }
        let size = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        self.out[start..start + 4].copy_from_slice(&size.to_be_bytes());
        Ok(true)
    }

    fn child(&mut self, child: &BoxHeader, depth: usize) -> Result<bool, IsoError> {
        if WAY.get(depth).is_some_and(|way| child.is(way)) {
            return self.container(child, depth);
        }
        if depth < WAY.len() {
            return self.whole(child);
        }
        match &child.fourcc.0 {
            b"stsz" => self.sizes(child),
            b"stco" => self.offsets(child, 4),
            b"co64" => self.offsets(child, 8),
            b"stz2" => Ok(false),
            _ => self.whole(child),
        }
    }

    fn whole(&mut self, child: &BoxHeader) -> Result<bool, IsoError> {
        let start = self.out.len();
        let Ok(len) = usize::try_from(child.size_bytes) else { return Ok(false) };
        self.out.resize(start + len, 0);
        read_at(self.reader, child.offset, &mut self.out[start..])?;
        Ok(true)
    }

    /// `stsz` (§8.7.3.2): version and flags, the size of all samples or 0, their number, and their sizes.
    fn sizes(&mut self, child: &BoxHeader) -> Result<bool, IsoError> {
        let Some([_, size, count]) = self.words(child)? else { return Ok(false) };
        if std::mem::replace(&mut self.has_sizes, true) {
            return Ok(false);
        }
        if size != 0 {
            return self.whole(child);
        }
        full_boxed(&mut self.out, *b"stsz", 0, 0, |out| out.extend([0; 8]));
        let table = table(child, 12, count, 4);
        Ok(self.tracks.last_mut().is_some_and(|track| track.sizes.replace(table).is_none()))
    }

    /// `stco` and `co64` (§8.7.5): version and flags, the number of chunks, and their offsets.
    fn offsets(&mut self, child: &BoxHeader, entry_bytes: u64) -> Result<bool, IsoError> {
        let Some([_, count]) = self.words(child)? else { return Ok(false) };
        let table = table(child, 8, count, entry_bytes);
        Ok(self.tracks.last_mut().is_some_and(|track| track.offsets.replace(table).is_none()))
    }

    /// The first words of a box; none if it is shorter.
    fn words<const N: usize>(&mut self, child: &BoxHeader) -> Result<Option<[u32; N]>, IsoError> {
        let mut words = [[0; 4]; N];
        if child.end() - child.body_offset() < 4 * N as u64 {
            return Ok(None);
        }
        read_at(self.reader, child.body_offset(), words.as_flattened_mut())?;
        Ok(Some(words.map(u32::from_be_bytes)))
    }
}

/// As many entries as a table declares and has bytes for, behind a head of so many bytes.
fn table(child: &BoxHeader, head_bytes: u64, declared: u32, entry_bytes: u64) -> TableInFile {
    let at = child.body_offset() + head_bytes;
    TableInFile { at, count: u64::from(declared).min((child.end() - at) / entry_bytes), entry_bytes }
}
