//! What a person wrote about a VoD, kept a second time outside the database.
//!
//! Everything else in a record can be made again from the recording and the stores. Descriptions and metadata cannot: each
//! edited VoD has a small file `notes/ID.json` in the state directory, from which a rebuilt record gets them back.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::opened::Catalog;
use super::state_dir::{on, write_whole};
use crate::recording::VodRecord;

/// Serialises edits: the file gets what the record got last.
static EDITING: Mutex<()> = Mutex::new(());

/// What the file of a VoD holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VodNotes {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl Catalog {
    /// Changes description and metadata of a VoD, in the record and in its file; durable on return.
    pub fn edit_notes(&self, id: &str, change: impl Fn(&mut VodRecord)) -> Result<VodRecord> {
        let _one_at_a_time = EDITING.lock().unwrap_or_else(PoisonError::into_inner);
        let vod = self.shared().update_vod(id, change)?;
        let notes = VodNotes { description: vod.description.clone(), metadata: vod.metadata.clone() };
        let path = self.notes_path(id);
        make_directory_of(&path).map_err(on("write", &path))?;
        let json = serde_json::to_vec_pretty(&notes).map_err(|e| on("write", &path)(e.into()))?;
        write_whole(&path, &json)?;
        Ok(vod)
    }

    /// Gives a record that was made again what had been written about its VoD.
    pub(super) fn with_notes(&self, vod: VodRecord) -> VodRecord {
        match read(&self.notes_path(&vod.vod_id)) {
            // What cannot be read is not there: the record is whole without it.
            None => vod,
            Some(VodNotes { description, metadata }) => VodRecord { description, metadata, ..vod },
        }
    }

    /// Forgets what was written about a VoD that is no more.
    pub(super) fn remove_notes(&self, id: &str) {
        let _ = fs::remove_file(self.notes_path(id));
    }

    fn notes_path(&self, id: &str) -> PathBuf {
        // Ids are 24 base62 digits; whatever else stands in a record must not lead out of the directory.
        let name: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        self.shared().0.state_dir.join("notes").join(format!("{name}.json"))
    }
}

fn read(path: &Path) -> Option<VodNotes> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn make_directory_of(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
