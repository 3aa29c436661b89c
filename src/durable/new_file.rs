//! A small file of ours that is written whole, for people: a configuration, a credential.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::{FileError, Result, fingerprint, rename_no_replace, replace};

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// Its contents.
    pub contents: &'a [u8],
    /// Its permission bits, whatever the umask.
    pub mode: u32,
    /// Its owner, if it is not this process's.
    pub user: Option<u32>,
    /// Its group, if it is not this process's.
    pub group: Option<u32>,
}

/// Writes a file aside, makes it durable, and gives it its name, without replacing: what is there already is an error
/// ([`FileError::is_taken`]).
pub fn create_new(path: &Path, file: NewFile<'_>) -> Result<()> {
    let aside = aside(path);
    let written = written(&aside, file).and_then(|()| rename_no_replace(&aside, path)?.durably());
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written
}

/// Writes a file aside, makes it durable, and puts it in place of one that still has the contents `before`. Anything else there
/// stays, and is an error ([`FileError::is_taken`]).
pub fn replace_known(path: &Path, file: NewFile<'_>, before: &[u8]) -> Result<()> {
    let aside = aside(path);
    let replaced = written(&aside, file).and_then(|()| {
        if !holds(path, before) {
            return Err(FileError::on("replace", path)(std::io::ErrorKind::AlreadyExists.into()));
        }
        replace(&aside, path, &fingerprint(&aside)?)?.durably()
    });
    if replaced.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    replaced
}

/// Whether a path is a regular file, and no link to one, with these contents.
pub fn holds(path: &Path, contents: &[u8]) -> bool {
    let is_file = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && usize::try_from(found.len()) == Ok(contents.len()));
    is_file && std::fs::read(path).is_ok_and(|found| found == contents)
}

fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.partial", super::random_id()))
}

fn written(path: &Path, file: NewFile<'_>) -> Result<()> {
    let failed = |verb| FileError::on(verb, path);
    // Nobody else reads it before it has its owner and mode.
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut made: File = create().map_err(failed("create"))?;
    made.write_all(file.contents).map_err(failed("write"))?;
    if file.user.is_some() || file.group.is_some() {
        fchown(&made, file.user, file.group).map_err(failed("change the owner of"))?;
    }
    made.set_permissions(Permissions::from_mode(file.mode)).map_err(failed("change the mode of"))?;
    made.sync_all().map_err(failed("sync"))
}
