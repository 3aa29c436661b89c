//! Puts a finished file in the place of its source, only if that still is what was read and no process writes it.
//!
//! The source has a second name, that of [`aside_path`], while its own is taken over: a process that found the file before and is
//! kept waiting by the lease gets it back under its name. A cut leaves the source under its name, under the second one, or
//! under both; [`remove_aside`] and [`put_back`] decide about the second.

use super::{
    FileEvent, FileVersion, Fingerprint, KeptBecause, LeaseRefused, OpenOutcome, Path, PathBuf, ReadLease, Result,
    aside_path, end_name_aside, open, seen, seen_of, step, sync_parent, tell, unlink_name,
};
use crate::durable::{RenameOutcome, link, rename_any, rename_over};

/// What became of a source that was to be replaced.
#[derive(Debug)]
pub enum ReplaceOutcome {
    /// The finished file has its name, and nothing is left of it.
    Replaced(RenameOutcome),
    /// The finished file has its name. Nobody can say whether the source is being written: it waits aside.
    Aside {
        /// Its name aside.
        path: PathBuf,
        /// What it has to be still when the caller comes back.
        seen: FileVersion,
        /// The name of the finished file.
        named: RenameOutcome,
    },
    /// It stays under its name. The finished file may be gone: it is made again.
    Kept(KeptBecause),
}

/// Whether the source may have a second name for the moment in which its own is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondName {
    /// It may.
    Given,
    /// Others that see the directory would not know what it is.
    None,
}

/// Puts a complete, synced file in the place of the source that it was made from.
///
/// Without `proven_changed_ns`, which former versions did not note, the change time of the source is not compared. On file systems
/// without hard links, and for files of others that may not be linked, there is no second name: then only what was written until
/// the lease was taken is noticed.
#[track_caller]
pub fn replace_source(
    (from, written): (&Path, &Fingerprint),
    source: &Path,
    (proven, proven_changed_ns): (&Fingerprint, Option<i64>),
    second_name: SecondName,
) -> Result<ReplaceOutcome> {
    let file = match open(source)? {
        OpenOutcome::Yes(file) => file,
        OpenOutcome::Missing => return Ok(ReplaceOutcome::Kept(KeptBecause::Changed)),
        OpenOutcome::Held => return Ok(ReplaceOutcome::Kept(KeptBecause::InUse)),
    };
    // Before the first look: what is compared under the lease stays what it is.
    let lease = ReadLease::take(&file);
    if matches!(lease, Err(LeaseRefused::Held)) {
        return Ok(ReplaceOutcome::Kept(KeptBecause::InUse));
    }
    let now = seen_of(&file, source)?;
    if now.fingerprint != *proven || proven_changed_ns.is_some_and(|changed_ns| changed_ns != now.changed_ns) {
        return Ok(ReplaceOutcome::Kept(KeptBecause::Changed));
    }
    let aside = aside_path(source);
    let is_linked = match second_name {
        SecondName::None => false,
        SecondName::Given => match has_second_name(source, &aside) {
            Ok(is_linked) => is_linked,
            // Another file of that name waits there for its removal.
            Err(_) => return Ok(ReplaceOutcome::Kept(KeptBecause::InUse)),
        },
    };
    if is_linked && !seen(&aside).is_ok_and(|now| now.fingerprint == *proven) {
        end_name_aside(&aside, source)?;
        return Ok(ReplaceOutcome::Kept(KeptBecause::Changed));
    }
    if let Err(error) = rename_over(from, source, written) {
        if is_linked {
            // If it was renamed, and is not as it was written, the source has no other name left.
            end_name_aside(&aside, source)?;
        }
        return Err(error);
    }
    if !is_linked {
        return Ok(ReplaceOutcome::Replaced(RenameOutcome::Durably.then(|| sync_parent(source))));
    }
    match lease {
        Ok(lease) if lease.is_broken() => {
            take_back(&aside, source)?;
            Ok(ReplaceOutcome::Kept(KeptBecause::InUse))
        }
        Ok(_) => {
            let named = RenameOutcome::Durably.then(|| unlink_name(&aside)).then(|| sync_parent(source));
            Ok(ReplaceOutcome::Replaced(named))
        }
        Err(_) => {
            // The last look before it waits: whoever has it open may have written since the first.
            let seen = seen_of(&file, &aside)?;
            if seen.fingerprint != *proven {
                take_back(&aside, source)?;
                return Ok(ReplaceOutcome::Kept(KeptBecause::Changed));
            }
            let named = RenameOutcome::Durably.then(|| sync_parent(source));
            Ok(ReplaceOutcome::Aside { seen, path: aside, named })
        }
    }
}

/// Gives the source its own name back; the finished file goes, and is made again.
fn take_back(aside: &Path, source: &Path) -> Result<()> {
    rename_any(aside, source)?;
    sync_parent(source)
}

/// Gives the source its second name; `false` where that cannot be, an error where another file waits under it.
fn has_second_name(source: &Path, aside: &Path) -> Result<bool> {
    match link(source, aside) {
        Ok(()) => {
            tell(FileEvent::Linked(source, aside));
            step("second name");
            Ok(true)
        }
        // A cut came right after the link.
        Err(error) if error.is_taken() && is_same_file(source, aside) => Ok(true),
        Err(error) if error.is_taken() => Err(error),
        // File systems without hard links, files of others that may not be linked.
        Err(_) => Ok(false),
    }
}

/// Whether two names stand for one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let both = seen(one).ok().zip(seen(other).ok());
    both.is_some_and(|(one, other)| {
        let (one, other) = (one.fingerprint, other.fingerprint);
        (one.device, one.inode) == (other.device, other.inode)
    })
}
