//! How far a piece of work has come, in bytes: counted by who does it, without waiting, and read by whoever likes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes done, of bytes to do as far as is known.
#[derive(Debug, Default)]
pub struct Progress {
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl Progress {
    /// Nothing done of so many bytes.
    pub const fn of(total_bytes: u64) -> Self {
        Self { done_bytes: AtomicU64::new(0), total_bytes: AtomicU64::new(total_bytes) }
    }

    /// So many bytes are done, of so many.
    pub fn set(&self, done_bytes: u64, total_bytes: u64) {
        self.done_bytes.store(done_bytes, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    /// So many bytes more are done.
    pub fn add(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes done.
    pub fn done(&self) -> u64 {
        self.done_bytes.load(Ordering::Relaxed)
    }

    /// Bytes to do.
    pub fn total(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }
}
