//! Which targets are another view of a root: nothing of that root is freed by them.
//!
//! Every target is compared with every root beside the start of `watch`, and with the root of a recording before the first
//! freeing there, at most once an hour. What is found is remembered in the catalogue, so that a dry run and the next start know
//! it, and is looked at again before the first freeing of a run: the operator may have corrected it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tracing::{debug, error, info, warn};

use super::active_config::ConfigSnapshot;
use super::confirming::{self, age_ms};
use super::context::PipelineContext;
use super::delivering::Delivering;
use super::roots;
use crate::catalog::CatalogError;
use crate::deliver::{DeliverError, VisibleRoot};
use crate::fault::chain;
use crate::recording::name::printable;
use crate::retain::{TargetView, VIEW_MAX_AGE_MS};

/// Where the views that were found are remembered.
const ROWS: &str = "view/";

/// What was found in this process, and what an earlier one found.
#[derive(Debug, Default)]
pub struct Views {
    held: Mutex<Option<ViewCache>>,
    /// One look at a time: each has files of its own in the root and in the target.
    looking: Mutex<()>,
}

type ViewCache = HashMap<(String, PathBuf), ViewState>;

#[derive(Debug, Clone)]
struct ViewState {
    is_apart: bool,
    /// When; `None` if an earlier process found it.
    at: Option<Instant>,
}

/// A row of the catalogue.
#[derive(Debug, Serialize, Deserialize)]
struct ViewRow {
    target: String,
    root: PathBuf,
    seen: String,
}

impl Views {
    /// What is known of a root.
    pub fn about(&self, ctx: &Delivering, root: &Path) -> Result<Vec<TargetView>, CatalogError> {
        let mut all = self.all(ctx)?;
        all.retain(|viewed| viewed.root == root);
        Ok(all)
    }

    /// What is known of all roots.
    pub fn all(&self, ctx: &Delivering) -> Result<Vec<TargetView>, CatalogError> {
        let (held, now) = (self.read(ctx)?, ctx.clock.now());
        let viewed = |((target, root), found): (&(String, PathBuf), &ViewState)| TargetView {
            target: target.clone(),
            root: root.clone(),
            is_apart: found.is_apart,
            age_ms: found.at.map_or(0, |at| age_ms(at, now)),
        };
        Ok(held.iter().flatten().map(viewed).collect())
    }

    /// Forgets that targets are apart from roots: the configuration has changed.
    pub fn begin_anew(&self) {
        if let Some(held) = self.lock().as_mut() {
            held.retain(|_, found| !found.is_apart);
            for found in held.values_mut() {
                found.at = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ViewCache>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, ctx: &Delivering) -> Result<MutexGuard<'_, Option<ViewCache>>, CatalogError> {
        let mut held = self.lock();
        if held.is_none() {
            let rows = ctx.catalog.ledgers(ROWS)?.into_iter().filter_map(|(_, row)| serde_json::from_value(row).ok());
            let found = |row: ViewRow| ((row.target, row.root), ViewState { is_apart: false, at: None });
            *held = Some(rows.map(found).collect());
        }
        Ok(held)
    }

    /// Whether a target was compared with such a root lately in this process.
    fn is_fresh(&self, target: &str, now: Instant, is_it: impl Fn(&Path) -> bool) -> bool {
        let held = self.lock();
        let mut of_it = held.iter().flatten().filter(|((of, root), _)| of == target && is_it(root));
        of_it.any(|(_, found)| found.at.is_some_and(|at| age_ms(at, now) <= VIEW_MAX_AGE_MS))
    }
}

/// The looks beside the start of `watch`, on a thread of their own.
#[derive(Debug, Default)]
pub(super) struct ViewCheckThread(Option<JoinHandle<()>>);

impl ViewCheckThread {
    /// Compares every target with every root.
    pub(super) fn begin(ctx: &Arc<PipelineContext>) -> Self {
        let ctx = Arc::clone(ctx);
        let looks = std::thread::Builder::new().name("views".into()).spawn(move || {
            let (ctx, ConfigSnapshot { targets, settings, .. }) = (&ctx.delivering, ctx.in_force());
            for target in targets.names() {
                let mut roots = settings.watch.roots.iter().map(|root| root.path.as_path());
                // One that does not answer would not answer for the next root either.
                while roots.next().is_some_and(|root| try_look(ctx, target, root).unwrap_or(false)) {}
            }
        });
        Self(looks.inspect_err(|error| warn!(error = chain(error), "no thread to compare targets with roots")).ok())
    }

    /// Waits for their end; they see the wish to stop.
    pub(super) fn join(&mut self) {
        if let Some(looks) = self.0.take() {
            let _ = looks.join();
        }
    }
}

/// Looks once more at what was found to be a view, before the first freeing of a run.
pub(super) fn look_again(ctx: &Delivering) -> Result<(), CatalogError> {
    let views: Vec<TargetView> = ctx.views.all(ctx)?.into_iter().filter(|viewed| !viewed.is_apart).collect();
    let targets = ctx.config.targets();
    for TargetView { target, root, .. } in views {
        if targets.names().any(|name| name == target) {
            look(ctx, &target, &root);
        } else {
            note(ctx, &target, &root, None)?;
        }
    }
    Ok(())
}

/// Compares a target with a root for freeing; whether it answered.
pub(super) fn look(ctx: &Delivering, target: &str, root: &Path) -> bool {
    try_look(ctx, target, root).unwrap_or_else(|error| {
        confirming::note_silence(ctx, target, &error);
        false
    })
}

/// Compares a target with a root unless that was done lately; `false` if it cannot be asked now.
fn try_look(ctx: &Delivering, target: &str, root: &Path) -> Result<bool, DeliverError> {
    let _one_at_a_time = ctx.views.looking.lock().unwrap_or_else(PoisonError::into_inner);
    if ctx.views.is_fresh(target, ctx.clock.now(), |known| known == root) {
        return Ok(true);
    }
    let waits = ctx.target_waits_until(target).is_some() || ctx.answers.is_silent(target, ctx.clock.now());
    if waits || ctx.stop.is_requested() || !roots::is_available(&ctx.roots, root) {
        return Ok(false);
    }
    let mut among = vec![root.to_owned()];
    // One search beneath all roots is enough for a target.
    if !ctx.views.is_fresh(target, ctx.clock.now(), |_| true) {
        let settings = ctx.config.settings();
        among.extend(settings.watch.roots.iter().map(|other| other.path.clone()).filter(|other| other != root));
    }
    let shown = ctx.config.targets().shows(target, root, &among, &ctx.stop, &ctx.catalog).inspect_err(|error| {
        debug!(target_name = target, root = %printable(root), error = chain(error), "target not compared with the root");
    })?;
    note_all(ctx, target, root, &shown);
    Ok(true)
}

fn note_all(ctx: &Delivering, target: &str, root: &Path, shown: &[VisibleRoot]) {
    let mut noted = shown.iter().try_for_each(|shown| note(ctx, target, &shown.root, Some(&shown.seen)));
    if shown.iter().all(|shown| shown.root != root) {
        noted = noted.and_then(|()| note(ctx, target, root, None));
    }
    if let Err(error) = noted {
        warn!(error = chain(&error), "cannot record which roots a target shows");
    }
}

/// Notes what was found of a target and a root, `seen` if it is a view; said where it is news.
fn note(ctx: &Delivering, target: &str, root: &Path, seen: Option<&str>) -> Result<(), CatalogError> {
    let key = (target.to_owned(), root.to_owned());
    let found = ViewState { is_apart: seen.is_none(), at: Some(ctx.clock.now()) };
    let before = ctx.views.read(ctx)?.get_or_insert_default().insert(key, found);
    let row =
        format!("{ROWS}{}", blake3::hash(&[target.as_bytes(), root.as_os_str().as_encoded_bytes()].join(&0)).to_hex());
    let was_view = before.as_ref().is_some_and(|before| !before.is_apart);
    let is_said = was_view && before.is_some_and(|before| before.at.is_some());
    match seen {
        Some(seen) => {
            if !is_said {
                let hint = "Copies in this target free no files of this root; uploads continue. Point the target \
                            at storage that does not lead to the recordings.";
                error!(target_name = target, root = %printable(root), seen, hint, "target is another view of the recording directory");
            }
            let row_of = ViewRow { target: target.to_owned(), root: root.to_owned(), seen: seen.to_owned() };
            if !was_view {
                ctx.catalog.put_ledger(&row, &serde_json::to_value(row_of).unwrap_or_default())?;
            }
        }
        None if was_view => {
            info!(target_name = target, root = %printable(root), "target is separate from the recording directory again");
            ctx.catalog.remove_ledger(&row)?;
        }
        None => {}
    }
    Ok(())
}
