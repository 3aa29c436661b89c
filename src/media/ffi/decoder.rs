//! A decoder that is held to what it says: packets that it refuses, pictures that it conceals, and every line at error level
//! that it writes to FFmpeg's log.
//!
//! libavcodec hands out a picture whose damage it painted over like any other. H.264 sets a flag on it
//! (`decode_error_flags`); H.265 and most decoders of sound only log.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use ffmpeg_next::codec::{Context, threading};
use ffmpeg_next::decoder::{Check, Opened};
use ffmpeg_next::ffi::AVCodecContext;
use ffmpeg_next::{Discard, Error, Packet, frame};

use super::leading::LeadingPackets;
use super::source::MediaSource;

/// Most errors in a row that a decoder is asked to go on behind.
const MOST_REFUSED: u64 = 64;

/// How closely a decoder looks (`err_detect`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Strictness {
    /// What does not decode, and checksums that are wrong.
    Usual,
    /// Also what the standard forbids, and reads beyond the data, where a decoder would otherwise go on.
    Strict,
}

impl Strictness {
    const fn check(self) -> Check {
        match self {
            Self::Usual => Check::CRC,
            Self::Strict => Check::CRC.union(Check::BITSTREAM).union(Check::BUFFER).union(Check::CAREFUL),
        }
    }
}

/// The class of every decoder, by which the log tells them from all others that write to it.
static CLASS: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// An open decoder of one track.
pub(in crate::media) struct Decoder {
    /// Dropped first: its threads write to `said` until they end.
    opened: Opened,
    said: Box<AtomicU64>,
    frame: frame::Video,
    leading: Option<LeadingPackets>,
    refused: u64,
    shown: u64,
}

impl Decoder {
    /// Opens the decoder of a track with so many threads; `None` if there is none, or if it does not take the parameters.
    pub(in crate::media) fn open(
        source: &MediaSource,
        track: usize,
        (threads, care): (usize, Strictness),
    ) -> Option<Self> {
        // A system that has no thread left to give still decodes on this one.
        let opened = Self::open_with(source, track, (threads, care));
        if opened.is_none() && threads > 1 { Self::open_with(source, track, (1, care)) } else { opened }
    }

    fn open_with(source: &MediaSource, track: usize, (threads, care): (usize, Strictness)) -> Option<Self> {
        let parameters = source.input().stream(track)?.parameters();
        let codec = ffmpeg_next::codec::decoder::find(parameters.id())?;
        let mut context = Context::from_parameters(parameters).ok()?;
        let said = Box::new(AtomicU64::new(0));
        count_into(&mut context, &said);
        context.set_threading(threading::Config { count: threads, ..threading::Config::kind(threading::Type::Frame) });
        let mut decoder = context.decoder();
        decoder.check(care.check());
        // It smooths pictures that nobody looks at, and meets no error that reading them does not.
        decoder.skip_loop_filter(Discard::All);
        let opened = decoder.open_as(codec).ok()?;
        let leading = source.track(track).and_then(|facts| LeadingPackets::of(&facts.codec, &facts.extradata));
        Some(Self { opened, said, frame: frame::Video::empty(), leading, refused: 0, shown: 0 })
    }

    /// Decodes a packet, if it is none that is skipped where decoding begins, and hands on what comes out.
    pub(in crate::media) fn decode(&mut self, packet: &Packet, take: impl FnMut(&frame::Video)) {
        if self.leading.as_mut().is_some_and(|leading| leading.skips(packet.data().unwrap_or_default())) {
            return;
        }
        self.refused += u64::from(self.opened.send_packet(packet).is_err());
        self.drain(take);
    }

    /// Hands on what is left when all packets are decoded.
    pub(in crate::media) fn finish(&mut self, take: impl FnMut(&frame::Video)) {
        self.refused += u64::from(self.opened.send_eof().is_err());
        self.drain(take);
    }

    /// Takes what is decoded. Each thread may hold an error back until the end; a decoder that never comes to one is left.
    fn drain(&mut self, mut take: impl FnMut(&frame::Video)) {
        let mut in_a_row = 0;
        while in_a_row < MOST_REFUSED {
            match self.opened.receive_frame(&mut self.frame) {
                Ok(()) => {
                    self.shown += 1;
                    self.refused += u64::from(self.frame.is_corrupt() || self.frame.has_decode_errors());
                    take(&self.frame);
                }
                Err(Error::Eof | Error::Other { errno: libc::EAGAIN }) => break,
                Err(_) => in_a_row += 1,
            }
        }
        self.refused += in_a_row;
    }

    /// Errors so far: lines on its log, or packets refused and frames marked as damaged, whichever are more. The same error
    /// mostly shows as both.
    pub(in crate::media) fn errors(&self) -> u64 {
        self.said.load(Ordering::Relaxed).max(self.refused)
    }

    /// Frames that came out so far.
    pub(in crate::media) const fn shown(&self) -> u64 {
        self.shown
    }
}

#[expect(unsafe_code, reason = "ffmpeg-next has no face for the user's pointer of a context")]
fn count_into(context: &mut Context, said: &AtomicU64) {
    // SAFETY: the context is ours and not open yet. Its threads copy the pointer, and end before what it points to is freed:
    // `Decoder` drops its context first, and the counter stays where it is in its box.
    unsafe {
        let raw = &mut *context.as_mut_ptr();
        raw.opaque = ptr::from_ref(said).cast_mut().cast();
        CLASS.store(raw.av_class.cast_mut().cast(), Ordering::Release);
    }
}

/// Counts a line at error level, if one of our decoders wrote it.
///
/// # Safety
/// `context` is null or what libavutil's log hands to its callback: a structure that begins with a pointer to its class.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "looks at a structure that FFmpeg owns")]
pub(super) unsafe fn hear(context: *mut c_void) {
    let class = CLASS.load(Ordering::Acquire);
    if context.is_null() || class.is_null() {
        return;
    }
    // SAFETY: by contract it begins with such a pointer; one that has the class of decoders is an `AVCodecContext`, whose
    // pointer of the user is null or was set by `count_into`.
    let said = unsafe {
        let is_decoder = *context.cast::<*mut c_void>() == class;
        if is_decoder { (*context.cast::<AVCodecContext>()).opaque.cast::<AtomicU64>().as_ref() } else { None }
    };
    if let Some(said) = said {
        said.fetch_add(1, Ordering::Relaxed);
    }
}
