//! One owner for each root: two processes with state directories of their own must not finish the same recordings.
//!
//! The lock is an exclusive `flock` on the root's directory, which nobody can delete from under it and the kernel takes back
//! however the process ends. A file in the root, `.aftercast-root`, says who holds it: the state directory to ask. It stays there,
//! and also tells this root from an empty mount point. Where the file system has no such locks (some network file systems), a
//! file that its owner touches every few seconds takes their place ([`heartbeat`]).
//!
//! Several processes may also share one root out among them ([`shards`]).
//!
//! A root that several nodes share ([`sharing`]) has no owner and is never locked: its file says so, and who works on what is
//! told by their database.
//!
//! A lock on a root covers everything below it: who wants a directory below is refused as well, and who wants one above leaves
//! what lies below alone ([`foreign_owner`]).

mod file;
mod heartbeat;
mod shards;
mod sharing;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, OFlags, flock, unlinkat};
use rustix::io::Errno;

pub use self::file::{ROOT_FILE, RootOwner, note_node, owner_of, restore_owner, root_id};
use self::file::{write, write_owner};
use self::heartbeat::Heartbeat;
pub use self::shards::RootPart;
use self::shards::ShardLock;
pub use self::sharing::{are_links_exclusive, declare_shared};
use super::beneath::{OpenDirectory, open_directory};
use super::{FileError, PartialOwner, declare_root};
use crate::fault::{Class, Fault};
use crate::recording::Fingerprint;
use crate::recording::name::printable;

/// Why a root cannot be owned.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Another process owns it, or a root above it.
    #[error("`{}` is in use by another aftercast{}", printable(root), of(owner.as_deref()))]
    InUse {
        /// The root that was asked for.
        root: PathBuf,
        /// Who owns it, where that can be told.
        owner: Option<Box<RootOwner>>,
    },
    /// Another process works on the same part of it.
    #[error("another aftercast is working on {part} of `{}`", printable(root))]
    ShardInUse {
        /// The root that was asked for.
        root: PathBuf,
        /// The part, in words.
        part: String,
    },
    /// Another process works on a part of it that overlaps.
    #[error("another aftercast is working on {other} of `{}`, which overlaps with {part}", printable(root))]
    OtherSplit {
        /// The root that was asked for.
        root: PathBuf,
        /// The part that was asked for, in words.
        part: String,
        /// The part that is being worked on, in words.
        other: String,
    },
    /// Several nodes work on it, and this process was not told so.
    #[error("`{}` is shared by several nodes", printable(root))]
    Shared {
        /// The root that was asked for.
        root: PathBuf,
    },
    /// Its file system does not keep two files from one name.
    #[error(
        "`{}` cannot be shared: its file system creates hard links that do not exclude each other",
        printable(root)
    )]
    UnsafeLinks {
        /// The root that was asked for.
        root: PathBuf,
    },
    /// It cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
}

fn of(owner: Option<&RootOwner>) -> String {
    owner.map_or_else(String::new, |owner| {
        format!(" (process {}, state directory `{}`)", owner.pid, printable(&owner.state_dir))
    })
}

impl Fault for RootError {
    fn class(&self) -> Class {
        match self {
            Self::InUse { .. }
            | Self::ShardInUse { .. }
            | Self::OtherSplit { .. }
            | Self::Shared { .. }
            | Self::UnsafeLinks { .. } => Class::Environment,
            Self::File(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { owner, .. } => {
                let state_dir = owner.as_ref().map(|owner| printable(&owner.state_dir));
                let state_dir = state_dir.unwrap_or_else(|| "DIR".to_owned());
                Some(format!(
                    "Nothing was changed. Use that instance: run the command with `--state-dir {state_dir}`, or as the user that \
                     runs it; or stop it first."
                ))
            }
            Self::ShardInUse { .. } => {
                Some("Nothing was changed. Wait until that process has ended, or start another shard.".into())
            }
            Self::OtherSplit { other, part, .. } if !other.contains('/') || !part.contains('/') => Some(
                "Nothing was changed. Wait until that process has ended: a batch and `process --shard` do not share a root."
                    .to_owned(),
            ),
            Self::OtherSplit { other, .. } => {
                let count = other.rsplit('/').next().unwrap_or_default();
                Some(format!(
                    "Nothing was changed. Give all processes the same n (`--shard i/{count}`), or wait until the others have ended."
                ))
            }
            Self::Shared { root } => Some(format!(
                "Nothing was changed. Set `shared = true` for this root in `[[watch.root]]`, with the `[fleet] database` of the other \
                 nodes. If they do not share it any more, stop them and delete `{}`.",
                printable(&root.join(ROOT_FILE))
            )),
            Self::UnsafeLinks { .. } => Some(
                "Nothing was changed. Two nodes could replace each other's files there. Let one node work on this root alone, \
                 without `shared`, or use a file system with hard links (NFS, CephFS, GlusterFS)."
                    .into(),
            ),
            Self::File(error) => error.hint(),
        }
    }
}

/// A root that this process owns as long as this lives.
#[derive(Debug)]
pub struct RootLock {
    root: PathBuf,
    directory: File,
    alive: Option<Heartbeat>,
    /// What the file said before; nothing if there was none.
    before: Option<RootOwner>,
    /// Whether the file is left as it was before.
    is_passing: bool,
    /// The part that is owned, if it is not the whole.
    shard: Option<ShardLock>,
}

impl RootLock {
    /// Takes a root for a state directory. Its file is written where that is allowed; the lock does not need it.
    pub fn take(root: &Path, owner: &PartialOwner, state_dir: &Path) -> Result<Self, RootError> {
        declare_root(root);
        if let Some(above) = owner_above(root, owner) {
            return Err(RootError::InUse { root: root.to_owned(), owner: Some(Box::new(above)) });
        }
        let directory: File = open_directory(root, OFlags::RDONLY).map_err(FileError::on("open", root))?.into();
        require_unshared(root)?;
        let alive = match lock(&directory, FlockOperation::NonBlockingLockExclusive) {
            LockOutcome::Yes => None,
            LockOutcome::No => {
                // Of processes that share it the file says nothing.
                let is_shared = matches!(lock(&directory, FlockOperation::NonBlockingLockShared), LockOutcome::Yes);
                let owner = owner_of(root).filter(|_| !is_shared).map(Box::new);
                return Err(RootError::InUse { root: root.to_owned(), owner });
            }
            LockOutcome::NotHere => Some(Heartbeat::take(root, owner)?),
        };
        let before = owner_of(root);
        if let Err(error) = write_owner(root, before.as_ref(), owner, state_dir) {
            tracing::debug!(root = %printable(root), error = crate::fault::chain(&error), "owner of the root not written");
        }
        Ok(Self { root: root.to_owned(), directory, alive, before, is_passing: false, shard: None })
    }

    /// Takes a part of a root, beside others who have taken the other parts.
    pub fn take_part(root: &Path, owner: &PartialOwner, part: &RootPart) -> Result<Self, RootError> {
        declare_root(root);
        if let Some(above) = owner_above(root, owner) {
            return Err(RootError::InUse { root: root.to_owned(), owner: Some(Box::new(above)) });
        }
        let directory: File = open_directory(root, OFlags::RDONLY).map_err(FileError::on("open", root))?.into();
        require_unshared(root)?;
        let is_owned = match lock(&directory, FlockOperation::NonBlockingLockShared) {
            LockOutcome::Yes => false,
            LockOutcome::No => true,
            LockOutcome::NotHere => heartbeat::is_alive(root),
        };
        if is_owned {
            return Err(RootError::InUse { root: root.to_owned(), owner: owner_of(root).map(Box::new) });
        }
        let part = ShardLock::take(root, part)?;
        Ok(Self { root: root.to_owned(), directory, alive: None, before: None, is_passing: false, shard: part })
    }

    /// Whether a root could be owned now, and whether by a lock of the kernel; changes nothing.
    pub fn probe(root: &Path) -> Result<bool, RootError> {
        let directory: File = open_directory(root, OFlags::RDONLY).map_err(FileError::on("open", root))?.into();
        match lock(&directory, FlockOperation::NonBlockingLockShared) {
            LockOutcome::Yes => Ok(true),
            LockOutcome::No => Err(RootError::InUse { root: root.to_owned(), owner: owner_of(root).map(Box::new) }),
            LockOutcome::NotHere => Ok(false),
        }
    }

    /// The root's file becomes what it was with the end of the lock: for a directory that is no root of this configuration. It may
    /// be one of another's, who knows it by the id in its file.
    pub const fn leave_as_it_was(&mut self) {
        self.is_passing = true;
    }

    /// Whether the path still leads to the directory that is locked: another file system may be mounted there by now.
    pub fn is_of(&self, root: &Path) -> bool {
        let now = open_directory(root, OFlags::PATH).and_then(|fd| File::from(fd).metadata());
        let held = self.directory.metadata();
        now.is_ok_and(|now| held.is_ok_and(|held| Fingerprint::of(&held).same_file(&Fingerprint::of(&now))))
    }

    /// Whether the file system has locks; without them the owner is told by a file that it keeps touching.
    pub const fn is_by_kernel(&self) -> bool {
        self.alive.is_none()
    }
}

impl Drop for RootLock {
    fn drop(&mut self) {
        // Only what is still this process's own, while the lock is held.
        if self.shard.is_some() {
            return;
        }
        let is_own = |owner: RootOwner| owner.pid == std::process::id();
        if self.is_passing && self.is_of(&self.root) && owner_of(&self.root).is_some_and(is_own) {
            let left = match &self.before {
                Some(before) => write(&self.root, before),
                None => OpenDirectory::open(&self.root)
                    .and_then(|directory| Ok(unlinkat(&directory, ROOT_FILE, AtFlags::empty())?)),
            };
            drop(left);
        }
    }
}

enum LockOutcome {
    Yes,
    No,
    NotHere,
}

fn lock(directory: &File, operation: FlockOperation) -> LockOutcome {
    #[cfg(debug_assertions)]
    if std::env::var_os("AFTERCAST_NO_ROOT_LOCKS").is_some() {
        return LockOutcome::NotHere;
    }
    match flock(directory, operation) {
        Ok(()) => LockOutcome::Yes,
        Err(Errno::WOULDBLOCK) => LockOutcome::No,
        // NFS locks files that are open for writing only, others know no such lock.
        Err(_) => LockOutcome::NotHere,
    }
}

/// Who else owns a directory as a root of its own right now.
pub fn foreign_owner(directory: &Path, owner: &PartialOwner) -> Option<RootOwner> {
    let found = owner_of(directory).filter(|found| found.state_id != owner.id())?;
    let open: File = open_directory(directory, OFlags::RDONLY).ok()?.into();
    let is_held = match lock(&open, FlockOperation::NonBlockingLockShared) {
        LockOutcome::Yes => false,
        LockOutcome::No => true,
        LockOutcome::NotHere => heartbeat::is_alive(directory),
    };
    is_held.then_some(found)
}

fn owner_above(root: &Path, owner: &PartialOwner) -> Option<RootOwner> {
    let real = root.canonicalize().ok()?;
    real.ancestors().skip(1).find_map(|above| foreign_owner(above, owner))
}

fn require_unshared(root: &Path) -> Result<(), RootError> {
    match owner_of(root) {
        Some(owner) if owner.is_shared => Err(RootError::Shared { root: root.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(root: &Path, id: &str) -> Result<RootLock, RootError> {
        RootLock::take(root, &PartialOwner::new(id), Path::new("/var/lib/elsewhere"))
    }

    #[test]
    fn a_second_owner_is_refused_with_words_and_takes_over_when_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path(), "first").unwrap();
        let refused = take(dir.path(), "second").unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("/var/lib/elsewhere") && words.contains(&std::process::id().to_string()), "{words}");
        assert!(refused.hint().unwrap().contains("--state-dir /var/lib/elsewhere"));
        let id = owner_of(dir.path()).unwrap().root_id;
        drop(first);
        take(dir.path(), "second").unwrap();
        let now = owner_of(dir.path()).unwrap();
        assert_eq!((now.state_id.as_str(), now.root_id), ("second", id));
    }

    #[test]
    fn a_root_is_shared_out_in_one_split_and_nobody_has_the_whole_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let part = |id: &str, shard: &str| {
            RootLock::take_part(dir.path(), &PartialOwner::new(id), &RootPart::Shard(shard.parse().unwrap()))
        };
        let first = part("first", "1/2").unwrap();
        let second = part("second", "2/2").unwrap();
        assert!(matches!(part("third", "2/2"), Err(RootError::ShardInUse { .. })));
        let other = part("third", "1/3").unwrap_err();
        assert!(other.hint().unwrap().contains("--shard i/2"), "{other:?}");
        assert!(matches!(take(dir.path(), "third"), Err(RootError::InUse { owner: None, .. })));
        drop(second);
        let batch = |id: &str| {
            RootLock::take_part(dir.path(), &PartialOwner::new(id), &RootPart::Batch { state_id: id.to_owned() })
        };
        let refused = batch("third").unwrap_err();
        assert!(refused.hint().unwrap().contains("a batch and `process --shard`"), "{refused:?}");
        let again = part("third", "2/2").unwrap();
        drop((first, again));
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
        let workers = [batch("first").unwrap(), batch("second").unwrap()];
        let refused = part("third", "1/2").unwrap_err();
        assert!(refused.to_string().contains("a batch") && refused.hint().is_some(), "{refused:?}");
        assert!(matches!(take(dir.path(), "third"), Err(RootError::InUse { owner: None, .. })));
        drop(workers);
        let _whole = take(dir.path(), "third").unwrap();
        let refused = part("first", "1/2").unwrap_err();
        assert!(refused.to_string().contains("/var/lib/elsewhere"), "{refused}");
    }

    #[test]
    fn a_directory_that_is_no_configured_root_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = take(dir.path(), "first").unwrap();
        lock.leave_as_it_was();
        assert!(dir.path().join(ROOT_FILE).exists());
        drop(lock);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_root_of_another_configuration_keeps_its_id_and_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        drop(take(dir.path(), "first").unwrap());
        let before = owner_of(dir.path()).unwrap();
        let mut lock = take(dir.path(), "second").unwrap();
        lock.leave_as_it_was();
        assert_eq!(owner_of(dir.path()).unwrap().state_id, "second");
        drop(lock);
        assert_eq!(owner_of(dir.path()), Some(before));
    }

    #[test]
    fn a_directory_below_an_owned_root_is_refused_and_its_own_owner_may_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("live");
        std::fs::create_dir(&below).unwrap();
        let _above = take(dir.path(), "first").unwrap();
        assert!(matches!(take(&below, "second"), Err(RootError::InUse { .. })));
        let _nested = take(&below, "first").unwrap();
    }

    #[test]
    fn who_owns_a_root_above_sees_that_what_lies_below_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("live");
        std::fs::create_dir(&below).unwrap();
        let lock = take(&below, "first").unwrap();
        let _above = take(dir.path(), "second").unwrap();
        assert_eq!(foreign_owner(&below, &PartialOwner::new("second")).unwrap().state_id, "first");
        assert_eq!(foreign_owner(&below, &PartialOwner::new("first")), None);
        drop(lock);
        assert_eq!(foreign_owner(&below, &PartialOwner::new("second")), None, "nobody holds it any more");
    }

    #[test]
    fn a_root_whose_file_is_a_link_or_nonsense_is_owned_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        std::fs::write(dir.path().join("other"), "mine").unwrap();
        std::os::unix::fs::symlink(dir.path().join("other"), a.join(ROOT_FILE)).unwrap();
        std::fs::write(b.join(ROOT_FILE), "{").unwrap();
        let _a = take(&a, "first").unwrap();
        let _b = take(&b, "first").unwrap();
        assert!(matches!(take(&a, "second"), Err(RootError::InUse { owner: None, .. })));
        assert_eq!(std::fs::read_to_string(dir.path().join("other")).unwrap(), "mine");
        assert_eq!(owner_of(&b).unwrap().state_id, "first");
    }
}
