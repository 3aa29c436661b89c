//! The first scan of a root: `existing` decides what is taken of what was there before, and what is left out is remembered.
//!
//! What is found passes through one by one; only counts of it are held.

use std::path::{Path, PathBuf};

use serde_json::json;
use tracing::{info, warn};

use super::discovering::Discovering;
use crate::catalog::CatalogError;
use crate::discover::{Existing, ExistingSummary, Unit};
use crate::fault::chain;
use crate::recording::journey::Candidate;
use crate::recording::name::printable;

/// Candidates that are remembered as left out in one go.
const BATCH: usize = 500;

/// The first scan of one root.
pub(super) struct FirstScan<'a> {
    ctx: &'a Discovering,
    root: PathBuf,
    existing: Existing,
    taken: ExistingSummary,
    left_out: ExistingSummary,
    batch: Vec<Candidate>,
    failed: Option<CatalogError>,
}

impl<'a> FirstScan<'a> {
    /// Of a root that was never scanned before in this state directory; `None` for any other.
    pub(super) fn of(ctx: &'a Discovering, root: &Path) -> Option<Self> {
        if !matches!(ctx.catalog.ledger(&mark(root)), Ok(None)) {
            return None;
        }
        let (existing, root) = (ctx.config.settings().watch.existing, root.to_owned());
        let (taken, left_out) = (ExistingSummary::default(), ExistingSummary::default());
        Some(Self { ctx, root, existing, taken, left_out, batch: Vec::new(), failed: None })
    }

    /// Whether a candidate is taken; one that is not will be remembered.
    pub(super) fn takes(&mut self, candidate: &Candidate) -> bool {
        if self.existing.takes(candidate) {
            self.taken.add(candidate);
            return true;
        }
        self.left_out.add(candidate);
        self.batch.push(candidate.clone());
        if self.batch.len() >= BATCH {
            self.remember();
        }
        false
    }

    /// Whether a unit is taken.
    pub(super) fn takes_unit(&self, unit: &Unit) -> bool {
        self.existing.takes_unit(unit)
    }

    fn remember(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if self.failed.is_none() {
            self.failed = self.ctx.catalog.leave_out(&batch, self.ctx.clock.now_ms()).err();
        }
    }

    /// Says what was found, before any of it is touched, and remembers that the choice is made.
    pub(super) fn end(mut self) {
        self.remember();
        self.say();
        let mark = mark(&self.root);
        let noted = self.failed.map_or(Ok(()), Err);
        let noted =
            noted.and_then(|()| self.ctx.catalog.put_ledger(&mark, &json!({ "decidedMs": self.ctx.clock.now_ms() })));
        if let Err(error) = noted {
            warn!(error = chain(&error), "cannot record which files are left out");
        }
    }

    fn say(&self) {
        let root = printable(&self.root);
        for kind in &self.taken.kinds {
            let (files, bytes) = (kind.files, kind.size_bytes);
            info!(%root, kind = kind.kind, temporary = kind.is_temporary, files, bytes, "found on the first start; to be processed");
        }
        for kind in &self.left_out.kinds {
            let (files, bytes) = (kind.files, kind.size_bytes);
            info!(%root, kind = kind.kind, temporary = kind.is_temporary, files, bytes, "found on the first start; left out");
        }
        let settings = self.ctx.config.settings();
        let targets = settings.deliver.targets.len();
        info!(targets, uploads = %settings.deliver.upload_extensions, frees = %settings.retain.delete_local, "upload and retention policy");
    }
}

/// Remembers of a root that another node had that everything in it is taken: it is no backlog of this one.
pub(super) fn take_all(ctx: &Discovering, root: &Path) -> Result<(), CatalogError> {
    ctx.catalog.put_ledger(&mark(root), &json!({ "decidedMs": ctx.clock.now_ms() }))
}

fn mark(root: &Path) -> String {
    format!("existing/{}", root.to_string_lossy())
}
