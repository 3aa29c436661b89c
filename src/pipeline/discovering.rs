//! The context of what finds recordings: the roots, and what in them is not settled yet.

use std::sync::Arc;

use super::active_config::ActiveConfig;
use super::finding::ToldReadings;
use super::growing::Unsettled;
use super::handles::Handles;
use super::rescans::Rescans;
use super::roots::Roots;
use crate::catalog::Catalog;
use crate::clock::Clock;

/// What it takes to find recordings.
#[derive(Debug)]
pub struct Discovering {
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) config: ActiveConfig,
    pub(super) roots: Arc<Roots>,
    /// What was said of how roots are read.
    pub(super) told: ToldReadings,
    /// Scans that somebody asks the daemon for.
    pub rescans: Rescans,
    /// Recordings that the watching daemon knows and that are not settled.
    pub unsettled: Unsettled,
}

impl Discovering {
    pub(super) fn of(handles: &Handles) -> Self {
        Self {
            catalog: handles.catalog.clone(),
            clock: handles.clock.clone(),
            config: handles.config.clone(),
            roots: Arc::clone(&handles.roots),
            told: ToldReadings::default(),
            rescans: Rescans::default(),
            unsettled: Unsettled::default(),
        }
    }
}
