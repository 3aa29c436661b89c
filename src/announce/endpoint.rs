//! One endpoint at work: reads the log into its window, tries what may be tried, and notes how far it has come.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use super::error::AnnounceError;
use super::filter::EventFilter;
use super::message::{self, Metadata};
use super::notifier::EventListener;
use super::options::{BodyFormat, EndpointOptions, WebhookOptions};
use super::window::{EventWindow, RetryDecision};
use super::{command, webhook};
use crate::catalog::{CatalogError, ConsumerStart, LoggedEvent, SharedCatalog};
use crate::clock::Clock;
use crate::fault::chain;
use crate::runtime;
use crate::stop::Stop;

/// Events read at once.
const PAGE: usize = 200;
/// How far an endpoint has come is noted at most so often, except for failures.
const NOTE_EVERY: Duration = Duration::from_millis(250);
/// How long attempts may take to end when the program ends; what has not ended is tried again at the next start.
const DRAIN: Duration = Duration::from_secs(3);
/// When it is looked again if the catalogue could not be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The longest time without a look, whatever is due.
const LONGEST_NAP: Duration = Duration::from_secs(300);

/// An endpoint and its place in the log.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub means: EndpointOptions,
    pub consumer: String,
    filter: EventFilter,
    shared: SharedCatalog,
    clock: Clock,
    /// Made for the first request.
    client: OnceLock<reqwest::Client>,
    /// `None` until it has a place in the log.
    window: Mutex<Option<EventWindow>>,
    noted: Mutex<SavedProgress>,
    nudge: Notify,
}

/// What the catalogue was told last.
#[derive(Debug, Default, PartialEq)]
struct SavedProgress {
    cursor: u64,
    memory: Option<serde_json::Value>,
}

impl Endpoint {
    /// As it left the catalogue; it has no place in the log before [`Endpoint::enter`].
    pub fn open(means: EndpointOptions, shared: &SharedCatalog, clock: &Clock) -> Result<Self, CatalogError> {
        let (consumer, filter) = (means.consumer(), EventFilter::of(&means));
        let endpoint = Self {
            means,
            consumer,
            filter,
            shared: shared.clone(),
            clock: clock.clone(),
            client: OnceLock::new(),
            window: Mutex::default(),
            noted: Mutex::default(),
            nudge: Notify::new(),
        };
        endpoint.load()?;
        Ok(endpoint)
    }

    fn load(&self) -> Result<(), CatalogError> {
        let Some((cursor, memory)) = self.shared.consumer(&self.consumer)? else { return Ok(()) };
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = SavedProgress { cursor, memory: memory.clone() };
        *self.lock() = Some(EventWindow::new(cursor, memory));
        Ok(())
    }

    /// Begins where another one of its name has ended.
    pub fn reopen(&self) {
        self.load().unwrap_or_else(|error| self.unnoted(&error));
        self.with(EventWindow::forgive);
    }

    /// Gives it a place in the log, from now on if it has none.
    pub fn enter(&self) -> Result<(), CatalogError> {
        if self.lock().is_some() {
            return Ok(());
        }
        self.shared.add_consumer(&self.consumer, ConsumerStart::Now)?;
        self.load()
    }

    fn client(&self, options: &WebhookOptions) -> Result<&reqwest::Client, AnnounceError> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => webhook::client(options.timeout).map(|client| self.client.get_or_init(|| client)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<EventWindow>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut EventWindow) -> T) -> Option<T> {
        self.lock().as_mut().map(act)
    }

    /// Forgets its failures: what it failed by may have been changed.
    pub fn forgive(&self) {
        self.with(EventWindow::forgive);
        self.nudge.notify_one();
    }

    /// Sends everything after an event again; at once if nothing works here.
    pub fn rewind(&self, cursor: u64, is_running: bool) -> Result<(), CatalogError> {
        self.enter()?;
        self.with(|window| window.rewind(cursor));
        if is_running {
            self.nudge.notify_one();
            return Ok(());
        }
        self.with(EventWindow::apply_rewind);
        self.note(true)
    }

    /// When the oldest event of a VoD was written that it is not done with. An endpoint that is too far behind to tell has one as
    /// old as the VoD. Blocks.
    pub fn oldest_of(&self, vod_id: &str, vod_ms: i64) -> Result<Option<i64>, CatalogError> {
        let is_behind = self.fill()?;
        Ok(self.with(|window| window.oldest_of(vod_id).or(is_behind.then_some(vod_ms))).flatten())
    }

    /// Whether there is nothing it could do now. Blocks.
    pub fn is_idle(&self) -> Result<bool, CatalogError> {
        self.fill()?;
        Ok(self.with(|window| window.is_idle(self.clock.now_ms())).unwrap_or(true))
    }

    /// Events that it is not done with, as far as they are read, and its failures in a row.
    pub fn load_now(&self) -> (usize, u32) {
        self.with(|window| window.load()).unwrap_or_default()
    }

    /// Reads what there is room for; says whether there is more. Blocks.
    fn fill(&self) -> Result<bool, CatalogError> {
        loop {
            let mut guard = self.lock();
            let Some(window) = guard.as_mut() else { return Ok(false) };
            let (end, _) = self.shared.end_of_events()?;
            if window.read_to() >= end || window.room() == 0 {
                return Ok(window.read_to() < end);
            }
            let page = self.shared.events(window.read_to(), PAGE.min(window.room()))?;
            if page.lost > 0 {
                warn!(endpoint = self.consumer, lost = page.lost, "events were dropped before this endpoint got them");
            }
            for unreadable in &page.unreadable {
                warn!(endpoint = self.consumer, error = chain(unreadable), "an event cannot be read; it is not sent");
            }
            for LoggedEvent { sequence, at_ms, event } in &page.events {
                if self.filter.wants(event) {
                    window.add(*sequence, *at_ms, event);
                }
            }
            // Whatever the log lacks in between, a reader gets past it.
            window.pass(if page.next > window.read_to() || !page.events.is_empty() { page.next } else { end });
        }
    }

    /// Tells the catalogue how far it has come, if that is news. Blocks.
    fn note(&self, is_durable: bool) -> Result<(), CatalogError> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((cursor, memory)) = self.with(|window| window.to_note()) else { return Ok(()) };
        let news = SavedProgress { cursor, memory };
        if *noted != news {
            self.shared.note_consumer(&self.consumer, news.cursor, news.memory.as_ref(), is_durable)?;
            *noted = news;
        }
        Ok(())
    }

    /// Works until it is stopped, or the catalogue fails.
    pub async fn run(self: Arc<Self>, stop: Stop, mut listener: EventListener) {
        let mut under_way = JoinSet::new();
        let mut noted = Instant::now();
        while !stop.is_requested() {
            if let Err(error) = self.blocking(Self::fill).await {
                warn!(endpoint = self.consumer, error = chain(&error), "the event log cannot be read");
                tokio::select! {
                    () = stop.requested() => break,
                    () = tokio::time::sleep(LOOK_AGAIN) => continue,
                }
            }
            self.begin_attempts(&mut under_way, &stop);
            if noted.elapsed() >= NOTE_EVERY || under_way.is_empty() {
                self.blocking(|endpoint| endpoint.note(false)).await.unwrap_or_else(|error| self.unnoted(&error));
                noted = Instant::now();
            }
            let count = under_way.len();
            tokio::select! {
                () = stop.requested() => {}
                Some(ended) = under_way.join_next(), if count > 0 => self.hear(ended).await,
                () = self.something(&mut listener, count) => {}
                () = self.nudge.notified() => {}
            }
        }
        self.drain(under_way).await;
    }

    fn begin_attempts(self: &Arc<Self>, under_way: &mut JoinSet<AttemptOutcome>, stop: &Stop) {
        if under_way.is_empty() && self.with(EventWindow::apply_rewind) == Some(true) {
            self.nudge.notify_one();
        }
        while under_way.len() < self.means.concurrency()
            && let Some(sequence) = self.with(|window| window.next(self.clock.now_ms())).flatten()
        {
            let (endpoint, stop) = (Arc::clone(self), stop.clone());
            under_way.spawn(async move {
                let attempt = AssertUnwindSafe(endpoint.attempt(sequence, &stop)).catch_unwind();
                AttemptOutcome { sequence, outcome: attempt.await.unwrap_or(Err(AnnounceError::Panicked)) }
            });
        }
    }

    /// Returns when there may be something to do: an event was written, or the next attempt is due.
    async fn something(&self, listener: &mut EventListener, under_way: usize) {
        let at = |window: &mut EventWindow| (window.read_to(), window.room() > 0, window.due_ms(self.clock.now_ms()));
        let Some((read_to, has_room, due_ms)) = self.with(at) else { return std::future::pending().await };
        let due_ms = due_ms.filter(|_| under_way < self.means.concurrency());
        let nap = due_ms.map(|due_ms| Duration::from_millis(u64::try_from(due_ms - self.clock.now_ms()).unwrap_or(0)));
        tokio::select! {
            heard = listener.after(read_to), if has_room => if heard.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            },
            () = tokio::time::sleep(nap.unwrap_or(LONGEST_NAP).min(LONGEST_NAP)) => {}
        }
    }

    async fn attempt(self: Arc<Self>, sequence: u64, stop: &Stop) -> Result<(), AnnounceError> {
        let Some(logged) = self.blocking(move |endpoint| endpoint.read(sequence)).await? else {
            warn!(endpoint = self.consumer, sequence, "an event was dropped before this endpoint got it");
            return Ok(());
        };
        let id = message::id_of(&self.consumer, &logged);
        match &self.means {
            EndpointOptions::Command(options) => command::run(options, &logged, &id, stop).await,
            EndpointOptions::Webhook(options) => {
                let client = self.client(options)?;
                let metadata = match options.format {
                    BodyFormat::AntMedia => {
                        self.blocking({
                            let vod_id = logged.event.vod().map(|vod| vod.vod_id.clone());
                            move |endpoint| endpoint.metadata(vod_id.as_deref())
                        })
                        .await?
                    }
                    BodyFormat::Json | BodyFormat::Form => Metadata::new(),
                };
                let body = message::body_of(options, &logged, &metadata);
                let request = webhook::request(client, options, body, &id, self.clock.now_ms())?;
                tokio::select! {
                    sent = webhook::send(client, request) => sent,
                    () = stop.requested() => Err(AnnounceError::Stopped),
                }
            }
        }
    }

    /// What people wrote about a VoD by now; nothing if it is deleted.
    fn metadata(&self, vod_id: Option<&str>) -> Result<Metadata, CatalogError> {
        let vod = vod_id.map(|id| self.shared.vod(id)).transpose()?.flatten();
        Ok(vod.map(|vod| vod.metadata).unwrap_or_default())
    }

    fn read(&self, sequence: u64) -> Result<Option<LoggedEvent>, CatalogError> {
        let page = self.shared.events(sequence.saturating_sub(1), 1)?;
        Ok(page.events.into_iter().next().filter(|logged| logged.sequence == sequence))
    }

    async fn hear(self: &Arc<Self>, ended: Result<AttemptOutcome, tokio::task::JoinError>) {
        let Ok(AttemptOutcome { sequence, outcome }) = ended else { return };
        let is_news = match outcome {
            Ok(()) => {
                debug!(endpoint = self.consumer, sequence, "event sent");
                self.with(|window| window.done(sequence, self.clock.now_ms())).unwrap_or_default()
            }
            Err(AnnounceError::Stopped) => {
                self.with(|window| window.cut(sequence));
                false
            }
            Err(error) => {
                let failed = self.with(|window| window.failed(sequence, self.clock.now_ms()));
                self.say(sequence, &error, failed);
                true
            }
        };
        if is_news {
            self.blocking(|endpoint| endpoint.note(true)).await.unwrap_or_else(|error| self.unnoted(&error));
        }
    }

    fn say(&self, sequence: u64, failure: &AnnounceError, failed: Option<RetryDecision>) {
        let endpoint = self.consumer.as_str();
        match failed {
            Some(RetryDecision::Again { failures, due_ms }) => {
                let due = crate::recording::name::format_time(due_ms, &jiff::tz::TimeZone::UTC, "%Y-%m-%dT%H:%M:%SZ");
                let retry = due.unwrap_or_default();
                warn!(endpoint, sequence, failures, retry, error = chain(failure), "event not taken; retrying later");
            }
            Some(RetryDecision::GivenUp) => {
                error!(
                    endpoint,
                    sequence,
                    error = chain(failure),
                    "event given up: the endpoint took others, but never this one"
                );
            }
            Some(RetryDecision::Forgotten) | None => {}
        }
    }

    fn unnoted(&self, error: &CatalogError) {
        warn!(
            endpoint = self.consumer,
            error = chain(error),
            "cannot note which events were sent; some may be sent again"
        );
    }

    /// Lets attempts end that are about to, and cuts the others.
    async fn drain(self: &Arc<Self>, mut under_way: JoinSet<AttemptOutcome>) {
        let all = async {
            while let Some(ended) = under_way.join_next().await {
                self.hear(ended).await;
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            info!(endpoint = self.consumer, "attempts under way are cut; they are repeated at the next start");
        }
        under_way.shutdown().await;
        self.blocking(|endpoint| endpoint.note(false)).await.unwrap_or_else(|error| self.unnoted(&error));
    }

    /// Does something that waits for the disk beside the threads of the runtime.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let endpoint = Arc::clone(self);
        runtime::blocking(move || work(&endpoint)).await
    }
}

/// How an attempt ended.
#[derive(Debug)]
struct AttemptOutcome {
    sequence: u64,
    outcome: Result<(), AnnounceError>,
}
