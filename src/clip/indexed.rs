//! A file with its sample tables, ready to be cut.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ClipError;
use super::place::Place;
use super::stores::Stores;
use crate::deliver::PinnedObject;
use crate::durable::{self, FileError};
use crate::isobmff::{
    FileShape, IsoError, Layout, Movie, Sample, SampleLookup, SampleTime, SparseMovie, Track, fragment, top_level,
};
use crate::recording::{Fingerprint, TrackKind};

/// A track whose samples can be presented.
#[derive(Debug)]
pub struct PresentableTrack {
    /// The track as its file has it, without its tables.
    pub track: Track,
    /// Its samples.
    pub samples: SampleLookup,
    /// From a composition time to when it is presented, in ticks of the track.
    pub shift: i64,
    /// Presentation time from which on the edit list shows nothing, in ticks of the track.
    pub limit: i64,
    /// The smallest composition offset if it is negative: decoding times are so much later than they need to be.
    pub least_composition: i64,
}

impl PresentableTrack {
    fn of((track, samples): (Track, SampleLookup), movie_timescale: u32) -> Self {
        Self {
            shift: track.presentation_shift(movie_timescale),
            limit: track.presentation_limit(movie_timescale).unwrap_or(i64::MAX),
            least_composition: samples.least_composition(),
            track,
            samples,
        }
    }

    /// From a decoding time of the tables to one on the clock of the presentation, not later than any presentation time.
    pub const fn decoding_shift(&self) -> i64 {
        self.shift.saturating_add(self.least_composition)
    }

    /// When a sample is presented, ticks on the clock of the presentation.
    pub const fn shown_at(&self, sample: &SampleTime) -> i64 {
        sample.pts.saturating_add(self.shift)
    }

    /// When it is decoded at the latest, on the same clock.
    pub const fn decoded_at(&self, sample: &SampleTime) -> i64 {
        sample.dts.saturating_add(self.decoding_shift())
    }

    /// Milliseconds in ticks of the track, rounded down.
    pub fn ticks(&self, ms: i64) -> i64 {
        let ticks = (i128::from(ms) * i128::from(self.track.timescale())).div_euclid(1000);
        i64::try_from(ticks).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
    }

    /// Milliseconds in ticks of the track, rounded up.
    pub fn ticks_up(&self, ms: i64) -> i64 {
        self.ticks(ms.saturating_neg()).saturating_neg()
    }

    /// Ticks of the track in milliseconds, rounded up.
    fn ms_up(&self, ticks: i64) -> i64 {
        let ms = -(-i128::from(ticks) * 1000).div_euclid(i128::from(self.track.timescale()));
        i64::try_from(ms).unwrap_or(i64::MAX)
    }

    /// When its last sample ends on the clock of the presentation, in ticks of the track.
    fn end(&self) -> i64 {
        let end = self.samples.end_of_composition().saturating_add(self.shift);
        end.min(self.limit)
    }
}

/// A file of the catalogue with its tables.
#[derive(Debug)]
pub struct IndexedFile {
    /// The file of the recording, for messages.
    pub path: PathBuf,
    /// Where its bytes are, as it was when its tables were read.
    pub place: Place,
    /// Tracks of pictures, sound and text, those without samples left out.
    pub lanes: Vec<PresentableTrack>,
    /// When the last sample ends on the clock of the presentation, milliseconds.
    pub end_ms: i64,
    /// What it takes in memory, bytes, about.
    pub memory_bytes: u64,
}

impl IndexedFile {
    /// Reads what of the tables of a file is needed for any clip.
    pub fn read(path: &Path) -> Result<Self, ClipError> {
        let file = durable::open_to_read(path)?;
        let metadata = file.metadata().map_err(FileError::on("read the state of", path))?;
        let fingerprint = Fingerprint::of(&metadata);
        let read = |reader: &mut BufReader<&File>, layout: &Layout| SparseMovie::read(reader, layout);
        let movie = movie_of(&mut BufReader::new(&file), metadata.size(), read).map_err(|error| error.of(path))?;
        require_state(&file, path, fingerprint)?;
        Self::of(path, Place::File { path: path.to_owned(), fingerprint }, movie)
    }

    /// Reads the tables of an object by ranges; `path` is that of the recording.
    pub fn read_object(path: &Path, object: &Arc<PinnedObject>, stores: &Stores) -> Result<Self, ClipError> {
        let mut reader = stores.header(path, object);
        // Whole: each part that is left out would be a request of its own, now and for each clip.
        let read = |reader: &mut _, layout: &Layout| Movie::read(reader, layout).map(SparseMovie::of);
        let movie = movie_of(&mut reader, object.size_bytes, read);
        match (movie, reader.failure()) {
            (_, Some(failed)) => Err(failed),
            (movie, None) => Self::of(path, Place::Object(Arc::clone(object)), movie.map_err(|error| error.of(path))?),
        }
    }

    fn of(path: &Path, place: Place, SparseMovie { movie, samples }: SparseMovie) -> Result<Self, ClipError> {
        let uncut = |reason| ClipError::Uncut { path: path.to_owned(), reason };
        if movie.is_encrypted() {
            return Err(uncut("its samples are encrypted"));
        }
        let timescale = movie.header.timescale;
        let is_used = |(track, samples): &(Track, SampleLookup)| track.kind() != TrackKind::Data && samples.count() > 0;
        let tracks = movie.tracks.into_iter().zip(samples).filter(is_used);
        let lanes: Vec<_> = tracks.map(|track| PresentableTrack::of(track, timescale)).collect();
        if lanes.iter().any(|lane| lane.track.is_external()) {
            return Err(uncut("samples of it lie in other files"));
        }
        if lanes.iter().any(|lane| !lane.track.has_simple_edits()) {
            return Err(uncut("its edit list has several parts"));
        }
        let end_ms = lanes.iter().map(|lane| lane.ms_up(lane.end())).max().unwrap_or(0);
        let memory_bytes = lanes.iter().map(|lane| lane.samples.memory_bytes()).sum();
        Ok(Self { path: path.to_owned(), place, lanes, end_ms, memory_bytes })
    }

    /// Samples of a lane by their numbers, from 0.
    pub fn samples(&self, lane: usize, numbers: Range<u64>) -> Result<Vec<Sample>, ClipError> {
        let samples = &self.lanes[lane].samples;
        let header = |source| ClipError::Header { path: self.path.clone(), source };
        match &self.place {
            Place::File { path, fingerprint } if samples.reads_file() => {
                let file = durable::open_to_read(path)?;
                let read = samples.samples(numbers, &mut &file);
                // A file that was replaced or cut short is told as that, whatever came of reading it.
                require_state(&file, path, *fingerprint)?;
                read.map_err(header)
            }
            _ => samples.samples(numbers, &mut io::empty()).map_err(header),
        }
    }
}

fn require_state(file: &File, path: &Path, fingerprint: Fingerprint) -> Result<(), ClipError> {
    let metadata = file.metadata().map_err(FileError::on("read the state of", path))?;
    let is_same = Fingerprint::of(&metadata) == fingerprint;
    if is_same { Ok(()) } else { Err(ClipError::Changed { path: path.to_owned() }) }
}

/// What stops the reading of a header.
enum HeaderError {
    Iso(IsoError),
    Uncut(&'static str),
}

impl From<IsoError> for HeaderError {
    fn from(error: IsoError) -> Self {
        Self::Iso(error)
    }
}

impl HeaderError {
    fn of(self, path: &Path) -> ClipError {
        match self {
            Self::Iso(source) => ClipError::Header { path: path.to_owned(), source },
            Self::Uncut(reason) => ClipError::Uncut { path: path.to_owned(), reason },
        }
    }
}

/// Reads the movie of a file; `usual` reads one that is not fragmented.
fn movie_of<R: Read + Seek>(
    reader: &mut R,
    len: u64,
    usual: impl FnOnce(&mut R, &Layout) -> Result<SparseMovie, IsoError>,
) -> Result<SparseMovie, HeaderError> {
    let layout = top_level(reader, len)?;
    let movie = match layout.shape() {
        FileShape::HeaderFirst | FileShape::HeaderLast => return Ok(usual(reader, &layout)?),
        FileShape::Fragmented => Movie::read(reader, &layout)?,
        FileShape::NoMovieHeader | FileShape::Empty | FileShape::NotMedia => {
            return Err(HeaderError::Uncut("it has no movie header"));
        }
    };
    let read = fragment::read(reader, &layout, movie)?;
    let uncut = HeaderError::Uncut("its samples are encrypted");
    if read.movie.is_encrypted() { Err(uncut) } else { Ok(SparseMovie::of(read.movie)) }
}
