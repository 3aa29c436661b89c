//! Who was seen writing temporary names: a process that ends without renaming leaves an orphan behind.
//!
//! Assumes that files come and go under the same names and inode numbers, so that a file is told by its birth, too, and a
//! process by its start. What is remembered is bounded; what had to be forgotten counts as never seen.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use super::lock;
use super::verdict::WriterState;
use crate::discover::writers::ProcessId;

/// Temporary names that are remembered at once. A server has one for each stream that it records.
const MOST_FILES: usize = 16_384;
/// Processes that are remembered of one file. More than a writer and its children are not expected.
const MOST_PROCESSES: usize = 16;

/// One file, not only its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) born: Option<SystemTime>,
}

#[derive(Debug, Default)]
pub(super) struct SeenWriters(Mutex<WriterCache>);

#[derive(Debug, Default)]
struct WriterCache {
    files: HashMap<PathBuf, SeenWriter>,
    /// Their names in the order in which they were first seen.
    order: BTreeMap<u64, PathBuf>,
    next_turn: u64,
}

#[derive(Debug)]
struct SeenWriter {
    turn: u64,
    file: FileId,
    processes: Vec<ProcessId>,
}

impl SeenWriters {
    /// Remembers that a file is being written or was just closed, and by which processes as far as that can be seen.
    pub(super) fn see(&self, path: &Path, file: FileId, by: &[ProcessId]) {
        let mut memory = lock(&self.0);
        let known = memory.files.get(path).is_some_and(|seen| seen.file == file);
        if !known {
            memory.forget(path);
            memory.add(path, file);
        }
        if let Some(seen) = memory.files.get_mut(path) {
            seen.add(by);
        }
    }

    /// Whether processes of it are known.
    pub(super) fn know(&self, path: &Path, file: FileId) -> bool {
        lock(&self.0).files.get(path).is_some_and(|seen| seen.file == file && !seen.processes.is_empty())
    }

    /// What was seen of its writer.
    pub(super) fn state(&self, path: &Path, file: FileId) -> WriterState {
        let memory = lock(&self.0);
        match memory.files.get(path).filter(|seen| seen.file == file) {
            None => WriterState::Unseen,
            Some(seen) if seen.processes.is_empty() => WriterState::Seen,
            Some(seen) if seen.processes.iter().all(|p| p.has_ended()) => WriterState::Ended,
            Some(_) => WriterState::Lives,
        }
    }

    pub(super) fn forget(&self, path: &Path) {
        lock(&self.0).forget(path);
    }
}

impl WriterCache {
    fn add(&mut self, path: &Path, file: FileId) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.order.insert(turn, path.to_owned());
        self.files.insert(path.to_owned(), SeenWriter { turn, file, processes: Vec::new() });
        while self.files.len() > MOST_FILES {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.files.remove(&oldest);
        }
    }

    fn forget(&mut self, path: &Path) {
        if let Some(seen) = self.files.remove(path) {
            self.order.remove(&seen.turn);
        }
    }
}

impl SeenWriter {
    fn add(&mut self, by: &[ProcessId]) {
        for process in by {
            if !self.processes.contains(process) && self.processes.len() < MOST_PROCESSES {
                self.processes.push(*process);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::writers::OpenFiles;
    use crate::recording::Fingerprint;
    use std::fs::File;
    use std::process::{Command, Stdio};

    const FILE: FileId = FileId { device: 1, inode: 2, born: None };

    #[test]
    fn the_end_of_every_process_that_wrote_proves_that_nobody_renames() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4.tmp");
        let file = File::create(&path).unwrap();
        let fingerprint = Fingerprint::of(&file.metadata().unwrap());
        let writer =
            || Command::new("sleep").arg("600").stdout(Stdio::from(file.try_clone().unwrap())).spawn().unwrap();
        let (mut one, mut other) = (writer(), writer());
        let processes = OpenFiles::read();
        let seen = SeenWriters::default();
        assert_eq!(seen.state(&path, FILE), WriterState::Unseen);
        seen.see(&path, FILE, &[]);
        assert_eq!(seen.state(&path, FILE), WriterState::Seen);
        // Processes that other tests start may have inherited the file; they end at some time.
        seen.see(&path, FILE, processes.writers_of(&fingerprint));
        assert_eq!(seen.state(&path, FILE), WriterState::Lives);
        one.kill().unwrap();
        one.wait().unwrap();
        assert_eq!(seen.state(&path, FILE), WriterState::Lives, "the other one lives");
        other.kill().unwrap();
        other.wait().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(40);
        while seen.state(&path, FILE) != WriterState::Ended {
            assert!(std::time::Instant::now() < deadline, "{:?}", seen.state(&path, FILE));
        }
        let born_again = FileId { born: Some(SystemTime::now()), ..FILE };
        assert_eq!(seen.state(&path, born_again), WriterState::Unseen, "another file of that name and inode");
        seen.forget(&path);
        assert_eq!(seen.state(&path, FILE), WriterState::Unseen);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first() {
        let seen = SeenWriters::default();
        let name = |n: usize| PathBuf::from(format!("/r/{n}.mp4.tmp"));
        for n in 0..MOST_FILES + 10 {
            seen.see(&name(n), FILE, &[]);
            seen.see(Path::new("/r/again.mp4.tmp"), FILE, &[]);
            seen.forget(Path::new("/r/again.mp4.tmp"));
        }
        let memory = lock(&seen.0);
        assert!(memory.files.len() <= MOST_FILES && memory.order.len() == memory.files.len());
        assert!(!memory.files.contains_key(&name(0)));
        assert!(memory.files.contains_key(&name(MOST_FILES + 9)));
    }
}
