//! Whether every packet decodes: the dearest of the three validations.

use std::fs::File;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

use super::ffi::decoder::{Decoder, Strictness};
use super::ffi::{MediaSource, Packet, ProbeDepth};
use super::reading::PacketPass;
use super::{MediaError, PassControl};
use crate::recording::{Container, TrackKind};

/// Most threads that decode the pictures: each holds some of its own.
const MOST_THREADS: usize = 4;

/// Decoding errors of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeErrors {
    /// Track number, starting at 1.
    pub track: u32,
    /// Errors that the decoder reported: lines on its log, or packets refused and frames marked as damaged, whichever are more.
    /// Pictures whose damage it concealed are among them.
    pub errors: u64,
}

/// Decodes all sound and pictures and counts what does not decode; tracks without errors are not listed.
pub fn decode_check(
    path: &Path,
    container: Container,
    watch: PassControl<'_>,
) -> Result<Vec<DecodeErrors>, MediaError> {
    decode(PacketPass::open(path, container, watch)?, threads())
}

/// The same for media that lies in the first `len` bytes of a file, behind a header of ISO base media that is nowhere but here.
pub fn decode_check_headed(
    path: &Path,
    header: Vec<u8>,
    len: u64,
    watch: PassControl<'_>,
) -> Result<Vec<DecodeErrors>, MediaError> {
    decode(PacketPass::over(MediaSource::open_headed(path, header, len)?, watch), threads())
}

/// The same for a recording that is open, or for its first bytes behind a header.
pub(super) fn decode_check_open(
    (file, name, container): (File, &Path, Container),
    part: Option<(Vec<u8>, u64)>,
    watch: PassControl<'_>,
) -> Result<Vec<DecodeErrors>, MediaError> {
    let source = match part {
        None => MediaSource::over(file, name, container, ProbeDepth::Usual)?,
        Some((header, len)) => MediaSource::over_headed(file, name, header, len)?,
    };
    decode(PacketPass::over(source, watch), threads())
}

fn threads() -> usize {
    available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS)
}

/// Decodes all packets; those of the first picture track by so many threads.
fn decode(mut pass: PacketPass<'_>, threads: usize) -> Result<Vec<DecodeErrors>, MediaError> {
    let mut tracks: Vec<Decoding> = Vec::new();
    let mut packet = Packet::empty();
    while pass.next(&mut packet)? {
        while tracks.len() < pass.source.track_count() {
            tracks.push(Decoding::of(&pass.source, tracks.len(), threads));
        }
        if let Some(decoder) = tracks.get_mut(packet.stream()).and_then(|track| track.decoder.as_mut()) {
            decoder.decode(&packet, |_| ());
        }
        packet = Packet::empty();
    }
    let found =
        tracks.iter_mut().zip(1..).map(|(track, number)| DecodeErrors { track: number, errors: track.finish() });
    Ok(found.filter(|f| f.errors > 0).collect())
}

struct Decoding {
    decoder: Option<Decoder>,
    is_media: bool,
}

impl Decoding {
    fn of(source: &MediaSource, index: usize, threads: usize) -> Self {
        let kind = |index| source.track(index).map(|track| track.kind);
        let is_first_picture = kind(index) == Some(TrackKind::Video) && !(0..index).any(|n| kind(n) == kind(index));
        let threads = if is_first_picture { threads } else { 1 };
        let is_media = matches!(kind(index), Some(TrackKind::Video | TrackKind::Audio));
        Self { decoder: Decoder::open(source, index, (threads, Strictness::Usual)), is_media }
    }

    /// All errors of the track; sound and pictures that nothing decodes are one.
    fn finish(&mut self) -> u64 {
        let Some(decoder) = &mut self.decoder else { return u64::from(self.is_media) };
        decoder.finish(|_| ());
        decoder.errors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_errors_are_counted_with_threads_as_without() {
        let whole =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        let mut reader = std::io::Cursor::new(&whole[..]);
        let layout = crate::isobmff::top_level(&mut reader, whole.len() as u64).unwrap();
        let movie = crate::isobmff::Movie::read(&mut reader, &layout).unwrap();
        let video = movie.tracks.iter().find(|track| track.kind() == TrackKind::Video).unwrap();
        let samples: Vec<_> = video.samples().collect();
        // Every unit of some pictures becomes one that no decoder takes; the last ones too, which come out at the end.
        for hit in [0..1, 5..9, 20..21, samples.len() - 3..samples.len()] {
            let mut bytes = whole.clone();
            for sample in &samples[hit.clone()] {
                let at = usize::try_from(sample.offset).unwrap();
                bytes[at + 4..at + sample.size_bytes as usize].fill(0x65);
            }
            std::fs::write(&path, bytes).unwrap();
            let count = |threads| {
                decode(PacketPass::open(&path, Container::Mp4, PassControl::default()).unwrap(), threads).unwrap()
            };
            let alone = count(1);
            assert!(alone.iter().any(|track| track.errors > 0), "{hit:?}");
            assert_eq!(count(4), alone, "{hit:?}");
        }
    }
}
