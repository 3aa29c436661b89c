//! A tape of everything that is done to the disk of the recordings and to the state directory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::durable::tape::RecordedOp;
use crate::durable::{FileEvent, recorder};

/// What the files of a directory hold, by their path in it.
pub(super) type Files = BTreeMap<PathBuf, Rc<Vec<u8>>>;
/// The number of a file.
pub(super) type Inode = u64;

/// One thing that was done. Paths are relative to the disk, or to the state directory.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    /// Before we came, a writer wrote everything behind a length and synced nothing.
    Grown(Inode, u64),
    /// A file of ours was created.
    Created(PathBuf, Inode),
    DirectoryCreated(PathBuf),
    Linked(PathBuf, PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    /// A file that was there before was changed where it stands.
    Changed(Inode, RecordedOp),
    /// A file of ours has all its bytes, and its time.
    Filled(Inode, Rc<Vec<u8>>, i64),
    Synced(Inode),
    DirectorySynced(PathBuf),
    /// What the database wrote is with the kernel.
    JournalWritten,
    /// Its file is synced.
    JournalSynced(String),
    /// Another file of the state directory is synced.
    StateSynced(PathBuf),
    StateDirectorySynced(PathBuf),
}

impl Act {
    /// Whether it does nothing but make something durable.
    pub(super) const fn is_sync(&self) -> bool {
        matches!(
            self,
            Self::Synced(_)
                | Self::DirectorySynced(_)
                | Self::JournalSynced(_)
                | Self::StateSynced(_)
                | Self::StateDirectorySynced(_)
        )
    }
}

/// One thing that was done, and how things stood after it.
#[derive(Debug, Clone)]
pub(super) struct RecordedAct {
    pub(super) act: Act,
    /// Where in the source it was asked for.
    pub(super) from: String,
    /// What the state directory's files held just then, synced or not.
    pub(super) state: Rc<Files>,
}

impl RecordedAct {
    /// Where in the program it was done, whatever the file.
    pub(super) fn place(&self) -> String {
        match &self.act {
            Act::DirectorySynced(_) => format!("the directory's sync at {}", self.from),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for RecordedAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::JournalSynced(step) => write!(f, "the journal's flush: {step}"),
            Act::Synced(_) => write!(f, "the file's sync at {}", self.from),
            Act::DirectorySynced(path) => write!(f, "the directory's sync (`{}`) at {}", path.display(), self.from),
            Act::StateSynced(path) => write!(f, "the sync of the journal's `{}`", stable_name(path)),
            Act::StateDirectorySynced(path) => write!(f, "the sync of the journal's directory `{}`", path.display()),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A file's name, without the number that the database gives it.
fn stable_name(path: &Path) -> String {
    path.parent().map_or_else(|| path.display().to_string(), |parent| format!("{}/…", parent.display()))
}

/// Everything below a directory.
pub(super) fn files_below(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                files.insert(path.strip_prefix(directory).unwrap().to_owned(), Rc::new(bytes));
            }
        }
    }
    files
}

/// Records what `act` does to the files below `disk` and `state`. It ends with what the database wrote until it was
/// closed, and never synced.
pub(super) fn record<R>(disk: &Path, state: &Path, act: impl FnOnce() -> R) -> (R, Vec<RecordedAct>) {
    let tape = Rc::new(RefCell::new(Recorder::new(disk, state)));
    let hears = Rc::clone(&tape);
    let done = recorder::listen(Box::new(move |event, from| hears.borrow_mut().hear(event, from)), act);
    let mut tape = tape.borrow_mut();
    tape.push(Some(Act::JournalWritten), Location::caller());
    (done, std::mem::take(&mut tape.log))
}

struct Recorder {
    disk: PathBuf,
    state: PathBuf,
    log: Vec<RecordedAct>,
    /// Files that we made, which are known by what they hold when they are synced.
    ours: Vec<Inode>,
}

impl Recorder {
    fn new(disk: &Path, state: &Path) -> Self {
        Self { disk: disk.to_owned(), state: state.to_owned(), log: Vec::new(), ours: Vec::new() }
    }

    fn hear(&mut self, event: &FileEvent<'_>, from: &Location<'_>) {
        let relative = |path: &Path| path.strip_prefix(&self.disk).map(Path::to_owned).ok();
        let in_state = |path: &Path| path.strip_prefix(&self.state).map(Path::to_owned).ok();
        let act = match *event {
            FileEvent::Created(path) => relative(path).map(|relative| Act::Created(relative, inode_of(path))),
            FileEvent::DirectoryCreated(path) => relative(path).map(Act::DirectoryCreated),
            FileEvent::Linked(from, to) => relative(from).zip(relative(to)).map(|(from, to)| Act::Linked(from, to)),
            FileEvent::Renamed(from, to) => relative(from).zip(relative(to)).map(|(from, to)| Act::Renamed(from, to)),
            FileEvent::Removed(path) => relative(path).map(Act::Removed),
            FileEvent::Changed(path, operation) => Some(Act::Changed(inode_of(path), RecordedOp::of(&operation))),
            FileEvent::Synced(path) => Some(in_state(path).map_or_else(|| self.synced(path, from), Act::StateSynced)),
            FileEvent::DirectorySynced(path) => match in_state(path) {
                Some(path) => Some(Act::StateDirectorySynced(path)),
                None => relative(path).map(Act::DirectorySynced),
            },
            FileEvent::JournalWritten => Some(Act::JournalWritten),
            FileEvent::JournalSynced(step) => Some(Act::JournalSynced(step.to_owned())),
        };
        match act {
            Some(Act::Changed(inode, _)) if self.ours.contains(&inode) => {}
            Some(Act::Created(_, inode)) => {
                self.ours.push(inode);
                self.push(act, from);
            }
            act => self.push(act, from),
        }
    }

    fn synced(&mut self, path: &Path, from: &Location<'_>) -> Act {
        let inode = inode_of(path);
        let is_in_place = from.file().ends_with("own.rs") || from.file().ends_with("aside.rs");
        if self.ours.contains(&inode) && !is_in_place {
            let metadata = fs::metadata(path).unwrap();
            let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            let bytes = Rc::new(fs::read(path).unwrap());
            self.push(Some(Act::Filled(inode, bytes, mtime_ns)), from);
        }
        Act::Synced(inode)
    }

    fn push(&mut self, act: Option<Act>, from: &Location<'_>) {
        let Some(act) = act else { return };
        let state = files_below(&self.state);
        // Most files stay what they are from one act to the next; they are kept once.
        let last = self.log.last().map(|done| Rc::clone(&done.state));
        let state = state.into_iter().map(|(path, bytes)| {
            let same = last.as_ref().and_then(|last| last.get(&path)).filter(|old| **old == bytes);
            let bytes = same.map_or(bytes, Rc::clone);
            (path, bytes)
        });
        self.log.push(RecordedAct {
            act,
            from: format!("{}:{}", from.file(), from.line()),
            state: Rc::new(state.collect()),
        });
    }
}

pub(super) fn inode_of(path: &Path) -> Inode {
    fs::symlink_metadata(path).unwrap().ino()
}
