//! FFmpeg's libraries, loaded at the first call (docs/decisions/0008).
//!
//! Debian's libavformat brings 130 libraries with it; to load and relocate them takes 30 ms and 35 MiB, in every command,
//! while a recording that has a header of ISO base media needs none of them. So the linker sends every call of FFmpeg to a
//! jump of ours ([`symbols`]) through a table; an entry leads here first, and to FFmpeg from then on. Where the build
//! does not do so (another processor, another linker), FFmpeg is linked as usual and [`ready`] has nothing to do.

/// Sees to it that FFmpeg can be called.
///
/// The error says which library or which function is missing. Every door of this room asks first, so that a missing library
/// is an error of one recording and not the end of the process.
#[cfg(not(ffmpeg_late))]
pub(super) fn ready() -> Result<(), String> {
    Ok(())
}

/// Whether FFmpeg can be called, as far as that can be told without loading it.
#[cfg(not(ffmpeg_late))]
pub(super) fn present() -> Result<(), String> {
    Ok(())
}

#[cfg(ffmpeg_late)]
pub(in crate::media::ffi) use table::{present, ready};

#[cfg(ffmpeg_late)]
mod places;

#[cfg(ffmpeg_late)]
mod symbols {
    include!(concat!(env!("OUT_DIR"), "/late.rs"));
}

#[cfg(ffmpeg_late)]
#[expect(unsafe_code, reason = "binds functions of a library by hand: assembler, its table, the loader")]
mod table;
