//! The frames of a recording's video: keyframes one at a time, each decoded for itself, or every frame from a keyframe on.

use std::fs::File;
use std::path::Path;

use ffmpeg_next::{Error, decoder, frame};

use super::develop::Shape;
use crate::media::MediaError;
use crate::media::ffi::picture::{open_decoder, shape_of};
use crate::media::ffi::{MediaSource, Packet, ProbeDepth, ReadOutcome, TimeBase};
use crate::recording::{Container, Defect, TrackKind};

/// Unreadable places that are passed over; behind so many the rest counts as lost.
const MOST_NONSENSE: u32 = 64;

/// An open recording, and what it is called in messages.
#[derive(Debug, Clone, Copy)]
pub(in crate::media) struct Recording<'a> {
    pub(in crate::media) file: &'a File,
    pub(in crate::media) name: &'a Path,
    pub(in crate::media) container: Container,
}

impl Recording<'_> {
    /// Opens it, looked into so far.
    pub(super) fn open(&self, depth: ProbeDepth) -> Result<MediaSource, MediaError> {
        let file = self.file.try_clone().map_err(MediaError::open(self.name))?;
        MediaSource::over(file, self.name, self.container, depth)
    }

    /// Whether its header says all that a decoder needs.
    fn says_all(&self) -> bool {
        self.container.is_iso() || matches!(self.container, Container::Webm | Container::Matroska)
    }

    pub(super) fn refused(&self, error: Error) -> MediaError {
        let detail = match error {
            Error::DecoderNotFound => "there is no decoder for its codec".to_owned(),
            other => other.to_string(),
        };
        MediaError::Refused { path: self.name.to_owned(), action: "decode", detail }
    }
}

/// The first track of a kind that is not a cover.
pub(super) fn track_of(source: &MediaSource, kind: TrackKind) -> Option<usize> {
    source.tracks().into_iter().find(|track| track.kind == kind && !track.is_picture).map(|track| track.index)
}

/// A frame, and when it is presented, in ticks of its track.
pub(super) struct Shown {
    pub(super) frame: frame::Video,
    pub(super) at: i64,
}

/// A keyframe as it is stored, and when it is presented, in ticks of its track.
pub(super) struct Key {
    packet: Packet,
    pub(super) at: i64,
}

/// The frames of one track.
pub(super) struct Frames {
    source: MediaSource,
    track: usize,
    decoder: decoder::Opened,
    pub(super) time_base: TimeBase,
    nonsense: u32,
    /// Whether the decoder was told that nothing more comes.
    is_drained: bool,
}

impl Frames {
    pub(super) fn of(mut source: MediaSource, track: usize) -> Result<Self, Error> {
        source.only(track);
        let time_base = source.track(track).map_or(TimeBase::MILLISECONDS, |facts| facts.time_base);
        let decoder = open_decoder(&source, track)?;
        Ok(Self { source, track, decoder, time_base, nonsense: 0, is_drained: false })
    }

    /// Milliseconds of a time in ticks.
    pub(super) fn ms(&self, ticks: i64) -> i64 {
        self.time_base.to_ms(ticks).max(0)
    }

    /// Goes to the last keyframe that is not after a time in milliseconds.
    pub(super) fn seek_ms(&mut self, ms: i64) -> Result<(), Error> {
        self.seek(TimeBase::MILLISECONDS.rescale(ms, self.time_base))
    }

    /// The same for a time in ticks.
    pub(super) fn seek(&mut self, ticks: i64) -> Result<(), Error> {
        self.source.seek(self.track, ticks)?;
        self.begin_anew();
        Ok(())
    }

    fn begin_anew(&mut self) {
        self.decoder.flush();
        self.is_drained = false;
    }

    /// The next keyframe as it is stored; `None` at the end.
    pub(super) fn next_key(&mut self) -> Result<Option<Key>, MediaError> {
        while let Some(packet) = self.next_packet()? {
            if packet.is_key() {
                let at = packet.pts().or(packet.dts()).unwrap_or(0);
                return Ok(Some(Key { packet, at }));
            }
        }
        Ok(None)
    }

    /// Decodes a keyframe for itself; `None` if it does not decode.
    pub(super) fn decode_key(&mut self, key: &Key) -> Option<Shown> {
        self.begin_anew();
        // What is refused gives no frame.
        let _ = self.decoder.send_packet(&key.packet).and_then(|()| self.decoder.send_eof());
        self.is_drained = true;
        self.receive(key.at)
    }

    /// The next frame in the order of presentation; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Shown>, MediaError> {
        loop {
            if let Some(shown) = self.receive(0) {
                return Ok(Some(shown));
            }
            if self.is_drained {
                return Ok(None);
            }
            if let Some(packet) = self.next_packet()? {
                // What is refused gives no frame.
                let _ = self.decoder.send_packet(&packet);
            } else {
                let _ = self.decoder.send_eof();
                self.is_drained = true;
            }
        }
    }

    fn receive(&mut self, otherwise: i64) -> Option<Shown> {
        let mut picture = frame::Video::empty();
        // Every refusal takes the decoder on; at the end, and where it wants more, there is nothing to take.
        for _ in 0..MOST_NONSENSE {
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) if picture.width() > 0 && picture.height() > 0 => {
                    let at = picture.timestamp().or(picture.pts()).unwrap_or(otherwise);
                    return Some(Shown { frame: picture, at });
                }
                Err(Error::Eof | Error::Other { errno: libc::EAGAIN }) => return None,
                Ok(()) | Err(_) => {}
            }
        }
        None
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, MediaError> {
        loop {
            let mut packet = Packet::empty();
            match self.source.next(&mut packet)? {
                ReadOutcome::Packet if packet.stream() == self.track => return Ok(Some(packet)),
                ReadOutcome::Packet => {}
                ReadOutcome::Nonsense if self.nonsense < MOST_NONSENSE => self.nonsense += 1,
                ReadOutcome::Nonsense | ReadOutcome::End => return Ok(None),
            }
        }
    }

    /// How a frame is to be shown: as its container says, else as it says itself.
    pub(super) fn shape(&self, picture: &frame::Video) -> Shape {
        let (own_turn, own_aspect) = shape_of(picture);
        let turn = self.source.turn(self.track).or(own_turn).unwrap_or_default();
        let aspect = self.source.sample_aspect(self.track).or(own_aspect).unwrap_or((1, 1));
        Shape { turn, aspect }
    }
}

/// Looks for a frame in the first track of video; `None` if there is no such track. What a quick look at the header is not
/// enough for gets a second, closer one.
pub(super) fn with_frames<T>(
    recording: &Recording<'_>,
    mut find: impl FnMut(&mut Frames) -> Result<Option<T>, MediaError>,
) -> Result<Option<(Frames, T)>, MediaError> {
    let depths =
        if recording.says_all() { &[ProbeDepth::HeaderOnly, ProbeDepth::Usual][..] } else { &[ProbeDepth::Usual] };
    let mut failed = None;
    for depth in depths {
        let source = recording.open(*depth)?;
        let Some(track) = track_of(&source, TrackKind::Video) else { continue };
        let found = Frames::of(source, track).map_err(|error| recording.refused(error)).and_then(|mut frames| {
            let found = find(&mut frames)?;
            Ok(found.map(|found| (frames, found)))
        });
        match found {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => failed = Some(MediaError::unfinishable(recording.name, Defect::NoKeyframe)),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), Err)
}
