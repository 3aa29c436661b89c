//! The seam through which every durable operation passes: counted for the kill test, told to whoever records it.
//!
//! In release builds it is empty. It must change nothing about what is done.

use std::path::Path;

use super::InPlaceOp;

/// The counting seam: one durable operation, named for the transition it belongs to, has just been done.
///
/// In debug builds `AFTERCAST_STEP_LOG` names a file that gets a line per operation, and `AFTERCAST_KILL_AFTER=N` or
/// `AFTERCAST_KILL_AFTER=NAME:N` ends the process with SIGKILL after the N-th operation, or the N-th of that name;
/// `AFTERCAST_STOP_AFTER` suspends it with SIGSTOP in the same way.
#[cfg(debug_assertions)]
pub fn step(name: &str) {
    use std::collections::HashMap;
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};
    static STEPS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
    let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = steps.get_or_insert_default();
    let mut next = |of: &str| {
        let count = counts.entry(of.to_owned()).or_default();
        *count += 1;
        *count
    };
    let (of_all, of_name) = (next(""), next(name));
    if let Some(log) = std::env::var_os("AFTERCAST_STEP_LOG")
        && let Ok(mut log) = std::fs::OpenOptions::new().create(true).append(true).open(log)
    {
        let _ = log.write_all(format!("{of_all} {name}\n").as_bytes());
    }
    let is_after = |variable: &str| {
        let after = std::env::var(variable).unwrap_or_default();
        after == of_all.to_string() || after == format!("{name}:{of_name}")
    };
    if is_after("AFTERCAST_STOP_AFTER") {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
    if is_after("AFTERCAST_KILL_AFTER") {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::park();
    }
}

/// The counting seam; empty in release builds.
#[cfg(not(debug_assertions))]
pub const fn step(_name: &str) {}

/// One thing that was done to a file or a directory, told after it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileEvent<'a> {
    /// An empty file of ours has a name.
    Created(&'a Path),
    /// A directory has a name.
    DirectoryCreated(&'a Path),
    /// A file has a second name.
    Linked(&'a Path, &'a Path),
    /// A name was given up for another.
    Renamed(&'a Path, &'a Path),
    /// A name was given up.
    Removed(&'a Path),
    /// A file was changed where it stands.
    Changed(&'a Path, InPlaceOp<'a>),
    /// What a file holds, its length and its time are durable.
    Synced(&'a Path),
    /// The names in a directory are durable.
    DirectorySynced(&'a Path),
    /// What the database wrote is with the kernel, and not durable yet.
    JournalWritten,
    /// The file of the database is durable, for a transition of this name.
    JournalSynced(&'a str),
}

/// Tells the recorder of a test what has just been done; nothing outside of tests.
#[cfg(not(test))]
pub(crate) const fn tell(_event: FileEvent<'_>) {}

#[cfg(test)]
pub(crate) use recorder::tell;

/// For tests: who listens on this thread hears every event and where in the source it was asked for.
#[cfg(test)]
pub(crate) mod recorder {
    use std::cell::RefCell;
    use std::io;
    use std::panic::Location;
    use std::path::{Path, PathBuf};

    use super::FileEvent;

    /// Hears an event.
    pub(crate) type FileListener = Box<dyn FnMut(&FileEvent<'_>, &'static Location<'static>)>;

    thread_local! {
        static LISTENER: RefCell<Option<FileListener>> = const { RefCell::new(None) };
        static UNSYNCABLE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
    }

    /// Tells a listener everything that `act` does on this thread.
    pub(crate) fn listen<R>(listener: FileListener, act: impl FnOnce() -> R) -> R {
        LISTENER.set(Some(listener));
        let done = act();
        LISTENER.set(None);
        done
    }

    /// Lets every sync of a directory fail that `act` asks for on this thread.
    pub(crate) fn refusing_syncs_of<R>(directory: &Path, act: impl FnOnce() -> R) -> R {
        UNSYNCABLE.set(Some(directory.to_owned()));
        let done = act();
        UNSYNCABLE.set(None);
        done
    }

    /// An error where a test wants one.
    pub(crate) fn may_sync(directory: &Path) -> io::Result<()> {
        let is_refused = UNSYNCABLE.with_borrow(|refused| refused.as_deref() == Some(directory));
        if is_refused { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }

    /// Tells the listener of this thread, if there is one.
    #[track_caller]
    pub(crate) fn tell(event: FileEvent<'_>) {
        let from = Location::caller();
        LISTENER.with_borrow_mut(|listener| {
            if let Some(listener) = listener {
                listener(&event, from);
            }
        });
    }
}
