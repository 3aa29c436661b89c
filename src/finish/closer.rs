//! What `validate` asks for beyond headers and tables: every packet read and digested, or every packet decoded.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::decoding::{DecodeOutcome, decoded};
use super::inspect::header_error;
use super::{Description, FinishError, ValidationLevel};
use crate::durable::{self, FileError};
use crate::isobmff::{self, Movie, Track};
use crate::media::PassControl;
use crate::recording::{Container, Defect};
use crate::salvage::aac::{self, ChannelElements};

/// More broken frames than one in so many are no damage but a configuration that is not understood.
const MOST_BROKEN_IN: u64 = 4;

/// What a closer look found.
#[derive(Debug, Default)]
pub(super) struct CloserLook {
    /// BLAKE3 of each track's payloads, where they were read from sample tables.
    digests: Vec<[u8; 32]>,
    defects: Vec<Defect>,
}

/// How closely is looked, and the program that decodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validation<'a> {
    pub(super) level: ValidationLevel,
    /// `None`: this process decodes.
    pub(super) decoder: Option<&'a Path>,
}

/// Looks as closely at a file as is asked for; `movie` holds its sample tables, if it has any.
pub(super) fn look_closer(
    path: &Path,
    container: Container,
    movie: Option<&Movie>,
    Validation { level, decoder }: Validation<'_>,
    watch: PassControl<'_>,
) -> Result<CloserLook, FinishError> {
    let mut found = match (level, movie) {
        (ValidationLevel::Structure, _) => return Ok(CloserLook::default()),
        (_, Some(movie)) => check_packets(path, movie)?,
        (_, None) => CloserLook::default(),
    };
    if level == ValidationLevel::Decode {
        found.take_decoded(decoded((path, container), None, decoder, watch)?);
    }
    Ok(found)
}

fn check_packets(path: &Path, movie: &Movie) -> Result<CloserLook, FinishError> {
    let file = durable::open_to_read(path)?;
    let check = isobmff::check_packets(&mut BufReader::new(&file), movie).map_err(|e| header_error(path, e))?;
    let mut defects = check.defects;
    for (number, track) in (1..).zip(&movie.tracks).filter(|(_, track)| !track.is_external() && !movie.is_encrypted()) {
        let errors = broken_aac_frames(&file, track).map_err(FileError::on("read", path))?;
        defects.extend((errors > 0).then_some(Defect::Undecodable { track: number, errors }));
    }
    Ok(CloserLook { digests: check.digests, defects })
}

/// Frames of an AAC track that do not end where their syntax does (ISO/IEC 14496-3 §4.4.2.1). If many do not, it is the
/// configuration that is not understood here, and nothing is said.
fn broken_aac_frames(file: &File, track: &Track) -> io::Result<u64> {
    let Some(config) = aac_config(track) else { return Ok(0) };
    let (mut frames, mut broken) = (0, 0);
    let mut bytes = vec![0; aac::MAX_FRAME_BYTES];
    for sample in track.samples() {
        let Some(frame) = usize::try_from(sample.size_bytes).ok().and_then(|size| bytes.get_mut(..size)) else {
            broken += 1;
            continue;
        };
        frames += 1;
        match file.read_exact_at(frame, sample.offset) {
            Ok(()) => broken += u64::from(aac::frame_bytes(frame, &config) != Ok(frame.len())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => broken += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(if broken * MOST_BROKEN_IN > frames { 0 } else { broken })
}

fn aac_config(track: &Track) -> Option<aac::AacConfig> {
    let entry = track.entry().filter(|_| track.codec() == "aac")?;
    let elements = entry.channels.map(|n| if n == 8 { 7 } else { n }).and_then(ChannelElements::of_channels);
    aac::AacConfig::new(entry.sample_rate_hz?, elements)
}

impl CloserLook {
    /// A track whose packets are broken already is not said to be so twice.
    pub(super) fn take_decoded(&mut self, decoded: DecodeOutcome) {
        let errors = match decoded {
            DecodeOutcome::Errors(errors) => errors,
            DecodeOutcome::Failed(reason) => return self.defects.push(Defect::NotDecoded { reason }),
        };
        for found in errors {
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

    fn look(path: &Path, validate: ValidationLevel) -> Description {
        let inspection = crate::finish::inspect(path).unwrap();
        let movie = inspection.movie();
        let watch = PassControl { cancel: None, progress: None };
        let mut description = crate::finish::describe(path, Container::Mp4, &watch).unwrap();
        let validation = Validation { level: validate, decoder: None };
        look_closer(path, Container::Mp4, movie, validation, watch).unwrap().tell(&mut description);
        description
    }

    #[test]
    fn packets_are_digested_only_when_asked_for() {
        assert!(look(&fixture(), ValidationLevel::Structure).tracks.iter().all(|t| t.digest.is_none()));
        let packets = look(&fixture(), ValidationLevel::Packets);
        assert!(packets.tracks.iter().all(|t| t.digest.as_ref().is_some_and(|d| d.len() == 64)));
        assert_eq!(packets.defects, []);
        assert_eq!(look(&fixture(), ValidationLevel::Decode).defects, []);
    }

    #[test]
    fn sound_is_followed_by_its_syntax() {
        let inspection = crate::finish::inspect(&fixture()).unwrap();
        let movie = inspection.iso.unwrap().movie.unwrap();
        let sound = movie.tracks.iter().position(|track| track.codec() == "aac").unwrap();
        let mut bytes = std::fs::read(fixture()).unwrap();
        for sample in movie.tracks[sound].samples().skip(20).take(5) {
            let at = usize::try_from(sample.offset).unwrap();
            bytes[at..at + usize::try_from(sample.size_bytes).unwrap()].fill(0xFF);
        }
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("x.mp4");
        std::fs::write(&broken, bytes).unwrap();
        let track = u32::try_from(sound + 1).unwrap();
        let said = look(&broken, ValidationLevel::Packets).defects;
        assert!(said.contains(&Defect::Undecodable { track, errors: 5 }), "{said:?}");
        assert!(look(&broken, ValidationLevel::Structure).defects.is_empty());
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
        for validate in [ValidationLevel::Packets, ValidationLevel::Decode] {
            let said = look(&broken, validate).defects;
            let undecodable = said.iter().filter(|d| matches!(d, Defect::Undecodable { track: 1, .. })).count();
            assert_eq!(undecodable, 1, "{validate:?}: {said:?}");
        }
    }
}
