//! FFmpeg's own log goes to `tracing` at debug level, never to standard error; the last error line of a thread is
//! kept, because it says more than the error code, and those of a decoder are counted ([`super::decoder`]).

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Redirects the log, once per process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(redirect);
}

/// Takes the last error line that FFmpeg said on this thread, or the given words.
pub(in crate::media) fn last_or(words: &str) -> String {
    let said = LAST.with(RefCell::take);
    if said.is_empty() { words.to_owned() } else { said }
}

/// Forgets what was said before, so that the next [`last_or`] is about the next call.
pub(in crate::media) fn forget() {
    LAST.with(|last| last.borrow_mut().clear());
}

#[cfg(target_arch = "x86_64")]
fn redirect() {
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Warning);
    callback::set();
}

/// The callback's argument list has another type on every architecture; elsewhere the log is only silenced.
#[cfg(not(target_arch = "x86_64"))]
fn redirect() {
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
}

#[cfg(target_arch = "x86_64")]
mod callback {
    use std::ffi::{CStr, c_char, c_int, c_void};

    use super::super::decoder;
    use ffmpeg_next::ffi::{__va_list_tag, AV_LOG_ERROR, AV_LOG_WARNING, av_log_format_line2, av_log_set_callback};

    const LINE_BYTES: usize = 512;

    #[expect(unsafe_code, reason = "installs the callback below, which stays valid for the whole process")]
    pub(super) fn set() {
        // SAFETY: `line` is a function with the type FFmpeg asks for and never unloaded.
        unsafe { av_log_set_callback(Some(line)) }
    }

    #[expect(unsafe_code, reason = "the arguments come from libavutil and are only handed back to it")]
    unsafe extern "C" fn line(context: *mut c_void, level: c_int, format: *const c_char, args: *mut __va_list_tag) {
        if level > AV_LOG_WARNING || (level > AV_LOG_ERROR && !tracing::enabled!(tracing::Level::DEBUG)) {
            return;
        }
        let mut text = [0 as c_char; LINE_BYTES];
        let mut prefix: c_int = 1;
        let length = c_int::try_from(LINE_BYTES).unwrap_or(0);
        // SAFETY: the first four arguments are FFmpeg's own; the buffer is as long as said and is always terminated.
        let said = unsafe {
            av_log_format_line2(context, level, format, args, text.as_mut_ptr(), length, &raw mut prefix);
            CStr::from_ptr(text.as_ptr())
        };
        super::keep(said.to_string_lossy().trim(), level <= AV_LOG_ERROR);
        if level <= AV_LOG_ERROR {
            // SAFETY: FFmpeg hands over what it logs about.
            unsafe { decoder::hear(context) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn keep(said: &str, is_error: bool) {
    tracing::debug!(said, "FFmpeg message");
    if is_error {
        let words = said.rsplit_once("] ").map_or(said, |(_, words)| words);
        // A thread that is ending may have no storage any more; then nobody asks for the words either.
        let _ = LAST.try_with(|last| words.clone_into(&mut last.borrow_mut()));
    }
}
