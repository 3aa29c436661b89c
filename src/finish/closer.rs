//! What `validate` asks for beyond headers and tables: every packet read and digested, or every packet decoded.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::inspect::header_error;
use super::{Description, FinishError, Validate};
use crate::durable::FileError;
use crate::isobmff::{self, Movie};
use crate::media::{self, Watch};
use crate::recording::{Container, Defect};

/// What a closer look found.
#[derive(Debug, Default)]
pub(super) struct Closer {
    /// BLAKE3 of each track's payloads, where they were read from sample tables.
    digests: Vec<[u8; 32]>,
    defects: Vec<Defect>,
}

/// Looks as closely at a file as is asked for; `movie` holds its sample tables, if it has any.
pub(super) fn look_closer(
    (path, container): (&Path, Container),
    movie: Option<&Movie>,
    validate: Validate,
    watch: Watch<'_>,
) -> Result<Closer, FinishError> {
    let mut found = match (validate, movie) {
        (Validate::Structure, _) => return Ok(Closer::default()),
        (_, Some(movie)) => check_packets(path, movie)?,
        (_, None) => Closer::default(),
    };
    if validate == Validate::Decode {
        found.take_decoded(media::decode_check(path, container, watch)?);
    }
    Ok(found)
}

fn check_packets(path: &Path, movie: &Movie) -> Result<Closer, FinishError> {
    let file = File::open(path).map_err(FileError::on("open", path))?;
    let check = isobmff::check_packets(&mut BufReader::new(file), movie).map_err(|e| header_error(path, e))?;
    Ok(Closer { digests: check.digests, defects: check.defects })
}

impl Closer {
    /// A track whose packets are broken already is not said to be so twice.
    fn take_decoded(&mut self, decoded: Vec<media::DecodeErrors>) {
        for found in decoded {
            let is_said = |d: &Defect| matches!(d, Defect::Undecodable { track, .. } if *track == found.track);
            if !self.defects.iter().any(is_said) {
                self.defects.push(Defect::Undecodable { track: found.track, errors: found.errors });
            }
        }
    }

    /// Writes into a description what was found.
    pub(super) fn tell(&self, description: &mut Description) {
        if self.digests.len() == description.tracks.len() {
            for (track, digest) in description.tracks.iter_mut().zip(&self.digests) {
                track.digest = Some(blake3::Hash::from(*digest).to_hex().to_string());
            }
        }
        let new = self.defects.iter().filter(|d| !description.defects.contains(d)).cloned().collect::<Vec<_>>();
        description.defects.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4")
    }

    fn look(path: &Path, validate: Validate) -> Description {
        let inspection = crate::finish::inspect(path).unwrap();
        let movie = inspection.iso.as_ref().and_then(|iso| iso.movie.as_ref());
        let watch = Watch { cancel: None, progress: None };
        let mut description = crate::finish::describe(path, Container::Mp4, &watch).unwrap();
        look_closer((path, Container::Mp4), movie, validate, watch).unwrap().tell(&mut description);
        description
    }

    #[test]
    fn packets_are_digested_only_when_asked_for() {
        assert!(look(&fixture(), Validate::Structure).tracks.iter().all(|t| t.digest.is_none()));
        let packets = look(&fixture(), Validate::Packets);
        assert!(packets.tracks.iter().all(|t| t.digest.as_ref().is_some_and(|d| d.len() == 64)));
        assert_eq!(packets.defects, []);
        assert_eq!(look(&fixture(), Validate::Decode).defects, []);
    }

    #[test]
    fn a_broken_packet_is_said_once() {
        let inspection = crate::finish::inspect(&fixture()).unwrap();
        let movie = inspection.iso.unwrap().movie.unwrap();
        let mut bytes = std::fs::read(fixture()).unwrap();
        for sample in movie.tracks[0].samples().skip(20).take(5) {
            let at = usize::try_from(sample.offset).unwrap();
            bytes[at..at + usize::try_from(sample.size_bytes).unwrap()].fill(0xFF);
        }
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("x.mp4");
        std::fs::write(&broken, bytes).unwrap();
        for validate in [Validate::Packets, Validate::Decode] {
            let said = look(&broken, validate).defects;
            let undecodable = said.iter().filter(|d| matches!(d, Defect::Undecodable { track: 1, .. })).count();
            assert_eq!(undecodable, 1, "{validate:?}: {said:?}");
        }
    }
}
