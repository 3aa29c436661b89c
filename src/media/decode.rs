//! Whether every packet decodes: the dearest of the three validations.

use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use ffmpeg_next::codec::{Context, threading};
use ffmpeg_next::decoder::Opened;
use ffmpeg_next::{Discard, Error, frame};

use super::ffi::{Packet, Source};
use super::reading::Pass;
use super::{MediaError, Watch};
use crate::recording::{Container, TrackKind};

/// Most threads that decode the pictures: each holds some of its own.
const MOST_THREADS: usize = 4;
/// Most errors in a row that a decoder is asked to go on behind.
const MOST_REFUSED: u64 = 64;

/// Decoding errors of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeErrors {
    /// Track number, starting at 1.
    pub track: u32,
    /// Packets the decoder refused and frames it called corrupt.
    pub errors: u64,
}

/// Decodes all sound and pictures and counts what does not decode; tracks without errors are not listed.
pub fn decode_check(path: &Path, container: Container, watch: Watch<'_>) -> Result<Vec<DecodeErrors>, MediaError> {
    decode(path, container, watch, (u64::MAX, threads()))
}

/// Errors on decoding the first packets of a file, all tracks together.
pub fn decode_beginning(path: &Path, container: Container, packets: u64) -> Result<u64, MediaError> {
    let found = decode(path, container, Watch::default(), (packets, threads()))?;
    Ok(found.iter().map(|track| track.errors).sum())
}

fn threads() -> usize {
    available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS)
}

/// Decodes so many packets; the first picture track by so many threads.
fn decode(
    path: &Path,
    container: Container,
    watch: Watch<'_>,
    (mut left, threads): (u64, usize),
) -> Result<Vec<DecodeErrors>, MediaError> {
    let mut pass = Pass::open(path, container, watch)?;
    let mut tracks: Vec<Decoding> = Vec::new();
    let mut packet = Packet::empty();
    while left > 0 && pass.next(&mut packet)? {
        left -= 1;
        while tracks.len() < pass.source.track_count() {
            tracks.push(Decoding::of(&pass.source, tracks.len(), threads));
        }
        if let Some(track) = tracks.get_mut(packet.stream()) {
            track.decode(&packet);
        }
        packet = Packet::empty();
    }
    tracks.iter_mut().for_each(Decoding::finish);
    let found = tracks.iter().zip(1..).map(|(t, track)| DecodeErrors { track, errors: t.errors });
    Ok(found.filter(|f| f.errors > 0).collect())
}

struct Decoding {
    decoder: Option<Opened>,
    frame: frame::Video,
    errors: u64,
}

impl Decoding {
    fn of(source: &Source, index: usize, threads: usize) -> Self {
        let kind = |index| source.track(index).map(|track| track.kind);
        let is_first_picture = kind(index) == Some(TrackKind::Video) && !(0..index).any(|n| kind(n) == kind(index));
        let decoder = open(source, index, if is_first_picture { threads } else { 1 });
        let is_media = matches!(kind(index), Some(TrackKind::Video | TrackKind::Audio));
        Self { errors: u64::from(decoder.is_none() && is_media), decoder, frame: frame::Video::empty() }
    }

    fn decode(&mut self, packet: &Packet) {
        let Some(decoder) = &mut self.decoder else { return };
        self.errors += u64::from(decoder.send_packet(packet).is_err());
        self.drain();
    }

    fn finish(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            self.errors += u64::from(decoder.send_eof().is_err());
            self.drain();
        }
    }

    /// Takes what is decoded. Each thread may hold an error back until the end; a decoder that never comes to one is left.
    fn drain(&mut self) {
        let Some(decoder) = &mut self.decoder else { return };
        let mut refused = 0;
        while refused < MOST_REFUSED {
            match decoder.receive_frame(&mut self.frame) {
                Ok(()) => self.errors += u64::from(self.frame.is_corrupt()),
                Err(Error::Eof | Error::Other { errno: libc::EAGAIN }) => break,
                Err(_) => refused += 1,
            }
        }
        self.errors += refused;
    }
}

fn open(source: &Source, index: usize, threads: usize) -> Option<Opened> {
    // A system that has no thread left to give still decodes on this one.
    let opened = open_with(source, index, threads);
    if opened.is_none() && threads > 1 { open_with(source, index, 1) } else { opened }
}

fn open_with(source: &Source, index: usize, threads: usize) -> Option<Opened> {
    let stream = source.input().stream(index)?;
    let parameters = stream.parameters();
    let codec = ffmpeg_next::codec::decoder::find(parameters.id())?;
    let mut context = Context::from_parameters(parameters).ok()?;
    context.set_threading(threading::Config { count: threads, ..threading::Config::kind(threading::Type::Frame) });
    let mut decoder = context.decoder();
    // It smooths pictures that nobody looks at, and meets no error that reading them does not.
    decoder.skip_loop_filter(Discard::All);
    decoder.open_as(codec).ok()
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
            let count = |threads| decode(&path, Container::Mp4, Watch::default(), (u64::MAX, threads)).unwrap();
            let alone = count(1);
            assert!(alone.iter().any(|track| track.errors > 0), "{hit:?}");
            assert_eq!(count(4), alone, "{hit:?}");
        }
    }
}
