//! What a recording is and what is wrong with it, as far as headers tell. Nothing is written.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::FinishError;
use crate::durable::FileError;
use crate::isobmff::{self, Layout, Movie, Shape};
use crate::media::{self, Probe};
use crate::recording::{Container, Defect, TrackKind};

/// Bytes of the head that are looked at to recognise a container.
const HEAD_BYTES: u64 = 1024;

/// What headers tell about a file.
#[derive(Debug)]
pub struct Inspection {
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// Its container, told from its bytes.
    pub container: Option<Container>,
    /// Its header and boxes, for ISO base media.
    pub iso: Option<Iso>,
    /// Its tracks as FFmpeg sees them, for everything that FFmpeg can open.
    pub probe: Option<Probe>,
    /// What is wrong with it so far.
    pub defects: Vec<Defect>,
}

/// The header of an ISO base media file.
#[derive(Debug)]
pub struct Iso {
    /// Where its boxes lie.
    pub layout: Layout,
    /// Its movie header, where there is a whole one that can be read.
    pub movie: Option<Movie>,
}

impl Inspection {
    /// How header and media lie, for ISO base media.
    pub fn shape(&self) -> Option<Shape> {
        self.iso.as_ref().map(|iso| iso.layout.shape())
    }

    /// Whether it cannot be finished.
    pub fn is_hopeless(&self) -> bool {
        self.defects.iter().any(Defect::is_fatal)
    }

    /// Names of its codecs, as FFmpeg says them, sound and pictures only.
    pub fn codecs(&self) -> Vec<&str> {
        let tracks = self.probe.iter().flat_map(|p| &p.tracks);
        let media = tracks.filter(|t| matches!(t.kind, TrackKind::Video | TrackKind::Audio));
        media.map(|t| t.codec.as_str()).collect()
    }
}

/// Looks at a file's headers.
pub fn inspect(path: &Path) -> Result<Inspection, FinishError> {
    let file = File::open(path).map_err(FileError::on("open", path))?;
    let size_bytes = file.metadata().map_err(FileError::on("read the state of", path))?.len();
    let mut head = Vec::new();
    (&file).take(HEAD_BYTES).read_to_end(&mut head).map_err(FileError::on("read", path))?;
    let container = Container::sniff(&head);
    let mut found = Inspection { size_bytes, container, iso: None, probe: None, defects: Vec::new() };
    match container {
        _ if size_bytes == 0 => found.defects.push(Defect::Empty),
        None => found.defects.push(Defect::NotMedia),
        Some(container) if container.is_iso() => inspect_iso(path, &file, container, &mut found)?,
        Some(container) => probe(path, container, &mut found)?,
    }
    Ok(found)
}

fn inspect_iso(path: &Path, file: &File, container: Container, found: &mut Inspection) -> Result<(), FinishError> {
    let mut reader = BufReader::new(file);
    let layout = isobmff::top_level(&mut reader, found.size_bytes).map_err(|e| header_error(path, e))?;
    match layout.shape() {
        Shape::Empty => found.defects.push(Defect::Empty),
        Shape::NotMedia => found.defects.push(Defect::NotMedia),
        Shape::NoMovieHeader => found.defects.push(Defect::NoMovieHeader),
        Shape::Fragmented => probe(path, container, found)?,
        Shape::HeaderFirst | Shape::HeaderLast => {}
    }
    let movie = match layout.shape() {
        Shape::HeaderFirst | Shape::HeaderLast => read_movie(path, &mut reader, &layout, found)?,
        _ => None,
    };
    if movie.is_some() {
        probe(path, container, found)?;
    }
    found.iso = Some(Iso { layout, movie });
    Ok(())
}

/// Reads and checks the movie header; one that contradicts itself is a defect and FFmpeg may still read it.
fn read_movie(
    path: &Path,
    reader: &mut BufReader<&File>,
    layout: &Layout,
    found: &mut Inspection,
) -> Result<Option<Movie>, FinishError> {
    match Movie::read(reader, layout) {
        Ok(movie) => {
            found.defects.extend(isobmff::validate(&movie, layout).defects);
            Ok(Some(movie))
        }
        Err(error) => match error.defect() {
            Some(defect) => {
                found.defects.push(defect);
                Ok(None)
            }
            None => Err(header_error(path, error)),
        },
    }
}

fn probe(path: &Path, container: Container, found: &mut Inspection) -> Result<(), FinishError> {
    match media::probe(path, container) {
        Ok(probe) => found.probe = Some(probe),
        Err(error) if !error.defects().is_empty() => found.defects.extend(error.defects().iter().cloned()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

pub(super) fn header_error(path: &Path, source: isobmff::IsoError) -> FinishError {
    FinishError::Header { path: path.to_owned(), source }
}
