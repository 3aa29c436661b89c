//! Files that are to go and could not go at once: those that wait aside because no lease can be had, and those that a process
//! was writing. Each has a row in the catalogue, so that a restart forgets none.
//!
//! A file aside without a row was left by a cut: it gets its name back, and whatever is to become of it is decided anew.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::error::PipelineError;
use super::removing::Removing;
use super::roots;
use super::sidecars;
use crate::catalog::CatalogError;
use crate::durable::{self, ExpectedFile, KeptBecause, RemovalOutcome};
use crate::fault::chain;
use crate::recording::journey::Step;
use crate::recording::name::printable;
use crate::recording::{FileVersion, Fingerprint};

/// Where the rows are.
const ROWS: &str = "leaving/";

/// A file that is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PendingRemoval {
    /// Its own name.
    pub path: PathBuf,
    /// Its name aside, if it was moved there.
    pub aside: Option<PathBuf>,
    /// What it must be still.
    pub seen: FileVersion,
    /// Since when it waits, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// The VoD whose local file is freed with it.
    pub frees: Option<String>,
}

impl PendingRemoval {
    fn row(&self) -> String {
        format!("{ROWS}{}", blake3::hash(self.path.as_os_str().as_encoded_bytes()).to_hex())
    }
}

/// Gives up a file of ours, and remembers what cannot go at once. Says whether it is gone, or will be.
pub(super) fn give_up(ctx: &Removing, path: &Path, seen: &FileVersion) -> Result<RemovalOutcome, PipelineError> {
    roots::may_delete(&ctx.roots, path)?;
    let _no_put_back = ctx.asides.read().unwrap_or_else(PoisonError::into_inner);
    let mut given_up = durable::give_up(path, seen)?;
    if given_up == RemovalOutcome::Missing {
        // A cut in between: the last process had compared it.
        given_up = durable::remove_aside(&durable::aside_path(path), path, ExpectedFile::Content(seen.fingerprint))?;
    }
    match &given_up {
        RemovalOutcome::Aside { path: aside, seen } => remember(ctx, path, Some(aside), *seen, None)?,
        RemovalOutcome::Kept { why: KeptBecause::InUse, path: stands_at } if stands_at == path => {
            remember(ctx, path, None, *seen, None)?;
        }
        _ => {}
    }
    Ok(given_up)
}

/// Ends what a cut has left of a replacement: the source under its second name goes, if it is what was read.
pub(super) fn end_replacement(ctx: &Removing, source: &Path, read: &Fingerprint) -> Result<(), PipelineError> {
    roots::may_delete(&ctx.roots, source)?;
    let aside = durable::aside_path(source);
    let _no_put_back = ctx.asides.read().unwrap_or_else(PoisonError::into_inner);
    if all(ctx)?.iter().any(|waiting| waiting.aside.as_ref() == Some(&aside)) {
        return Ok(());
    }
    match durable::remove_aside(&aside, source, ExpectedFile::Content(*read))? {
        RemovalOutcome::Aside { path: aside, seen } => remember(ctx, source, Some(&aside), seen, None)?,
        RemovalOutcome::Kept { path, .. } => {
            warn!(path = %printable(&path), "source kept: it was written while its finished file took its place");
        }
        RemovalOutcome::Removed | RemovalOutcome::Missing => {}
    }
    Ok(())
}

/// Remembers a file that is to go.
pub(super) fn remember(
    ctx: &Removing,
    path: &Path,
    aside: Option<&Path>,
    seen: FileVersion,
    frees: Option<&str>,
) -> Result<(), CatalogError> {
    let frees = frees.map(str::to_owned);
    let leaving = PendingRemoval {
        path: path.to_owned(),
        aside: aside.map(Path::to_owned),
        seen,
        since_ms: ctx.clock.now_ms(),
        frees,
    };
    if let Some(aside) = aside {
        info!(path = %printable(aside), "moved aside; it is removed after being unchanged for `quiet`");
    }
    put(ctx, &leaving)
}

fn put(ctx: &Removing, leaving: &PendingRemoval) -> Result<(), CatalogError> {
    let state = serde_json::to_value(leaving).unwrap_or_default();
    ctx.catalog.put_ledger(&leaving.row(), &state)
}

/// Every file that waits.
pub(super) fn all(ctx: &Removing) -> Result<Vec<PendingRemoval>, CatalogError> {
    let rows = ctx.catalog.ledgers(ROWS)?;
    Ok(rows.into_iter().filter_map(|(_, state)| serde_json::from_value(state).ok()).collect())
}

/// Looks again at what waits; what was unchanged for `quiet` goes.
pub(super) fn look_again(ctx: &Removing) {
    if ctx.catalog.is_behind() {
        // What is to go is told by a catalogue that may lack what came after it.
        return;
    }
    let waiting = all(ctx).unwrap_or_else(|error| {
        warn!(error = chain(&error), "cannot read the catalogue; files that wait for removal are kept");
        Vec::new()
    });
    for leaving in waiting.iter().take_while(|_| !ctx.stop.is_requested()) {
        if let Err(error) = look_again_at(ctx, leaving) {
            warn!(path = %printable(&leaving.path), error = chain(&error), "cannot remove the file yet; retrying later");
        }
    }
}

fn look_again_at(ctx: &Removing, leaving: &PendingRemoval) -> Result<(), PipelineError> {
    let quiet_ms = i64::try_from(ctx.config.settings().watch.quiet.as_millis()).unwrap_or(i64::MAX);
    let waited_ms = ctx.clock.now_ms().saturating_sub(leaving.since_ms);
    if waited_ms < 0 {
        // The clock was set back: it waits from now on.
        return Ok(put(ctx, &PendingRemoval { since_ms: ctx.clock.now_ms(), ..leaving.clone() })?);
    }
    if waited_ms < quiet_ms && leaving.aside.is_some() {
        return Ok(());
    }
    if leaving.path.parent().is_none_or(|directory| !directory.is_dir()) {
        // Its root may not be mounted.
        return Ok(());
    }
    if roots::may_delete(&ctx.roots, &leaving.path).is_err() {
        return Ok(());
    }
    let _no_put_back = ctx.asides.read().unwrap_or_else(PoisonError::into_inner);
    let given_up = match &leaving.aside {
        Some(aside) => durable::remove_aside(aside, &leaving.path, ExpectedFile::All(leaving.seen))?,
        None => durable::give_up(&leaving.path, &leaving.seen)?,
    };
    match &given_up {
        RemovalOutcome::Kept { why: KeptBecause::InUse, path } if leaving.aside.is_none() && *path == leaving.path => {
            return Ok(());
        }
        RemovalOutcome::Aside { path, seen } => {
            return Ok(remember(ctx, &leaving.path, Some(path), *seen, leaving.frees.as_deref())?);
        }
        RemovalOutcome::Kept { path, .. } => {
            warn!(path = %printable(path), "file kept: it was written while it waited for removal");
        }
        RemovalOutcome::Removed | RemovalOutcome::Missing => {}
    }
    if let (RemovalOutcome::Removed, Some(vod_id)) = (&given_up, &leaving.frees) {
        ctx.catalog.shared().freed(vod_id, ctx.clock.now_ms())?;
        sidecars::clear_if_freed(&ctx.catalog, vod_id);
        info!(vod_id, "freed; every required target holds it");
    }
    Ok(ctx.catalog.remove_ledger(&leaving.row())?)
}

/// Gives files that a cut left aside their names back. In a shared root those that are not of this node's VoDs may be another
/// node's, which waits for them.
pub(super) fn put_back(ctx: &Removing, asides: &[PathBuf]) {
    let is_own = |aside: &&PathBuf| !ctx.roots.is_shared(aside) || is_of_own_vod(ctx, aside);
    let asides: Vec<_> = asides.iter().filter(is_own).filter(|aside| !is_being_replaced(ctx, aside)).collect();
    if asides.is_empty() {
        return;
    }
    let _nothing_is_given_up = ctx.asides.write().unwrap_or_else(PoisonError::into_inner);
    let Ok(waiting) = all(ctx) else { return };
    for aside in asides.into_iter().filter(|aside| !waiting.iter().any(|w| w.aside.as_ref() == Some(*aside))) {
        match durable::put_back(aside) {
            Ok(Some(path)) => warn!(path = %printable(&path), "removal was interrupted; original name restored"),
            Ok(None) => {}
            Err(error) => warn!(error = chain(&error), "removal was interrupted; cannot restore the original name"),
        }
    }
}

/// Whether it is the source of a file that has its name or is about to get it: who carries that on decides about it.
fn is_being_replaced(ctx: &Removing, aside: &Path) -> bool {
    let entry = with_own_name(aside).and_then(|(path, now)| ctx.catalog.entry_for(&path, &now).ok().flatten());
    entry.is_some_and(|entry| matches!(entry.step, Step::Publishing { .. }))
}

fn is_of_own_vod(ctx: &Removing, aside: &Path) -> bool {
    let known = with_own_name(aside).and_then(|(path, now)| ctx.catalog.knows(&path, &now).ok());
    known.is_some_and(|known| known.vod_id().is_some())
}

/// What the catalogue knows a file aside by: its own path, and what it is.
fn with_own_name(aside: &Path) -> Option<(PathBuf, Fingerprint)> {
    durable::original_path(aside).zip(durable::fingerprint(aside).ok())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::pipeline::handles::Handles;

    /// A file aside that waits, by a clock that stands.
    struct WaitingFile {
        dir: tempfile::TempDir,
        handles: Handles,
        ctx: Removing,
        quiet: Duration,
    }

    impl WaitingFile {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let handles = Handles::for_test(dir.path());
            let ctx = Removing::of(&handles);
            let quiet = ctx.config.settings().watch.quiet;
            let waiting = Self { dir, handles, ctx, quiet };
            fs::write(waiting.aside(), "x").unwrap();
            let seen = durable::seen(&waiting.aside()).unwrap();
            remember(&waiting.ctx, &waiting.path(), Some(&waiting.aside()), seen, None).unwrap();
            waiting
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("x.ts")
        }

        fn aside(&self) -> PathBuf {
            durable::aside_path(&self.path())
        }

        /// Whether it is there still, after a look when so much more time has passed.
        fn stays_after(&self, passed: Duration) -> bool {
            self.handles.clock.advance(passed);
            look_again(&self.ctx);
            let is_remembered = !all(&self.ctx).unwrap().is_empty();
            assert_eq!(self.aside().exists(), is_remembered);
            is_remembered
        }
    }

    #[test]
    fn what_waits_aside_goes_when_it_was_unchanged_for_quiet() {
        let waiting = WaitingFile::new();
        assert!(waiting.stays_after(Duration::ZERO));
        assert!(waiting.stays_after(waiting.quiet.checked_sub(Duration::from_millis(1)).unwrap()));
        assert!(!waiting.stays_after(Duration::from_millis(1)));
    }

    #[test]
    fn where_the_clock_was_set_back_it_waits_from_then_on() {
        let waiting = WaitingFile::new();
        waiting.handles.clock.set(1_000);
        assert!(waiting.stays_after(Duration::ZERO));
        assert!(waiting.stays_after(waiting.quiet.checked_sub(Duration::from_millis(1)).unwrap()));
        assert!(!waiting.stays_after(Duration::from_millis(1)));
    }
}
