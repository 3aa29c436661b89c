//! Whether two ISO base media files hold the same media: every sample's size, times and flags, and all payloads.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::FinishError;
use super::inspect::header_error;
use crate::durable::FileError;
use crate::isobmff::{self, IsoError, Movie};

/// Compares a finished file with its source, whose movie (of a fragmented file: with all fragments) is given.
pub(super) fn compare(source: &Path, movie: &Movie, written: &Path) -> Result<(), FinishError> {
    let before = Held::read(source, Some(movie.clone()))?;
    let after = Held::read(written, None)?;
    before.compare(&after).map_err(|detail| FinishError::NotTheSame { path: source.to_owned(), detail })
}

/// The header of a file and the digests of its payloads.
struct Held {
    movie: Movie,
    digests: Vec<[u8; 32]>,
}

impl Held {
    fn read(path: &Path, movie: Option<Movie>) -> Result<Self, FinishError> {
        let file = File::open(path).map_err(FileError::on("open", path))?;
        let size = file.metadata().map_err(FileError::on("read the state of", path))?.len();
        Self::read_from(BufReader::new(file), size, movie).map_err(|e| header_error(path, e))
    }

    fn read_from(mut reader: BufReader<File>, size: u64, movie: Option<Movie>) -> Result<Self, IsoError> {
        let movie = if let Some(movie) = movie {
            movie
        } else {
            let layout = isobmff::top_level(&mut reader, size)?;
            Movie::read(&mut reader, &layout)?
        };
        let digests = isobmff::payload_digests(&mut reader, &movie)?;
        Ok(Self { movie, digests })
    }

    fn compare(&self, other: &Self) -> Result<(), String> {
        if self.movie.tracks.len() != other.movie.tracks.len() {
            return Err(format!("{} tracks became {}", self.movie.tracks.len(), other.movie.tracks.len()));
        }
        for (number, (ours, theirs)) in (1..).zip(self.movie.tracks.iter().zip(&other.movie.tracks)) {
            let facts = |s: isobmff::Sample| (s.size_bytes, s.dts, s.pts, s.duration, s.is_sync, s.description_index);
            if !ours.samples().map(facts).eq(theirs.samples().map(facts)) || ours.edits != theirs.edits {
                return Err(format!("the samples of track {number} differ"));
            }
            if ours.descriptions != theirs.descriptions {
                return Err(format!("the codec configuration of track {number} differs"));
            }
        }
        let differing = self.digests.iter().zip(&other.digests).position(|(a, b)| a != b);
        differing.map_or(Ok(()), |track| Err(format!("the payload of track {} differs", track + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4")
    }

    #[test]
    fn a_file_is_the_same_as_itself_and_not_as_one_with_a_flipped_bit() {
        let held = Held::read(&fixture(), None).unwrap();
        compare(&fixture(), &held.movie, &fixture()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let flipped = dir.path().join("x.mp4");
        let mut bytes = std::fs::read(fixture()).unwrap();
        let sample = held.movie.tracks[0].samples().nth(40).unwrap();
        bytes[usize::try_from(sample.offset).unwrap() + 9] ^= 1;
        std::fs::write(&flipped, bytes).unwrap();
        let error = compare(&fixture(), &held.movie, &flipped).unwrap_err();
        assert!(matches!(error, FinishError::NotTheSame { .. }), "{error}");
    }
}
