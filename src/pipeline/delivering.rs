//! The context of what delivers: the targets in force, the queue, and what the stores have said of their copies.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use super::active_config::ActiveConfig;
use super::confirming::ConfirmationCache;
use super::courier_notify::CourierNotify;
use super::handles::Handles;
use super::meters::Meters;
use super::roots::Roots;
use super::views::Views;
use crate::catalog::{Catalog, CatalogError};
use crate::clock::Clock;
use crate::fault::chain;
use crate::fleet::Fleet;
use crate::stop::Stop;

/// What it takes to queue, send and confirm copies.
#[derive(Debug)]
pub struct Delivering {
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) stop: Stop,
    pub(super) config: ActiveConfig,
    pub(super) roots: Arc<Roots>,
    /// Other nodes, which may deliver to the same stores.
    pub(super) fleet: Option<Fleet>,
    pub(super) meters: Arc<Meters>,
    /// Wakes the couriers when something may be due.
    pub(super) courier_notify: CourierNotify,
    /// What the stores have answered about their copies.
    pub(super) answers: ConfirmationCache,
    /// Which targets are another view of a root.
    pub(super) views: Views,
}

impl Delivering {
    pub(super) fn of(handles: &Handles, meters: &Arc<Meters>) -> Self {
        Self {
            catalog: handles.catalog.clone(),
            clock: handles.clock.clone(),
            stop: handles.stop.clone(),
            config: handles.config.clone(),
            roots: Arc::clone(&handles.roots),
            fleet: handles.fleet.clone(),
            meters: Arc::clone(meters),
            courier_notify: CourierNotify::default(),
            answers: ConfirmationCache::default(),
            views: Views::default(),
        }
    }

    /// Until when a target waits after a fault of its surroundings, milliseconds since the Unix epoch.
    pub fn target_waits_until(&self, target: &str) -> Option<i64> {
        self.courier_notify.paused_until(target).filter(|until| *until > self.clock.now_ms())
    }

    /// Forgets that targets wait after such a fault, and tries at once what failed by it.
    pub(super) fn resume_targets(&self) {
        self.bring_back();
        self.courier_notify.resume_targets();
    }

    /// What failed in an earlier run by a fault of a target's surroundings is due now. Which targets wait stays as it is.
    pub(super) fn bring_back(&self) {
        if let Err(error) = self.catalog.bring_back(self.clock.now_ms()) {
            warn!(error = chain(&error), "cannot read the delivery queue");
        }
        self.courier_notify.notify();
    }

    /// The targets that are another view of a root, with that root.
    pub fn shown_roots(&self) -> Result<Vec<(String, PathBuf)>, CatalogError> {
        let views = self.views.all(self)?.into_iter().filter(|viewed| !viewed.is_apart);
        let mut shown: Vec<_> = views.map(|viewed| (viewed.target, viewed.root)).collect();
        shown.sort_unstable();
        Ok(shown)
    }
}
