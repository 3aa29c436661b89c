//! Fragments (ISO/IEC 14496-12 §8.8): the sample tables of every `moof` become those of one movie.
//!
//! The movie that comes out says of the same file what its fragments said: every sample that is wholly there, where it
//! lies, when it is due. Gaps between fragments become longer samples, overlaps shorter ones; where the clock jumps, what follows is
//! joined ([`clock`]); the edit list gets the duration that a fragmented file leaves open. Reads `moof` boxes and nothing of the media.

mod assembly;
mod clock;
pub mod groups;
mod index;
mod passing;
mod traf;
pub(super) mod trex;
pub mod write;

use std::io::{Read, Seek};

use super::boxes::{BoxHeader, FourCc, Layout, read_box};
use super::cursor::children;
use super::error::{DefectLog, IsoError};
use super::movie::Movie;
use assembly::FragmentAssembly;
pub use index::indexed_places;
pub use passing::top_level;

/// Largest `moof` that is read.
pub const MAX_FRAGMENT_HEADER_BYTES: u64 = 64 << 20;

/// What the fragments of a file amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentedMovie {
    /// The movie with the samples of all fragments; chunk offsets are those of the file as it is.
    pub movie: Movie,
    /// Number of fragments.
    pub fragments: u64,
    /// Where the last whole sample ends; behind it is nothing of use.
    pub whole_bytes: u64,
    /// Top-level boxes beside `moov`, `moof` and `mdat` that mean nothing in a progressive file (`sidx`, `mfra`, `emsg`,
    /// `prft`, …), each type once.
    pub left_behind: Vec<FourCc>,
    /// Why the file must stay fragmented, if it must.
    pub stays_fragmented: Option<&'static str>,
}

/// Reads all fragments of a file whose `moov` was read as `movie`.
///
/// What is torn or contradicts itself is left out and noted in the movie's defects.
pub fn read<R: Read + Seek>(reader: &mut R, layout: &Layout, movie: Movie) -> Result<FragmentedMovie, IsoError> {
    let mut reading = FragmentReader::new(movie, layout.len)?;
    for header in layout.boxes.iter().filter(|b| b.end() <= layout.len) {
        reading.come_by(header);
        if header.is(b"moof") {
            reading.take(reader, header)?;
        }
    }
    Ok(reading.finish(layout))
}

fn whole_fragments(layout: &Layout) -> impl Iterator<Item = &BoxHeader> {
    layout.all(b"moof").filter(|b| b.end() <= layout.len)
}

/// Fragments on their way into one movie.
struct FragmentReader {
    assembly: FragmentAssembly,
    notes: DefectLog,
    fragments: u64,
}

impl FragmentReader {
    fn new(movie: Movie, len: u64) -> Result<Self, IsoError> {
        Ok(Self { assembly: FragmentAssembly::new(movie, len)?, notes: DefectLog::default(), fragments: 0 })
    }

    /// A file behind another counts from its own beginning.
    fn come_by(&mut self, header: &BoxHeader) {
        if header.is(b"ftyp") {
            self.assembly.begin_at(header.offset);
        }
    }

    fn take<R: Read + Seek>(&mut self, reader: &mut R, moof: &BoxHeader) -> Result<(), IsoError> {
        let bytes = read_box(reader, moof, "size of a fragment header in bytes", MAX_FRAGMENT_HEADER_BYTES)?;
        self.assembly.take(&bytes, moof.offset, &mut self.notes)?;
        self.fragments += 1;
        Ok(())
    }

    fn finish(self, layout: &Layout) -> FragmentedMovie {
        let ends_in_header = layout.boxes.last().is_some_and(|b| b.is(b"moof"));
        let is_torn = ends_in_header || layout.torn().is_some_and(BoxHeader::holds_media);
        let (fragments, left_behind) = (self.fragments, left_behind(layout));
        FragmentedMovie { fragments, left_behind, ..self.assembly.finish(is_torn, self.notes) }
    }
}

fn left_behind(layout: &Layout) -> Vec<FourCc> {
    const KNOWN: [[u8; 4]; 8] = [*b"sidx", *b"ssix", *b"mfra", *b"emsg", *b"prft", *b"styp", *b"uuid", *b"meta"];
    KNOWN.into_iter().filter(|fourcc| layout.first(fourcc).is_some()).map(FourCc).collect()
}

/// The numbers of the tracks that a `moof` has samples of.
pub fn track_ids<R: Read + Seek>(reader: &mut R, moof: &BoxHeader) -> Result<Vec<u32>, IsoError> {
    let bytes = read_box(reader, moof, "size of a fragment header in bytes", MAX_FRAGMENT_HEADER_BYTES)?;
    // Its own size field may lie: what is inside begins behind it all the same.
    let body = bytes.get(8..).unwrap_or_default();
    let tracks = children(body, moof.body_offset()).filter(|b| b.fourcc.0 == *b"traf");
    Ok(tracks.filter_map(|traf| traf::track_id(&traf)).collect())
}
