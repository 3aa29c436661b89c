//! Who is told that the event log has grown, or that more of it is durable.
//!
//! They are told on the thread that wrote, after its transaction: they must only wake somebody, and never wait.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

type CatalogListener = Arc<dyn Fn() + Send + Sync>;

/// The listeners of an open catalogue; nobody leaves before it is closed.
#[derive(Default)]
pub(super) struct Listeners(RwLock<Vec<CatalogListener>>);

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listeners")
    }
}

impl Listeners {
    pub(super) fn add(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    pub(super) fn tell(&self) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|listener| listener());
    }
}
