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

/// Most threads that decode one track: each holds pictures of its own.
const MOST_THREADS: usize = 4;

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
    decode(path, container, watch, u64::MAX)
}

/// Errors on decoding the first packets of a file, all tracks together.
pub fn decode_beginning(path: &Path, container: Container, packets: u64) -> Result<u64, MediaError> {
    let found = decode(path, container, Watch::default(), packets)?;
    Ok(found.iter().map(|track| track.errors).sum())
}

fn decode(path: &Path, container: Container, watch: Watch<'_>, mut left: u64) -> Result<Vec<DecodeErrors>, MediaError> {
    let mut pass = Pass::open(path, container, watch)?;
    let mut tracks: Vec<Decoding> = Vec::new();
    let mut packet = Packet::empty();
    while left > 0 && pass.next(&mut packet)? {
        left -= 1;
        while tracks.len() < pass.source.track_count() {
            tracks.push(Decoding::of(&pass.source, tracks.len()));
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
    fn of(source: &Source, index: usize) -> Self {
        let decoder = open(source, index);
        let is_media = source.track(index).is_some_and(|t| matches!(t.kind, TrackKind::Video | TrackKind::Audio));
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

    fn drain(&mut self) {
        let Some(decoder) = &mut self.decoder else { return };
        loop {
            match decoder.receive_frame(&mut self.frame) {
                Ok(()) => self.errors += u64::from(self.frame.is_corrupt()),
                Err(Error::Eof | Error::Other { .. }) => return,
                Err(_) => {
                    self.errors += 1;
                    return;
                }
            }
        }
    }
}

fn open(source: &Source, index: usize) -> Option<Opened> {
    let count = available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    // A system that has no thread left to give still decodes on this one.
    open_with(source, index, count).or_else(|| open_with(source, index, 1))
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
