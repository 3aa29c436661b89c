//! Sidecars of ours (`x.json` beside `x.mp4`): written if the mask has bit 32, delivered like any sidecar, and removed with their VoD.
//!
//! A recording is never kept waiting for its sidecar, and never lost by one: what cannot be written is said and left out. A file of that name
//! that is not ours stays as it is.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{debug, warn};

use super::delivering::Delivering;
use super::error::PipelineError;
use super::queueing;
use crate::catalog::Catalog;
use crate::durable::{self, Partial};
use crate::fault::chain;
use crate::recording::name::printable;
use crate::recording::{Kind, Noted, SIDECAR_MAX_BYTES, VodRecord, read_sidecar, sidecar_of};

/// Serialises reading a record and writing or removing its sidecar: the last to write has the last record.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the sidecar of a recording lies.
fn path_of(vod: &VodRecord) -> PathBuf {
    vod.file_path.with_extension("json")
}

/// Writes the sidecar of a recording that is about to be catalogued, if sidecars are wanted.
pub(super) fn write(ctx: &Delivering, vod: &VodRecord) {
    let _one_at_a_time = one_at_a_time();
    write_alone(ctx, vod);
}

/// The same, for who has [`ONE_AT_A_TIME`].
fn write_alone(ctx: &Delivering, vod: &VodRecord) {
    if !ctx.config.settings().deliver.upload_extensions.contains(Kind::Sidecar) {
        return;
    }
    if let Err(error) = try_write(ctx, vod) {
        let path = path_of(vod);
        warn!(path = %printable(&path), error = chain(&error), "sidecar not written; the recording is not affected");
    }
}

/// Writes the sidecar of a VoD again that a person has written about, and delivers it again where it was delivered.
pub fn sidecar_edited(ctx: &Delivering, vod_id: &str) {
    let _one_at_a_time = one_at_a_time();
    // As it is now: somebody else may have written about it meanwhile.
    let vod = match ctx.catalog.shared().vod(vod_id) {
        Ok(Some(vod)) => vod,
        Ok(None) => return,
        Err(error) => {
            warn!(vod_id, error = chain(&error), "cannot read the catalogue; the sidecar is not changed");
            return;
        }
    };
    // Only where there is one: a VoD whose file was freed has none.
    if !owned_by(&vod, &path_of(&vod)) {
        return;
    }
    write_alone(ctx, &vod);
    let mut deliveries = queueing::deliveries_beside(ctx, &vod);
    deliveries.retain(|delivery| delivery.asset.kind == Kind::Sidecar);
    match ctx.catalog.enqueue(&deliveries) {
        Ok(_) => ctx.courier_notify.notify(),
        Err(error) => warn!(vod_id, error = chain(&error), "changed sidecar not queued for delivery"),
    }
}

fn try_write(ctx: &Delivering, vod: &VodRecord) -> Result<(), PipelineError> {
    let path = path_of(vod);
    let text = match sidecar_of(vod) {
        Ok(text) => text,
        Err(error) => {
            debug!(path = %printable(&path), error = chain(&error), "no sidecar: its names are not UTF-8");
            return Ok(());
        }
    };
    let there = read(&path);
    if there.as_ref() == Some(&text) {
        return Ok(());
    }
    if path.symlink_metadata().is_ok() && !owned_by(vod, &path) {
        debug!(path = %printable(&path), "no sidecar: a file that is not ours has its name");
        return Ok(());
    }
    let mut partial = Partial::create(&path, ctx.catalog.owner())?;
    partial.write_all(&text)?;
    let like = durable::metadata(&vod.file_path)?;
    let sealed = partial.seal(&like)?;
    let named = if there.is_some() {
        durable::replace(&sealed.path, &path, &sealed.fingerprint)
    } else {
        durable::publish(&sealed.path, &path, &sealed.fingerprint)
    };
    match named {
        Ok(named) => Ok(named.durably()?),
        Err(error) => {
            durable::remove_own(&sealed.path)?;
            Err(error.into())
        }
    }
}

/// Removes the sidecar of a VoD whose file is gone, once nobody waits for its delivery any more.
pub(super) fn clear_if_freed(catalog: &Catalog, vod_id: &str) {
    let Ok(Some(vod)) = catalog.shared().vod(vod_id) else { return };
    let is_waited_for = || catalog.pending_for(&queueing::sidecar_id(vod_id)).map_or(true, |all| !all.is_empty());
    if vod.freed_at.is_some() && !is_waited_for() {
        remove_sidecar(&vod);
    }
}

/// Removes the sidecar of a VoD if it is ours.
pub fn remove_sidecar(vod: &VodRecord) {
    let _one_at_a_time = one_at_a_time();
    let path = path_of(vod);
    if owned_by(vod, &path)
        && let Err(error) = durable::remove(&path)
    {
        warn!(path = %printable(&path), error = chain(&error), "sidecar not removed");
    }
}

/// What people wrote about a VoD, as its sidecar has it: the state directory may be lost.
pub(super) fn with_notes(vod: VodRecord) -> VodRecord {
    let read = read(&path_of(&vod)).and_then(|text| read_sidecar(&text)).filter(|(vod_id, _)| *vod_id == vod.vod_id);
    match read {
        Some((_, Noted { description, metadata })) => VodRecord { description, metadata, ..vod },
        None => vod,
    }
}

fn owned_by(vod: &VodRecord, path: &Path) -> bool {
    read(path).and_then(|text| read_sidecar(&text)).is_some_and(|(vod_id, _)| vod_id == vod.vod_id)
}

/// The text of a sidecar; `None` if there is none, or it is too long to be ours.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file = durable::open_to_read(path).ok()?;
    let mut text = Vec::new();
    file.take(SIDECAR_MAX_BYTES + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= SIDECAR_MAX_BYTES).then_some(text)
}
