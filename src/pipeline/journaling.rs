//! The context of what journals: how far each recording has come, and what waits because of it.

use std::sync::{Arc, Mutex, RwLock};

use super::active_config::ActiveConfig;
use super::handles::Handles;
use super::postponing::Postponements;
use super::roots::Roots;
use super::teaching::SalvageWaiters;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::stop::Stop;

/// What it takes to journal a recording's steps.
#[derive(Debug)]
pub struct Journaling {
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) stop: Stop,
    pub(super) config: ActiveConfig,
    pub(super) roots: Arc<Roots>,
    /// Other nodes, which may know how a stream is coded.
    pub(super) fleet: Option<Fleet>,
    /// Serialises the choice of a final name and its reservation.
    pub(super) naming: Mutex<()>,
    /// Crashed recordings that wait for a sound one of their stream.
    pub(super) waiting: SalvageWaiters,
    /// Recordings that came too far to begin again and cannot go on yet.
    pub(super) postponed: Postponements,
    /// Shared by recordings under way; one that the process died of once has it to itself.
    pub(super) isolation: RwLock<()>,
}

impl Journaling {
    pub(super) fn of(handles: &Handles) -> Self {
        Self {
            catalog: handles.catalog.clone(),
            clock: handles.clock.clone(),
            stop: handles.stop.clone(),
            config: handles.config.clone(),
            roots: Arc::clone(&handles.roots),
            fleet: handles.fleet.clone(),
            naming: Mutex::default(),
            waiting: SalvageWaiters::default(),
            postponed: Postponements::default(),
            isolation: RwLock::default(),
        }
    }
}
