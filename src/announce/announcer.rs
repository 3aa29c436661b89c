//! All endpoints: which there are, that they work while the daemon does, and what is asked of them from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::endpoint::Endpoint;
use super::error::AnnounceError;
use super::notifier::EventNotifier;
use super::options::{AnnounceOptions, EndpointOptions};
use crate::catalog::{CatalogError, SharedCatalog};
use crate::clock::Clock;
use crate::fault::chain;
use crate::runtime::Runtime;
use crate::stop::Stop;

/// How often it is looked whether the endpoints have anything to do.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The endpoints of the configuration in force.
#[derive(Debug)]
pub struct Announcer {
    shared: SharedCatalog,
    runtime: Runtime,
    stop: Stop,
    clock: Clock,
    appended: EventNotifier,
    inner: Mutex<AnnouncerState>,
}

#[derive(Debug, Default)]
struct AnnouncerState {
    hold: Duration,
    running: BTreeMap<String, RunningEndpoint>,
    has_begun: bool,
}

#[derive(Debug)]
struct RunningEndpoint {
    endpoint: Arc<Endpoint>,
    stop: Stop,
    task: Option<JoinHandle<()>>,
}

/// Whether an endpoint is to see the local file of a VoD and is not done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwaitedBy {
    /// None is; the file may go.
    Nobody,
    /// This one is.
    Endpoint(String),
    /// This one is, but has been for too long; the file may go.
    Overdue(String),
}

impl AwaitedBy {
    /// The endpoint that the file must stay for.
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint),
            Self::Nobody | Self::Overdue(_) => None,
        }
    }
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The endpoint, by the name under which its place is kept.
    pub endpoint: String,
    /// The first event that is looked at again.
    pub from: u64,
    /// The last event there is.
    pub last: u64,
}

impl Announcer {
    /// None works before [`Announcer::begin`]. An error if the catalogue cannot be read.
    pub fn new(
        shared: &SharedCatalog,
        runtime: &Runtime,
        stop: &Stop,
        clock: &Clock,
        options: &AnnounceOptions,
    ) -> Result<Self, CatalogError> {
        let announcer = Self {
            shared: shared.clone(),
            runtime: runtime.clone(),
            stop: stop.clone(),
            clock: clock.clone(),
            appended: EventNotifier::of(shared),
            inner: Mutex::default(),
        };
        announcer.adjust(options)?;
        Ok(announcer)
    }

    fn lock(&self) -> MutexGuard<'_, AnnouncerState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To wait for events.
    pub const fn appended(&self) -> &EventNotifier {
        &self.appended
    }

    /// Begins to send, once, and forgets the places of endpoints that are not configured any more.
    pub fn begin(&self) -> Result<(), CatalogError> {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.has_begun, true) {
            return Ok(());
        }
        for running in inner.running.values() {
            running.endpoint.enter()?;
        }
        for running in inner.running.values_mut() {
            self.start(running, None);
        }
        self.forget_others(&inner)
    }

    /// Puts other settings in force: endpoints that are new begin with what happens from now on, those that were changed go on where
    /// they are and are tried at once.
    pub fn adjust(&self, options: &AnnounceOptions) -> Result<(), CatalogError> {
        let mut inner = self.lock();
        let all = EndpointOptions::all(options);
        let mut opened = self.opened(&all, &inner)?;
        inner.hold = options.hold;
        let mut before = std::mem::take(&mut inner.running);
        for consumer in all.iter().map(EndpointOptions::consumer) {
            let former = before.remove(&consumer);
            let (mut running, former) = match (opened.remove(&consumer), former) {
                (Some(endpoint), former) => (RunningEndpoint { endpoint, stop: self.stop.part(), task: None }, former),
                (None, Some(same)) => {
                    same.endpoint.forgive();
                    (same, None)
                }
                // It is opened or it was there.
                (None, None) => continue,
            };
            if inner.has_begun && running.task.is_none() {
                self.start(&mut running, former);
            }
            inner.running.insert(consumer, running);
        }
        for gone in before.values() {
            gone.stop.request();
        }
        if inner.has_begun { self.forget_others(&inner) } else { Ok(()) }
    }

    /// Opens the endpoints that are new or were changed. All that can fail is done here, before anything is replaced: a local file
    /// that an endpoint of before is to see must not be freed because another one could not be added.
    fn opened(
        &self,
        all: &[EndpointOptions],
        inner: &AnnouncerState,
    ) -> Result<BTreeMap<String, Arc<Endpoint>>, CatalogError> {
        let mut opened = BTreeMap::new();
        for means in all {
            let consumer = means.consumer();
            let endpoint = match inner.running.get(&consumer) {
                Some(same) if same.endpoint.means == *means => Arc::clone(&same.endpoint),
                _ => {
                    let endpoint = Arc::new(Endpoint::open(means.clone(), &self.shared, &self.clock)?);
                    opened.insert(consumer, Arc::clone(&endpoint));
                    endpoint
                }
            };
            if inner.has_begun {
                endpoint.enter()?;
            }
        }
        Ok(opened)
    }

    /// The former one ends before this one begins, so that a recording has one request under way. It has a place in the log.
    fn start(&self, running: &mut RunningEndpoint, former: Option<RunningEndpoint>) {
        let (endpoint, stop) = (Arc::clone(&running.endpoint), running.stop.clone());
        let listener = self.appended.listen();
        running.task = Some(self.runtime.handle().spawn(async move {
            if let Some(RunningEndpoint { stop, task: Some(task), .. }) = former {
                stop.request();
                let _ = task.await;
                // It may have come further than was noted when this one was opened.
                endpoint.reopen();
            }
            endpoint.run(stop, listener).await;
        }));
    }

    fn forget_others(&self, inner: &AnnouncerState) -> Result<(), CatalogError> {
        for consumer in self.shared.event_consumers()? {
            if EndpointOptions::is_consumer(&consumer.name) && !inner.running.contains_key(&consumer.name) {
                info!(endpoint = consumer.name, "no longer configured; its place in the event log is forgotten");
                self.shared.remove_consumer(&consumer.name)?;
            }
        }
        Ok(())
    }

    /// Whether an endpoint is to see the local file of a VoD that was catalogued then, and is not done with it. Blocks.
    pub fn awaits(&self, vod_id: &str, vod_ms: i64, now_ms: i64) -> Result<AwaitedBy, CatalogError> {
        let (hold, endpoints) = self.endpoints();
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        let mut awaits = AwaitedBy::Nobody;
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.means.sees_local_files()) {
            match endpoint.oldest_of(vod_id, vod_ms)? {
                Some(since_ms) if now_ms.saturating_sub(since_ms) < hold_ms => {
                    return Ok(AwaitedBy::Endpoint(endpoint.consumer.clone()));
                }
                Some(_) => awaits = AwaitedBy::Overdue(endpoint.consumer.clone()),
                None => {}
            }
        }
        Ok(awaits)
    }

    fn endpoints(&self) -> (Duration, Vec<Arc<Endpoint>>) {
        let inner = self.lock();
        (inner.hold, inner.running.values().map(|running| Arc::clone(&running.endpoint)).collect())
    }

    /// Waits until every event was tried that can be tried now, or a stop is requested. Returns at once if none is sent here.
    pub fn wait_until_tried(&self, stop: &Stop) -> Result<(), CatalogError> {
        let endpoints = if self.lock().has_begun { self.endpoints().1 } else { Vec::new() };
        for endpoint in endpoints {
            while !stop.is_requested() && !endpoint.is_idle()? {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    /// Sends events again, from one on, to an endpoint that is named as `webhook/NAME`, `command/NAME` or NAME.
    pub fn replay(&self, name: &str, from: u64) -> Result<Replayed, AnnounceError> {
        let (endpoints, has_begun) = (self.endpoints().1, self.lock().has_begun);
        let is_named = |endpoint: &&Arc<Endpoint>| {
            endpoint.consumer == name || endpoint.consumer.split_once('/').is_some_and(|(_, own)| own == name)
        };
        let endpoint = endpoints.iter().find(is_named).ok_or_else(|| AnnounceError::NoSuchEndpoint(name.to_owned()))?;
        let from = from.max(self.shared.first_event()?);
        endpoint.rewind(from.saturating_sub(1), has_begun)?;
        Ok(Replayed { endpoint: endpoint.consumer.clone(), from, last: self.shared.end_of_events()?.0 })
    }

    /// Each endpoint with the events that it is not done with, as far as they are read, and its failures in a row.
    pub fn loads(&self) -> Vec<(String, usize, u32)> {
        let load = |endpoint: &Arc<Endpoint>| {
            let (open, failures) = endpoint.load_now();
            (endpoint.consumer.clone(), open, failures)
        };
        self.endpoints().1.iter().map(load).collect()
    }

    /// Ends all of them and waits for it.
    pub fn join(&self) {
        let running = std::mem::take(&mut self.lock().running);
        for running in running.values() {
            running.stop.request();
        }
        for task in running.into_values().filter_map(|running| running.task) {
            if let Err(error) = self.runtime.block_on(task) {
                warn!(error = chain(&error), "an endpoint failed; please report it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::options::WebhookOptions;
    use super::*;
    use crate::catalog::{Catalog, room};
    use crate::fault::Class;

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// An endpoint where nobody listens.
    fn nowhere() -> AnnounceOptions {
        AnnounceOptions {
            webhooks: vec![WebhookOptions::new("nowhere", "http://127.0.0.1:1/")],
            ..AnnounceOptions::default()
        }
    }

    #[test]
    fn failures_and_events_that_were_not_taken_are_remembered_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::start().unwrap();
        {
            let catalog = Catalog::open(dir.path()).unwrap();
            let announcer =
                Announcer::new(catalog.shared(), &runtime, &Stop::default(), &Clock::default(), &nowhere()).unwrap();
            catalog.target_paused("before", Class::Environment, "x", 1).unwrap();
            announcer.begin().unwrap();
            catalog.target_paused("after", Class::Environment, "x", 1).unwrap();
            until("two attempts failed", || announcer.loads()[0].2 >= 2);
            announcer.wait_until_tried(&Stop::default()).unwrap();
            announcer.join();
        }
        let catalog = Catalog::open(dir.path()).unwrap();
        let announcer =
            Announcer::new(catalog.shared(), &runtime, &Stop::default(), &Clock::default(), &nowhere()).unwrap();
        assert!(announcer.loads()[0].2 >= 2, "{:?}", announcer.loads());
        announcer.begin().unwrap();
        until("it is read again", || announcer.loads()[0].1 == 1);
        announcer.join();
        let none = Announcer::new(
            catalog.shared(),
            &runtime,
            &Stop::default(),
            &Clock::default(),
            &AnnounceOptions::default(),
        )
        .unwrap();
        none.begin().unwrap();
        assert_eq!(catalog.shared().event_consumers().unwrap(), [], "its place is forgotten with its settings");
    }

    #[test]
    fn what_cannot_be_added_takes_away_no_endpoint_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::start().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let announcer =
            Announcer::new(catalog.shared(), &runtime, &Stop::default(), &Clock::default(), &nowhere()).unwrap();
        announcer.begin().unwrap();
        let mut both = nowhere();
        both.webhooks.insert(0, WebhookOptions::new("new", "http://127.0.0.1:1/"));
        let names = || announcer.loads().into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        room::leave(Some(0));
        assert!(matches!(announcer.adjust(&both), Err(CatalogError::NoRoom { .. })));
        room::leave(None);
        assert_eq!(names(), ["webhook/nowhere"]);
        announcer.adjust(&both).unwrap();
        assert_eq!(names(), ["webhook/new", "webhook/nowhere"]);
        announcer.join();
    }

    #[test]
    fn an_endpoint_is_named_with_and_without_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, catalog) = (Runtime::start().unwrap(), Catalog::open(dir.path()).unwrap());
        let announcer =
            Announcer::new(catalog.shared(), &runtime, &Stop::default(), &Clock::default(), &nowhere()).unwrap();
        for target in ["a", "b", "c"] {
            catalog.target_paused(target, Class::Environment, "x", 1).unwrap();
        }
        for name in ["nowhere", "webhook/nowhere"] {
            let replayed = announcer.replay(name, 2).unwrap();
            assert_eq!((replayed.endpoint.as_str(), replayed.from, replayed.last), ("webhook/nowhere", 2, 3));
        }
        assert_eq!(catalog.shared().consumer("webhook/nowhere").unwrap(), Some((1, None)));
        assert!(matches!(announcer.replay("command/nowhere", 2), Err(AnnounceError::NoSuchEndpoint(_))));
        assert!(!announcer.endpoints().1[0].is_idle().unwrap(), "two events are to be sent");
    }
}
