//! What exists: VoD records and the events that led to them. It may be the same on every node that shares a catalogue.
//!
//! This face is all that others see of it, so that something else can stand behind it: a replica made from the event log, say.
//! It must not be asked about work under way.

use std::sync::Arc;

use super::inner::CatalogInner;
use super::store::Database;

/// The shareable part of an open catalogue.
#[derive(Debug, Clone)]
pub struct SharedCatalog(pub(super) Arc<CatalogInner>);

impl SharedCatalog {
    pub(super) fn store(&self) -> &Database {
        &self.0.store
    }
}
