//! What couriers sleep on, and who carries what.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pauses::{CourierState, shares};
use crate::deliver;
use crate::recording::Delivery;

/// Wakes sleeping couriers, and whoever waits for them to have nothing to do.
#[derive(Debug, Default)]
pub struct CourierNotify {
    state: Mutex<CourierState>,
    notified: Condvar,
    /// Deliveries that are left alone while their root is paused, by that root.
    held: Mutex<HashMap<PathBuf, BTreeSet<String>>>,
}

impl CourierNotify {
    /// Shares the couriers among the targets of these settings; those that are too many end. Returns how many are lacking.
    pub fn share(&self, settings: &deliver::DeliverOptions) -> usize {
        let mut state = self.lock();
        (state.wanted, state.at_once) = shares(settings.concurrency, settings.targets.len());
        state.notifications = state.notifications.wrapping_add(1);
        self.notified.notify_all();
        state.wanted.saturating_sub(state.running)
    }

    /// Something may be due now.
    pub fn notify(&self) {
        let mut state = self.lock();
        state.notifications = state.notifications.wrapping_add(1);
        self.notified.notify_all();
    }

    /// No courier takes anything more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.notify();
    }

    /// Until when a target waits, milliseconds since the Unix epoch.
    pub fn paused_until(&self, target: &str) -> Option<i64> {
        self.lock().paused.get(target).copied()
    }

    /// Forgets that targets wait, after a reload or when an operator asks for a retry.
    pub fn resume_targets(&self) {
        self.lock().resume();
        self.notify();
    }

    /// Notes that a delivery is left alone while its root is paused.
    pub(super) fn hold(&self, delivery: &Delivery) {
        self.held().entry(delivery.asset.root.clone()).or_default().insert(delivery.id.clone());
    }

    /// Roots whose deliveries are left alone.
    pub(super) fn held_roots(&self) -> Vec<PathBuf> {
        self.held().keys().cloned().collect()
    }

    /// Ids of the deliveries of a root that were left alone, once.
    pub(super) fn let_go(&self, root: &Path) -> BTreeSet<String> {
        self.held().remove(root).unwrap_or_default()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<PathBuf, BTreeSet<String>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How things stand now.
    pub(super) fn at(&self, now_ms: i64) -> CourierState {
        let mut state = self.lock();
        state.end_pauses(now_ms);
        state.clone()
    }

    /// The same for a courier; `None` if it is to end.
    pub(super) fn enter(&self, now_ms: i64, is_stopped: bool) -> Option<CourierState> {
        let mut state = self.lock();
        if state.closed || is_stopped || state.running > state.wanted {
            state.running = state.running.saturating_sub(1);
            return None;
        }
        drop(state);
        Some(self.at(now_ms))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CourierState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something is notified, or for so long.
    pub(super) fn nap<'a>(
        &'a self,
        state: MutexGuard<'a, CourierState>,
        longest: Duration,
    ) -> MutexGuard<'a, CourierState> {
        let woken = self.notified.wait_timeout(state, longest);
        woken.map_or_else(|e| e.into_inner().0, |(guard, _)| guard)
    }
}
