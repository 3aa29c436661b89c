//! Playlists whose text was refused, by what they were then: every event in their directory asks for them again, and a thousand
//! of them would keep every other recording there waiting.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::LimitExceeded;
use crate::recording::Fingerprint;

/// So many are remembered; then all are forgotten, and read once more.
const MAX_REMEMBERED: usize = 16_384;

static REFUSED: Mutex<Option<HashMap<PathBuf, (Fingerprint, LimitExceeded)>>> = Mutex::new(None);

fn refused() -> MutexGuard<'static, Option<HashMap<PathBuf, (Fingerprint, LimitExceeded)>>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says again why a playlist was refused, if it is as it was.
pub(super) fn check(path: &Path, now: Fingerprint) -> Result<(), LimitExceeded> {
    match refused().as_ref().and_then(|refused| refused.get(path)) {
        Some((then, excess)) if *then == now => Err(*excess),
        _ => Ok(()),
    }
}

/// Remembers that the text of a playlist was refused.
pub(super) fn remember(path: &Path, fingerprint: Fingerprint, excess: LimitExceeded) {
    let mut refused = refused();
    let refused = refused.get_or_insert_default();
    if refused.len() >= MAX_REMEMBERED {
        refused.clear();
    }
    refused.insert(path.to_owned(), (fingerprint, excess));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_is_refused_again_until_it_changes() {
        let (path, excess) = (Path::new("/nowhere/refused.mpd"), LimitExceeded { what: "names", limit: 7 });
        let then = Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 };
        assert_eq!(check(path, then), Ok(()));
        remember(path, then, excess);
        assert_eq!(check(path, then), Err(excess));
        assert_eq!(check(path, Fingerprint { mtime_ns: 5, ..then }), Ok(()));
    }
}
