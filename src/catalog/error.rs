//! What can go wrong with the catalogue, by meaning.
//!
//! Nothing here endangers a recording: the catalogue is a record of the disk and can be rebuilt from it. Every hint
//! says so. sled's own errors stay inside [`StorageError`], which nobody outside can take apart.

use std::io;
use std::path::PathBuf;

use super::index::JournalKey;
use super::layout::lock_path;
use crate::fault::{Class, Fault};
use crate::recording::journey::Stage;
use crate::recording::name::printable;

/// Result of a catalogue operation.
pub type Result<T> = std::result::Result<T, CatalogError>;

/// Why a state directory is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UntrustedReason {
    /// Group or others may write; its mode.
    Writable(u32),
    /// It belongs to another user.
    Foreign {
        /// Its owner.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
}

/// A catalogue operation that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Another process owns the state directory (promise 8).
    #[error("the state directory `{}` is in use{}", printable(path), by(*pid))]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// The process that owns it, if it said so.
        pid: Option<u32>,
    },
    /// The state directory itself cannot be used.
    #[error("cannot {verb} `{}`", printable(path))]
    StateDirectory {
        /// What was tried, to be read after "cannot".
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The identity of this node cannot be read.
    #[error("cannot read the identity of this node from `{}`", printable(path))]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another user could write the state directory; nothing in it was read or changed.
    #[error("the state directory `{}` {}", printable(path), distrust(why))]
    Distrusted {
        /// The state directory.
        path: PathBuf,
        /// Who could.
        why: UntrustedReason,
    },
    /// The database does not open, or opened without its contents.
    #[error("the catalogue `{}` is damaged", printable(path))]
    Damaged {
        /// Directory of the database.
        path: PathBuf,
        /// What it did.
        source: StorageError,
    },
    /// A newer version of this program wrote the database.
    #[error("the catalogue `{}` has schema {found}, this version reads up to {known}", printable(path))]
    NewerSchema {
        /// Directory of the database.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest schema version this program reads.
        known: u32,
    },
    /// The database failed while it was read or written.
    #[error("the catalogue cannot be read or written")]
    Storage(#[from] StorageError),
    /// The file system of the state directory is (almost) full; nothing was written.
    #[error("only {free_bytes} bytes are free for the catalogue in `{}`", printable(path))]
    NoRoom {
        /// Directory of the database.
        path: PathBuf,
        /// Bytes that are free there.
        free_bytes: u64,
    },
    /// A stored value that is not what this version writes; everything else is unaffected.
    #[error("the catalogue's entry `{key}` in `{tree}` cannot be read")]
    Unreadable {
        /// The tree that holds it.
        tree: &'static str,
        /// Its key, printable.
        key: String,
        /// Where the value stops making sense.
        source: serde_json::Error,
    },
    /// A stored value of a newer version of this program; it stays as it is.
    #[error("the catalogue's entry `{key}` in `{tree}` has version {found}, this program reads up to {known}")]
    NewerRow {
        /// The tree that holds it.
        tree: &'static str,
        /// Its key, printable.
        key: String,
        /// Its version.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// A value that cannot be stored, such as a path that is not UTF-8.
    #[error("`{key}` cannot be written to the catalogue's `{tree}`")]
    Unwritable {
        /// The tree it was meant for.
        tree: &'static str,
        /// Its key, printable.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A step of a recording that the journal does not know: it was forgotten, or never begun.
    #[error("the journal has no entry `{key}`")]
    NotJournalled {
        /// The journal's key.
        key: JournalKey,
    },
    /// A recording that is not where the caller left it. Nothing was changed.
    #[error("the recording `{key}` is {found} in the journal, not {expected}")]
    AtAnotherStage {
        /// The journal's key.
        key: JournalKey,
        /// Where it was to be.
        expected: Stage,
        /// Where it is.
        found: Stage,
    },
    /// A step that does not follow where the recording stands ([`Stage::may_become`]). Nothing was changed.
    #[error("the recording `{key}` {}", no_way(*from, *to))]
    NoWay {
        /// The journal's key.
        key: JournalKey,
        /// Where it stands; `None` for one that the journal does not know.
        from: Option<Stage>,
        /// Where it was to come; `None` for being forgotten.
        to: Option<Stage>,
    },
    /// An id that no VoD has.
    #[error("there is no VoD `{id}`")]
    NoSuchVod {
        /// The id.
        id: String,
    },
    /// A name that no consumer of the event log has.
    #[error("there is no event consumer `{name}`")]
    NoSuchConsumer {
        /// The name.
        name: String,
    },
    /// An id that no delivery has.
    #[error("there is no delivery `{id}`")]
    NoSuchDelivery {
        /// The id.
        id: String,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

fn no_way(from: Option<Stage>, to: Option<Stage>) -> String {
    let from = from.map_or("unknown to the journal", Stage::name);
    to.map_or_else(|| format!("is {from} and cannot be forgotten"), |to| format!("is {from} and cannot become {to}"))
}

fn distrust(why: &UntrustedReason) -> String {
    match why {
        UntrustedReason::Writable(mode) => format!("can be written by other users (mode {mode:04o})"),
        UntrustedReason::Foreign { owner, user } => {
            format!("belongs to user id {owner}, but aftercast runs as user id {user}")
        }
    }
}

/// What the database itself said.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct StorageError {
    words: String,
    class: Class,
}

impl StorageError {
    pub(super) fn because(words: impl Into<String>) -> Self {
        Self { words: words.into(), class: Class::Permanent }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        Self { words: error.to_string(), class: Class::of_io(error) }
    }

    /// Said for every use of the database after its first failure: it is not touched again.
    pub(super) fn given_up() -> Self {
        Self { words: "it failed before and is not used again".into(), class: Class::Environment }
    }
}

impl From<sled::Error> for StorageError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::of_io(&error),
            // The file system gave back what was not written to it.
            other => Self { words: other.to_string(), class: Class::Environment },
        }
    }
}

impl From<sled::Error> for CatalogError {
    fn from(error: sled::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl Fault for CatalogError {
    fn class(&self) -> Class {
        match self {
            Self::InUse { .. } | Self::NoRoom { .. } | Self::NewerSchema { .. } | Self::Distrusted { .. } => {
                Class::Environment
            }
            Self::Identity { .. } => Class::Environment,
            Self::StateDirectory { source, .. } => Class::of_io(source),
            Self::Storage(storage) => storage.class,
            _ => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { path, .. } => format!(
                "One process at a time owns a state directory. The commands `vod`, `queue`, `process` and \
                 `recover` connect to a running `watch` automatically if they use the same state directory; \
                 otherwise wait until the other process ends, or use a separate `--state-dir`. The lock is `{}`.",
                printable(&lock_path(path))
            ),
            Self::StateDirectory { path, source, .. } => directory_hint(path, source),
            Self::Distrusted { path, why } => distrust_hint(path, why),
            Self::Identity { path, .. } => format!(
                "Restore `{0}` from a backup, or delete it: the node then gets a new identity, and its VoDs are also listed under \
                 the old one. Local recordings are processed as usual.",
                printable(path)
            ),
            Self::Damaged { path, .. } => format!(
                "All recordings are safe: the catalogue only describes them. `aftercast catalog rebuild` moves \
                 `{}` aside and creates a new one from the files on disk.",
                printable(path)
            ),
            Self::NewerRow { .. } => {
                "The recording is safe, and the entry is unchanged. Use the newer version of aftercast that wrote it."
                    .into()
            }
            Self::NewerSchema { .. } => {
                "Nothing was changed. Use the newer version of aftercast that wrote it, or use a separate `--state-dir`."
                    .into()
            }
            Self::NoRoom { path, .. } => format!(
                "All recordings are safe where they are. Free space on the file system of `{}`; work is retried \
                 automatically.",
                printable(path)
            ),
            Self::Storage(_) => "All recordings are safe where they are. Check the file system of the state \
                 directory (full, read-only, failing disk) and start aftercast again; it resumes interrupted work."
                .into(),
            Self::Unreadable { .. } => "The recording itself is safe, and everything else in the catalogue is \
                 readable. `aftercast catalog rebuild` recreates the record from the file on disk; `aftercast \
                 process --again PATH` processes the recording again."
                .into(),
            Self::Unwritable { .. } => {
                "The recording is safe where it is. Rename it so that its path is valid UTF-8.".into()
            }
            Self::NotJournalled { .. }
            | Self::AtAnotherStage { .. }
            | Self::NoWay { .. }
            | Self::NoSuchVod { .. }
            | Self::NoSuchConsumer { .. }
            | Self::NoSuchDelivery { .. } => return None,
        })
    }
}

fn distrust_hint(path: &std::path::Path, why: &UntrustedReason) -> String {
    let path = printable(path);
    let remedy = match why {
        UntrustedReason::Writable(_) => format!("Run `chmod 700 {path}`"),
        UntrustedReason::Foreign { user, .. } => {
            format!("Run aftercast as the owner of the directory, or run `chown {user} {path}`")
        }
    };
    format!(
        "Nothing was changed. Whoever can write the state directory can make aftercast delete a recording that was never \
         uploaded. {remedy}; or set `state_dir` to a new directory below it, which aftercast creates with mode 0700."
    )
}

fn directory_hint(path: &std::path::Path, source: &io::Error) -> String {
    let path = printable(path);
    match source.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "Nothing was changed. Make the user that runs aftercast the owner of the state directory (`chown USER \
             {path}`), or set `state_dir` (or `--state-dir`) to a directory that this user can write."
        ),
        io::ErrorKind::StorageFull => {
            "Nothing was changed. Free space on the file system of the state directory.".into()
        }
        _ => format!("Nothing was changed. Make sure that `{path}` is a directory on a writable file system."),
    }
}
