//! Telling the kernel what to fetch, when to write back and what to forget. Advice only: an error shows when the file is
//! synced, and nothing is durable before.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::Advice;

use crate::threads::spawn_or_run;

/// Ranges for which a thread is worth its start.
const LEAST_SHARE: usize = 128;

/// Has the disk begin on all of these ranges (offset and length in bytes). To hand over a request takes longer than to copy
/// what it brings, so every core takes its share.
pub fn ask_for(file: &File, ranges: &[(u64, u64)]) {
    let ask = |share: &[(u64, u64)]| {
        for (offset, length) in share {
            let _ = rustix::fs::fadvise(file, *offset, NonZeroU64::new(*length), Advice::WillNeed);
        }
    };
    if ranges.len() <= LEAST_SHARE {
        return ask(ranges);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for share in ranges.chunks(ranges.len().div_ceil(threads).max(LEAST_SHARE)) {
            spawn_or_run(scope, move || ask(share));
        }
    });
}

/// Begins to store a range of a file, and does not wait.
pub fn begin_to_store(file: &File, range: &Range<u64>) {
    sync_range(file, range, libc::SYNC_FILE_RANGE_WRITE);
}

/// Has the disk store what a file holds so far, so that a later sync has little to wait for.
pub fn store_ahead(path: &Path) {
    let _ = super::open_to_read(path).ok().and_then(|file| file.sync_data().ok());
}

/// Waits until a range is handed to the disk, and drops its pages from memory.
pub(super) fn store_and_drop(file: &File, range: &Range<u64>) {
    sync_range(
        file,
        range,
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER,
    );
    let _ = rustix::fs::fadvise(file, range.start, NonZeroU64::new(range.end - range.start), Advice::DontNeed);
}

#[expect(unsafe_code, reason = "no safe wrapper offers sync_file_range")]
fn sync_range(file: &File, range: &Range<u64>, flags: libc::c_uint) {
    let offset = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    let (start, length) = (offset(range.start), offset(range.end - range.start));
    // SAFETY: the file is borrowed and open; the call touches no memory of ours.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, flags) };
}
