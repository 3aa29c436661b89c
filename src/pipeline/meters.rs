//! How far what is under way has come, in bytes, for whoever wants to look.
//!
//! Working threads count without waiting for anybody; a drawing thread takes a look whenever it likes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::progress::Progress;

/// Everything that is being read, written or sent now.
#[derive(Debug, Default)]
pub struct Meters {
    begun: AtomicU64,
    running: Mutex<Vec<Arc<MeterCounts>>>,
}

#[derive(Debug)]
struct MeterCounts {
    id: u64,
    label: String,
    bytes: Progress,
}

/// One piece of work at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterReading {
    /// Tells it apart from all others of this process, also of the same name.
    pub id: u64,
    /// The recording and what happens to it.
    pub label: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to do, as far as is known.
    pub total_bytes: u64,
}

/// Counts one piece of work; it is over when this is dropped.
#[derive(Debug)]
pub struct Meter<'a> {
    meters: &'a Meters,
    counts: Arc<MeterCounts>,
}

impl Meters {
    /// Begins to count what happens to a file.
    pub fn begin(&self, verb: &str, path: &Path, total_bytes: u64) -> Meter<'_> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let counts = MeterCounts {
            id: self.begun.fetch_add(1, Ordering::Relaxed),
            label: format!("{verb} {name}"),
            bytes: Progress::of(total_bytes),
        };
        let counts = Arc::new(counts);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counts));
        Meter { meters: self, counts }
    }

    /// How far everything is now, the longest under way first.
    pub fn read(&self) -> Vec<MeterReading> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = |counts: &Arc<MeterCounts>| MeterReading {
            id: counts.id,
            label: counts.label.clone(),
            done_bytes: counts.bytes.done(),
            total_bytes: counts.bytes.total(),
        };
        running.iter().map(reading).collect()
    }
}

impl Meter<'_> {
    /// What is counted, for whoever does the work.
    pub fn progress(&self) -> &Progress {
        &self.counts.bytes
    }

    /// So many bytes more are done.
    pub fn add(&self, bytes: u64) {
        self.counts.bytes.add(bytes);
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let mut running = self.meters.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|counts| !Arc::ptr_eq(counts, &self.counts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_read_with_its_bytes_and_is_gone_at_its_end() {
        let meters = Meters::default();
        let (remux, upload) =
            (meters.begin("finish", Path::new("/x/a.flv"), 10), meters.begin("send", Path::new("/x/a.mp4"), 7));
        remux.progress().set(4, 20);
        upload.add(3);
        upload.add(2);
        let said = |r: &MeterReading| (r.label.clone(), r.done_bytes, r.total_bytes);
        let read: Vec<_> = meters.read().iter().map(said).collect();
        assert_eq!(read, [("finish a.flv".to_owned(), 4, 20), ("send a.mp4".to_owned(), 5, 7)]);
        drop(remux);
        assert_eq!(meters.read().len(), 1);
    }

    #[test]
    fn two_pieces_of_work_on_one_name_are_told_apart() {
        let meters = Meters::default();
        let (_a, _b) = (meters.begin("send", Path::new("x"), 1), meters.begin("send", Path::new("x"), 1));
        let read = meters.read();
        assert_ne!(read[0].id, read[1].id);
    }
}
