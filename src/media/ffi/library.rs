//! What the linked FFmpeg is and has.

use std::ffi::CString;
use std::sync::Once;

use ffmpeg_next::ffi::{av_find_input_format, av_guess_format, av_max_alloc, avcodec_find_decoder_by_name};

use super::sink::muxer;
use super::source::demuxer;
use super::{late, log};
use crate::media::MediaError;
use crate::memory;
use crate::recording::Container;

/// Sees to it that FFmpeg can be called and that its log comes to us; every door of this room asks first.
pub(in crate::media) fn ready() -> Result<(), MediaError> {
    static BOUNDED: Once = Once::new();
    late::ready().map_err(|detail| MediaError::NotLoaded { detail })?;
    log::install();
    BOUNDED.call_once(bound_memory);
    Ok(())
}

/// Whether FFmpeg can be called, as far as that can be told without loading it: its memory is only taken when it is needed.
pub(in crate::media) fn present() -> Result<(), MediaError> {
    late::present().map_err(|detail| MediaError::NotLoaded { detail })
}

/// Largest block of memory that FFmpeg may take for one purpose; sizes that a file states are believed up to here.
const MAX_BLOCK_BYTES: u64 = 1 << 30;
/// And not more than this part of the memory that the process may have, but for [`LEAST_BLOCK_BYTES`].
const MEMORY_PARTS: u64 = 4;
/// A picture that is decoded takes as much.
const LEAST_BLOCK_BYTES: u64 = 64 << 20;

#[expect(unsafe_code, reason = "ffmpeg-next has no call for it")]
fn bound_memory() {
    let most = memory::share(MEMORY_PARTS, MAX_BLOCK_BYTES).max(LEAST_BLOCK_BYTES);
    // SAFETY: stores one number, which FFmpeg reads atomically.
    unsafe { av_max_alloc(usize::try_from(most).unwrap_or(usize::MAX)) };
}

/// Whether the demuxer of a container is there.
#[expect(unsafe_code, reason = "ffmpeg-next has no look-up of demuxers by name")]
pub(in crate::media) fn has_demuxer(container: Container) -> bool {
    // SAFETY: the name is terminated; the answer is only compared with null.
    unsafe { !av_find_input_format(demuxer(container).as_ptr()).is_null() }
}

/// Whether the muxer of a container is there.
#[expect(unsafe_code, reason = "ffmpeg-next has no look-up of muxers by name")]
pub(in crate::media) fn has_muxer(container: Container) -> bool {
    // SAFETY: the name is terminated; the answer is only compared with null.
    unsafe { !av_guess_format(muxer(container).as_ptr(), std::ptr::null(), std::ptr::null()).is_null() }
}

/// Whether a decoder is there.
#[expect(unsafe_code, reason = "the look-up of ffmpeg-next panics on names with a zero byte")]
pub(in crate::media) fn has_decoder(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is terminated; the answer is only compared with null.
    unsafe { !avcodec_find_decoder_by_name(name.as_ptr()).is_null() }
}
