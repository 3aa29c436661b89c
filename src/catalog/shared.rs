//! What exists: VoD records and the events that led to them. It may be the same on every node that shares a catalogue.
//!
//! This face is all that others see of it, so that something else can stand behind it: a replica made from the event log, say.
//! It must not be asked about work under way.

use std::sync::Arc;

use super::inner::Inner;
use super::store::Store;

/// The shareable part of an open catalogue.
#[derive(Debug, Clone)]
pub struct Shared(pub(super) Arc<Inner>);

impl Shared {
    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }
}
