//! Whether the catalogue is known to have lost what it held: remembered in a file beside it until it was rebuilt, whatever is
//! written meanwhile. As long as it stands nothing is freed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::counter::RecordedFlushes;
use super::error::Result;
use super::state_dir::on;
use crate::durable;

/// Its name in the state directory.
const FILE: &str = "catalog.behind";

/// The mark.
#[derive(Debug)]
pub(super) struct StaleMark {
    path: PathBuf,
    is_set: AtomicBool,
}

impl StaleMark {
    /// Sets the mark if the database has lost flushes; says at every start that it stands.
    pub(super) fn open(state_dir: &Path, counted: RecordedFlushes, in_database: u64) -> Result<Self> {
        let path = state_dir.join(FILE);
        if counted.is_ahead_of(in_database) && !path.exists() {
            set(&path, counted, in_database)?;
        }
        let is_set = path.exists();
        if is_set {
            tracing::error!(
                path = %crate::recording::name::printable(state_dir),
                "the catalogue is in an older state: its latest changes are missing. Recordings and uploads are \
                 safe, and no local file is freed. Run `aftercast catalog rebuild`: it recreates missing records \
                 from the finished files and from the objects in the targets, and frees nothing"
            );
        }
        Ok(Self { path, is_set: AtomicBool::new(is_set) })
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// Takes the mark away.
    pub(super) fn clear(&self) -> Result<()> {
        let Self { path, is_set } = self;
        if is_set.swap(false, Ordering::SeqCst) {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(on("remove", path)(e)),
                _ => durable::sync_parent(path).map_err(|e| on("sync", &e.path.clone())(e.source))?,
            }
        }
        Ok(())
    }
}

fn set(path: &Path, counted: RecordedFlushes, in_database: u64) -> Result<()> {
    let expected = match counted {
        RecordedFlushes::Flushes(durable) => Some(durable),
        RecordedFlushes::Nothing | RecordedFlushes::Unreadable => None,
    };
    let said = format!("{}\n", json!({ "flushes": in_database, "expectedFlushes": expected }));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file: File| file.write_all(said.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(on("write", path))?;
    durable::sync_parent(path).map_err(|e| on("sync", &e.path.clone())(e.source))
}
