//! How long work is told to stop and how it says how far it is.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::MediaError;

/// The caller's side of a long pass: a flag that stops it and a callback that hears of progress.
#[derive(Clone, Copy, Default)]
pub struct PassControl<'a> {
    /// The pass ends with [`MediaError::Cancelled`] soon after this becomes true.
    pub cancel: Option<&'a AtomicBool>,
    /// Called with the bytes read so far, about once per packet.
    pub progress: Option<&'a dyn Fn(u64)>,
}

impl PassControl<'_> {
    /// Reports progress and ends the pass if it was cancelled.
    pub(crate) fn tick(&self, bytes_read: u64) -> Result<(), MediaError> {
        if let Some(progress) = self.progress {
            progress(bytes_read);
        }
        match self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(MediaError::Cancelled),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for PassControl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassControl").field("cancel", &self.cancel).field("progress", &self.progress.is_some()).finish()
    }
}
