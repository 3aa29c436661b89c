//! The file of a root: its id, and who works on it.
//!
//! It is read without a lock; what is no JSON says nothing.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::durable::beneath::OpenDirectory;
use crate::durable::{FileError, PartialOwner, random_id};

/// The file in a root that says who owns it. Its name is never a candidate's.
pub const ROOT_FILE: &str = ".aftercast-root";
/// More is not read of it, whatever it holds.
const MOST_BYTES: u64 = 16 << 10;

/// Who owns a root, as its file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootOwner {
    /// Random; tells one root from another whatever its path and device.
    pub root_id: String,
    /// Id of the state directory.
    pub state_id: String,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Process id, to be named in messages.
    pub pid: u32,
    /// The node that works on the root, where several share a database.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node_id: Option<String>,
    /// How often the root has had another node, as far as this file was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner_epoch: Option<i64>,
    /// Whether several nodes work on it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_shared: bool,
    /// Fields of other versions, kept as they are.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// What the file of a root says; `None` where there is none or it says nothing.
pub fn owner_of(root: &Path) -> Option<RootOwner> {
    let directory = OpenDirectory::open(root).ok()?;
    let file = directory.open_file(ROOT_FILE.as_ref(), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The id of a root, which is made where there is none yet: nobody owns it by that.
pub fn root_id(root: &Path) -> crate::durable::Result<String> {
    if let Some(owner) = owner_of(root) {
        return Ok(owner.root_id);
    }
    let says = RootOwner { root_id: random_id(), ..RootOwner::default() };
    write(root, &says).map_err(FileError::on("write", &root.join(ROOT_FILE)))?;
    Ok(says.root_id)
}

/// Notes in the file of a root which node works on it, and how often that has changed. The lock of the root must be held. With the id
/// of the root that is meant, that of another one is refused, which was mounted there meanwhile.
pub fn note_node(root: &Path, root_id: Option<&str>, node_id: &str, owner_epoch: i64) -> crate::durable::Result<()> {
    let note = || {
        let mut says = owner_of(root).ok_or(Errno::NOENT)?;
        if root_id.is_some_and(|root_id| root_id != says.root_id) {
            return Err(Errno::STALE.into());
        }
        if says.node_id.as_deref() == Some(node_id) && says.owner_epoch == Some(owner_epoch) {
            return Ok(());
        }
        says.node_id = Some(node_id.to_owned());
        says.owner_epoch = Some(owner_epoch);
        write(root, &says)
    };
    note().map_err(FileError::on("note the node in", &root.join(ROOT_FILE)))
}

/// Puts back what the file of a root said.
pub fn restore_owner(root: &Path, says: &RootOwner) -> crate::durable::Result<()> {
    write(root, says).map_err(FileError::on("write", &root.join(ROOT_FILE)))
}

/// Says who owns a root. The id of the root stays what it was.
pub(super) fn write_owner(
    root: &Path,
    before: Option<&RootOwner>,
    owner: &PartialOwner,
    state_dir: &Path,
) -> io::Result<()> {
    let own = RootOwner {
        state_id: owner.id().to_owned(),
        state_dir: std::path::absolute(state_dir)?,
        pid: std::process::id(),
        ..RootOwner::default()
    };
    let says = match before.cloned() {
        None => RootOwner { root_id: random_id(), ..own },
        Some(before) => RootOwner { state_id: own.state_id, state_dir: own.state_dir, pid: own.pid, ..before },
    };
    write(root, &says)
}

pub(super) fn write(root: &Path, says: &RootOwner) -> io::Result<()> {
    let directory = OpenDirectory::open(root)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
    let mut file = directory.open_file(ROOT_FILE.as_ref(), flags, Mode::from_raw_mode(0o644))?;
    if !file.metadata()?.is_file() {
        return Err(Errno::INVAL.into());
    }
    // Shorter or longer, what is read meanwhile is no JSON and says nothing; the lock holds all the same.
    file.rewind()?;
    let text = format!("{}\n", serde_json::to_string(says)?);
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}
