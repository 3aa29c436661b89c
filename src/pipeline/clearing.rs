//! Removes a source whose every packet the durable, compared, catalogued file holds; only if it is still that source.

use std::path::Path;

use tracing::warn;

use super::error::PipelineError;
use super::house::{House, now_ms};
use super::leaving;
use crate::catalog::JournalKey;
use crate::durable::{self, GivenUp, Keeping};
use crate::recording::journey::Step;
use crate::recording::name::printable;
use crate::recording::{Seen, VodRecord};

/// Step 5 of a journey: the source goes, and the journal says that nothing is left to do.
pub(super) fn clear_source(house: &House, key: &JournalKey, record: &VodRecord) -> Result<(), PipelineError> {
    // Equal as an older version journalled it.
    if record.source_path != record.file_path {
        remove(house, record)?;
    }
    house.catalog.set_step(key, Step::Done { vod_id: record.vod_id.clone() }, now_ms())?;
    Ok(())
}

fn remove(house: &House, record: &VodRecord) -> Result<(), PipelineError> {
    let path = &record.source_path;
    let Some(changed_ns) = record.source_changed_ns else {
        if durable::seen(path).is_ok() {
            stays(path, "an older version did not note its change time; it stays; remove it if it is not needed");
        }
        return Ok(());
    };
    match leaving::give_up(house, path, &Seen { fingerprint: record.source, changed_ns })? {
        GivenUp::Removed | GivenUp::Missing | GivenUp::Aside { .. } => {}
        GivenUp::Kept { why: Keeping::Changed, path } => {
            stays(&path, "the original changed after it was finished; it stays");
        }
        GivenUp::Kept { why: Keeping::InUse, path } => {
            stays(&path, "the original is open for writing; it stays for now");
        }
    }
    Ok(())
}

fn stays(path: &Path, why: &str) {
    warn!(path = %printable(path), "{why}");
}
