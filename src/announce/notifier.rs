//! Waiting for events: woken by the catalogue when it has written some, so that nobody polls.

use std::time::Duration;

use tokio::sync::watch;

use crate::catalog::{CatalogError, SharedCatalog};
use crate::runtime::Runtime;
use crate::stop::Stop;

/// How long the transition that wrote an event is given to make it durable itself; then the reader does.
const DURABLE_BY_ITSELF: Duration = Duration::from_millis(20);

/// Wakes whoever waits for events.
#[derive(Debug, Clone)]
pub struct EventNotifier {
    shared: SharedCatalog,
    told: watch::Sender<()>,
}

impl EventNotifier {
    /// Hears of every event that this catalogue writes from now on.
    pub fn of(shared: &SharedCatalog) -> Self {
        let told = watch::Sender::new(());
        let tell = told.clone();
        shared.when_heard(move || {
            let _ = tell.send(());
        });
        Self { shared: shared.clone(), told }
    }

    /// A listener of one's own.
    pub fn listen(&self) -> EventListener {
        EventListener { shared: self.shared.clone(), told: self.told.subscribe() }
    }
}

/// Waits for events.
#[derive(Debug)]
pub struct EventListener {
    shared: SharedCatalog,
    told: watch::Receiver<()>,
}

impl EventListener {
    /// The same on a thread that may wait; says whether there are events, and not a stop.
    pub fn wait_after(&mut self, sequence: u64, runtime: &Runtime, stop: &Stop) -> Result<bool, CatalogError> {
        runtime.block_on(async {
            tokio::select! {
                heard = self.after(sequence) => heard.map(|()| true),
                () = stop.requested() => Ok(false),
            }
        })
    }

    /// Returns when there are events after a sequence number, and reading them is not likely to wait for the disk.
    pub async fn after(&mut self, sequence: u64) -> Result<(), CatalogError> {
        let mut until = None;
        loop {
            self.told.mark_unchanged();
            let (last, durable) = self.shared.end_of_events()?;
            if durable > sequence {
                return Ok(());
            }
            if last <= sequence {
                let _ = self.told.changed().await;
                continue;
            }
            let until = *until.get_or_insert_with(|| tokio::time::Instant::now() + DURABLE_BY_ITSELF);
            if tokio::time::timeout_at(until, self.told.changed()).await.is_err() {
                return Ok(());
            }
        }
    }
}
