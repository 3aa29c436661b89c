//! What a finished file holds: tracks, durations, and what its id is made from. The same for a file that was just
//! written and for one that a rebuild of the catalogue finds.

use std::io::{BufReader, Read, Seek};
use std::path::Path;

use super::inspect::{IsoHeader, header_error};
use super::{FinishError, Inspection};
use crate::durable::{self, FileError};
use crate::isobmff::{self, FileShape, IsoError, Movie, ValidationResult};
use crate::media::{self, MediaReading};
use crate::recording::{Container, Defect, TrackSummary};

/// What a file holds.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its container.
    pub container: Container,
    /// Its tracks in file order.
    pub tracks: Vec<TrackSummary>,
    /// Largest end of a track minus smallest start, milliseconds.
    pub duration_ms: i64,
    /// What the container claims, milliseconds.
    pub declared_ms: Option<i64>,
    /// When the container says it was made, milliseconds since the Unix epoch.
    pub created_ms: Option<i64>,
    /// Per track the sample count and the SHA-256 of its first payloads, for `recording::vod_id`.
    pub id_tracks: Vec<(u64, [u8; 32])>,
    /// What is wrong with it.
    pub defects: Vec<Defect>,
}

/// Describes a file: ISO base media with a movie header from its tables, anything else by reading its packets.
pub fn describe(path: &Path, container: Container, watch: &media::PassControl<'_>) -> Result<Description, FinishError> {
    if container.is_iso()
        && let Some(description) = describe_iso(path, container)?
    {
        return Ok(description);
    }
    Ok(of_reading(container, &media::read(path, container, *watch)?))
}

/// Describes a file that was inspected: from the header as it was read then, where there is one.
pub(super) fn describe_inspected(
    path: &Path,
    inspection: &Inspection,
    container: Container,
    watch: &media::PassControl<'_>,
) -> Result<Description, FinishError> {
    let is_one =
        |header: &IsoHeader<'_>| matches!(header.iso.layout.shape(), FileShape::HeaderFirst | FileShape::HeaderLast);
    match inspection.header().filter(is_one) {
        Some(header) => describe_read(path, header, container),
        None => describe(path, container, watch),
    }
}

/// Describes a file whose header was read and judged before.
pub(super) fn describe_read(
    path: &Path,
    header: IsoHeader<'_>,
    container: Container,
) -> Result<Description, FinishError> {
    let file = durable::open_to_read(path)?;
    let described = describe_movie(&mut &file, header.movie, header.iso.verdict.clone(), container);
    described.map_err(|e| header_error(path, e))
}

/// Describes what one pass over the packets told.
pub fn of_reading(container: Container, reading: &MediaReading) -> Description {
    Description {
        container,
        tracks: reading.summaries(),
        duration_ms: reading.duration_ms(),
        declared_ms: reading.declared_ms,
        created_ms: reading.created_ms,
        id_tracks: reading.id_tracks(),
        defects: reading.defects.clone(),
    }
}

fn describe_iso(path: &Path, container: Container) -> Result<Option<Description>, FinishError> {
    let file = durable::open_to_read(path)?;
    let size = file.metadata().map_err(FileError::on("read the metadata of", path))?.len();
    describe_reader(&mut BufReader::new(&file), size, container).map_err(|e| header_error(path, e))
}

/// Describes ISO base media of `size` bytes from its tables; `None` if its header is in fragments.
pub(super) fn describe_reader<R: Read + Seek>(
    reader: &mut R,
    size: u64,
    container: Container,
) -> Result<Option<Description>, IsoError> {
    let layout = isobmff::top_level(reader, size)?;
    if !matches!(layout.shape(), FileShape::HeaderFirst | FileShape::HeaderLast) {
        return Ok(None);
    }
    let movie = Movie::read(reader, &layout)?;
    let verdict = isobmff::validate(&movie, &layout);
    describe_movie(reader, &movie, verdict, container).map(Some)
}

/// Describes a movie whose header is read and judged; of the media only the first payloads are read.
pub(super) fn describe_movie<R: Read + Seek>(
    reader: &mut R,
    movie: &Movie,
    verdict: ValidationResult,
    container: Container,
) -> Result<Description, IsoError> {
    Ok(Description {
        container,
        duration_ms: verdict.duration_ms,
        declared_ms: movie.declared_duration_ms(),
        created_ms: movie.created_ms(),
        tracks: verdict.tracks,
        id_tracks: isobmff::first_payload_digests(reader, movie)?,
        defects: verdict.defects,
    })
}
