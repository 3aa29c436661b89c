//! A movie as its `moov` box says it: clock, tracks, sample tables; what is not understood is kept byte for byte.
//!
//! Reading is lenient: what can be used is used, every contradiction is noted in [`Movie::defects`], and only a header
//! from which nothing can be taken is an error. Assumes that the whole `moov` fits into memory.

use std::io::{Read, Seek};

use super::boxes::{BoxHeader, Layout, read_box};
use super::cursor::{ChildBox, children, children_of};
use super::error::{DefectLog, IsoError};
use super::fragment::trex::FragmentDefaults;
use super::headers::mvhd::MovieHeader;
use super::track::{Track, note_torn, saturating_i64};
use crate::memory;
use crate::recording::Defect;

/// Largest `moov` that is read: a week of 60 fps video and audio.
pub const MAX_MOVIE_HEADER_BYTES: u64 = 512 << 20;
/// And not more than this part of the memory that the process may have: beside its bytes there are its tables, about as large
/// again, and both once more when it is written.
const MEMORY_PARTS: u64 = 8;
/// Most tracks that are read.
pub const MAX_TRACKS: usize = 256;

/// A movie (ISO/IEC 14496-12 §8.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movie {
    /// `mvhd`.
    pub header: MovieHeader,
    /// The tracks in file order.
    pub tracks: Vec<Track>,
    /// What was wrong with the header.
    pub defects: Vec<Defect>,
    /// `trex` of each track, if the movie announces fragments with `mvex`.
    pub(super) fragment_defaults: Option<Vec<FragmentDefaults>>,
    /// Whether there is a `pssh` or an encrypted sample description (§8.1.1 of ISO/IEC 23001-7).
    pub(super) is_encrypted: bool,
    /// Other boxes in `moov`, byte for byte.
    pub(super) kept: Vec<u8>,
    /// The `moov` box as it was read; empty if the movie was made from something else.
    pub(super) raw: Vec<u8>,
    /// Whether durations were mended in it.
    pub(super) is_mended: bool,
}

impl Movie {
    /// Makes an empty movie.
    pub fn new(timescale: u32) -> Self {
        Self {
            header: MovieHeader::new(timescale),
            tracks: Vec::new(),
            defects: Vec::new(),
            fragment_defaults: None,
            is_encrypted: false,
            kept: Vec::new(),
            raw: Vec::new(),
            is_mended: false,
        }
    }

    /// A movie of filled tracks, numbered from 1, its durations those of their samples.
    pub fn of_tracks(timescale: u32, tracks: Vec<Track>) -> Self {
        let mut movie = Self { tracks, ..Self::new(timescale) };
        for (id, track) in (1..).zip(&mut movie.tracks) {
            track.header.id = id;
        }
        movie.settle_durations();
        movie
    }

    /// Reads the `moov` that a layout found.
    pub fn read<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<Self, IsoError> {
        let (header, bytes) = read_moov(reader, layout)?;
        let mut movie = Self::from_moov_at(bytes, header.offset)?;
        if layout.all(b"moov").nth(1).is_some() {
            let detail = "more than one `moov` (§8.2.1); the first whole one is used".to_owned();
            movie.defects.push(Defect::Malformed { offset: Some(header.offset), detail });
        }
        Ok(movie)
    }

    /// Reads a whole `moov` box.
    pub fn from_moov(bytes: Vec<u8>) -> Result<Self, IsoError> {
        Self::from_moov_at(bytes, 0)
    }

    /// Reads a whole `moov` box that lies at a byte offset of a file; defects name offsets in that file.
    pub fn from_moov_at(bytes: Vec<u8>, offset: u64) -> Result<Self, IsoError> {
        let moov = whole_moov(&bytes, offset)?;
        let mut notes = DefectLog::default();
        let mut movie = Self::read_children(&moov, &mut notes)?;
        movie.is_encrypted |= movie.tracks.iter().any(|t| t.descriptions.is_encrypted());
        movie.defects = notes.into_defects();
        movie.raw = bytes;
        Ok(movie)
    }

    fn read_children(moov: &ChildBox<'_>, notes: &mut DefectLog) -> Result<Self, IsoError> {
        let mvhd = children_of(moov).find(|b| b.fourcc.0 == *b"mvhd");
        let header = mvhd.and_then(|b| MovieHeader::read(b.body)).filter(|header| header.timescale > 0);
        let is_compressed = children_of(moov).any(|b| b.fourcc.0 == *b"cmov");
        let header = header.ok_or_else(|| no_header(moov, is_compressed))?;
        let mut movie = Self { header, ..Self::new(1) };
        for found in children_of(moov) {
            note_torn(&found, notes);
            movie.take(&found, notes)?;
        }
        Ok(movie)
    }

    fn take(&mut self, found: &ChildBox<'_>, notes: &mut DefectLog) -> Result<(), IsoError> {
        match &found.fourcc.0 {
            b"mvhd" => {}
            b"trak" => self.take_track(found, notes)?,
            b"mvex" => self.fragment_defaults = Some(super::fragment::trex::read(found, notes)),
            fourcc => {
                self.is_encrypted |= fourcc == b"pssh";
                found.append_to(&mut self.kept);
            }
        }
        Ok(())
    }

    fn take_track(&mut self, trak: &ChildBox<'_>, notes: &mut DefectLog) -> Result<(), IsoError> {
        let found = self.tracks.len() as u64 + 1;
        if self.tracks.len() >= MAX_TRACKS {
            return Err(IsoError::Limit { what: "number of tracks", found, limit: MAX_TRACKS as u64 });
        }
        let Some(read) = Track::read(trak, notes) else { return Ok(()) };
        if self.tracks.iter().any(|other| other.id() == read.id()) {
            notes.malformed(trak.offset, format!("track id {} is used twice (§8.3.2)", read.id()));
        }
        self.tracks.push(read);
        Ok(())
    }

    /// Whether the `moov` box differs from the one that was read, because durations in it were wrong.
    pub const fn is_mended(&self) -> bool {
        self.is_mended
    }

    /// The `moov` box as it was read, byte for byte but for durations that were mended; empty for a movie that was not read from one.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Whether samples are encrypted.
    pub const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether the movie announces fragments.
    pub const fn announces_fragments(&self) -> bool {
        self.fragment_defaults.is_some()
    }

    /// When the movie was made, milliseconds since the Unix epoch, if the writer said so.
    pub fn created_ms(&self) -> Option<i64> {
        self.header.created_ms()
    }

    /// The duration that `mvhd` claims, in milliseconds; `None` if it claims none.
    pub fn declared_duration_ms(&self) -> Option<i64> {
        let ms = super::track::rescaled(self.header.duration, 1000, u64::from(self.header.timescale));
        (self.header.duration > 0).then(|| saturating_i64(ms))
    }
}

/// Bytes of the largest movie header that is read by this process.
pub fn header_limit_bytes() -> u64 {
    memory::share(MEMORY_PARTS, MAX_MOVIE_HEADER_BYTES)
}

/// The `moov` that a layout found: where it stands and its bytes.
pub fn read_moov<'a, R: Read + Seek>(reader: &mut R, layout: &'a Layout) -> Result<(&'a BoxHeader, Vec<u8>), IsoError> {
    let header = layout.movie_header().ok_or(IsoError::NoMovieHeader)?;
    let bytes = read_box(reader, header, "size of the movie header in bytes", header_limit_bytes())?;
    Ok((header, bytes))
}

/// The `moov` box that the bytes begin with.
fn whole_moov(bytes: &[u8], offset: u64) -> Result<ChildBox<'_>, IsoError> {
    let moov = children(bytes, offset).next().filter(|b| b.fourcc.0 == *b"moov" && !b.is_torn);
    moov.ok_or_else(|| IsoError::malformed(offset, "no whole `moov` box (§8.2.1)"))
}

/// Reads the tracks of a whole `moov` box one after the other: only one is in memory, beside the bytes of the header.
pub fn each_track(moov: &[u8], mut visit: impl FnMut(Track)) -> Result<(), IsoError> {
    let moov = whole_moov(moov, 0)?;
    let mut notes = DefectLog::default();
    let tracks = children_of(&moov).filter(|found| found.fourcc.0 == *b"trak").take(MAX_TRACKS);
    tracks.filter_map(|trak| Track::read(&trak, &mut notes)).for_each(&mut visit);
    Ok(())
}

fn no_header(moov: &ChildBox<'_>, is_compressed: bool) -> IsoError {
    if is_compressed {
        return IsoError::Compressed { offset: moov.offset };
    }
    IsoError::malformed(moov.offset, "`moov` without a valid `mvhd` (§8.2.2)")
}
