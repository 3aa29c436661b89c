//! This node as a member: one session after the other with the database, as long as the daemon runs, and what it is asked between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::claim::{self, Claimed, Identity};
use super::commands;
use super::connecting;
use super::counting::Counts;
use super::error::FleetError;
use super::feed;
use super::health::{FleetHealth, Health};
use super::inbox::Inbox;
use super::object_removal;
use super::options::FleetOptions;
use super::place::{CONSUMER, Place};
use super::replicate::{self, Batch};
use super::roots::RootTable;
use super::stream_configs;
use super::work::SharedWork;
use super::{schema, shared};
use crate::catalog::{CatalogError, SharedCatalog, node_id};
use crate::clock::Clock;
use crate::fault::{Fault as _, chain};
use crate::runtime::{self, Runtime};
use crate::stop::Stop;

/// How often a session that is still needed after a stop looks whether it is.
const STILL_NEEDED: Duration = Duration::from_millis(20);
/// When a session is tried again that ended or could not begin.
const RETRY: Duration = Duration::from_secs(2);
/// The longest time in which a change waits if nothing tells of it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often commands of other nodes are looked for.
const LOOK_FOR_COMMANDS: Duration = Duration::from_secs(1);
/// Questions under way at once; others are refused at once, so that none pile up behind a database that is slow.
const MOST_QUESTIONS: usize = 6;
/// The same for those who follow the events of all nodes: however many there are, people's questions have turns.
const MOST_FOLLOWERS: usize = 2;
/// Streams whose parameters are told at once.
const STREAMS_AT_ONCE: usize = 50;
/// How long a session may take to end when the program ends; what it had begun is told at the next start.
const DRAIN: Duration = Duration::from_secs(3);

/// This node among others.
#[derive(Debug, Clone)]
pub struct Fleet(pub(super) Arc<Member>);

/// Keeps the session with the database after a stop was requested, until it is dropped: what is held is given back before.
#[derive(Debug)]
pub struct NeededFleet(Arc<Member>);

impl Drop for NeededFleet {
    fn drop(&mut self) {
        self.0.needed_by.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub options: FleetOptions,
    /// Unknown as long as it cannot be read or made.
    pub node_id: OnceLock<String>,
    state_dir: PathBuf,
    /// Paths of the roots, and which applications they are.
    apps: BTreeMap<String, String>,
    pub shared: SharedCatalog,
    pub runtime: Runtime,
    pub clock: Clock,
    stop: Stop,
    /// Whether this process has had the identity.
    has_claimed: AtomicBool,
    pub health: Health,
    /// The roots of this node, and whose they are.
    pub(super) roots: RootTable,
    /// One permit for who looks at files of roots.
    pub(super) root_files: Arc<Semaphore>,
    /// Notified when there is a root more.
    pub(super) roots_changed: Notify,
    pub inbox: Inbox,
    /// Where other nodes say that their APIs are.
    pub addresses: Mutex<Vec<String>>,
    /// One permit for each question under way.
    pub questions: Semaphore,
    pub counts: Counts,
    /// One permit for each that follows events and asks for them now.
    pub followers: Semaphore,
    /// The last number that a batch of this process was sent with, also where no answer came.
    numbered: AtomicU64,
    /// Connections of the session, or of a command that asks without one.
    pub pool: Mutex<Option<Pool>>,
    changed: Arc<Notify>,
    /// How many still need the session although a stop was requested.
    needed_by: AtomicUsize,
    pub task: Mutex<Option<JoinHandle<()>>>,
}

/// Where a member lives.
#[derive(Debug, Clone, Copy)]
pub struct FleetHome<'a> {
    /// What it tells the others.
    pub shared: &'a SharedCatalog,
    /// The state directory.
    pub state_dir: &'a Path,
    /// Where it waits for the database.
    pub runtime: &'a Runtime,
    /// By which it tells ages.
    pub clock: &'a Clock,
    /// The wish to end.
    pub stop: &'a Stop,
}

/// Forgets what a fleet needs to know, where none is configured any more. If that fails, the next start tries again.
pub fn leave(shared: &SharedCatalog) {
    if let Err(error) = forget(shared) {
        let hint = error.hint().unwrap_or_default();
        warn!(error = chain(&error), hint, "cannot forget the fleet database; retrying at the next start");
    }
}

fn forget(shared: &SharedCatalog) -> Result<(), CatalogError> {
    // The place first: without it, everything is told again, whatever was changed without a mark.
    if shared.consumer(CONSUMER)?.is_some() {
        shared.remove_consumer(CONSUMER)?;
    }
    if shared.has_replica()? { shared.end_replica() } else { Ok(()) }
}

impl Fleet {
    /// A member that does nothing before [`Fleet::begin`] but answer; `None` if no database is configured. `apps` are the paths of the
    /// roots with the names of the applications that they are.
    pub fn open(options: &FleetOptions, apps: BTreeMap<String, String>, home: FleetHome<'_>) -> Option<Self> {
        if !options.is_on() {
            return None;
        }
        let member = Member {
            options: options.clone(),
            node_id: OnceLock::new(),
            state_dir: home.state_dir.to_owned(),
            apps,
            shared: home.shared.clone(),
            runtime: home.runtime.clone(),
            clock: home.clock.clone(),
            stop: home.stop.clone(),
            has_claimed: AtomicBool::new(false),
            health: Health::new(home.clock),
            inbox: Inbox::default(),
            addresses: Mutex::default(),
            questions: Semaphore::new(MOST_QUESTIONS),
            counts: Counts::default(),
            followers: Semaphore::new(MOST_FOLLOWERS),
            roots: RootTable::default(),
            root_files: Arc::new(Semaphore::new(1)),
            roots_changed: Notify::new(),
            numbered: AtomicU64::new(0),
            pool: Mutex::default(),
            changed: Arc::default(),
            needed_by: AtomicUsize::new(0),
            task: Mutex::default(),
        };
        // Recordings are worked on without it; the session tries again, and says why not.
        if let Err(error) = member.identify() {
            debug!(error = chain(&error), "the identity of this node is not known yet");
        }
        Some(Self(Arc::new(member)))
    }

    /// Begins to take part, once. Whether the database can be reached, or the state directory written to, makes no difference here.
    pub fn begin(&self) {
        let member = &self.0;
        let changed = Arc::clone(&member.changed);
        member.shared.when_heard(move || changed.notify_one());
        let running = Arc::clone(member);
        *lock(&member.task) = Some(member.runtime.handle().spawn(running.run()));
    }

    /// Waits for the end of the session after a stop was requested.
    pub fn join(&self) {
        if let Some(task) = lock(&self.0.task).take() {
            let _ended = self.0.runtime.block_on(async { tokio::time::timeout(DRAIN, task).await });
        }
    }

    /// Identity of this node; empty if it is not known.
    pub fn node_id(&self) -> &str {
        self.0.node_id.get().map_or("", String::as_str)
    }

    /// Where other nodes said lately that their HTTP interfaces are.
    pub fn addresses(&self) -> Vec<String> {
        lock(&self.0.addresses).clone()
    }

    /// How it stands to the others.
    pub fn health(&self) -> Result<FleetHealth, CatalogError> {
        let (member, (is_connected, problem, hint)) = (&self.0, self.0.health.words());
        let cursor = member.shared.consumer(CONSUMER)?.map_or(0, |(cursor, _)| cursor);
        Ok(FleetHealth {
            node_id: self.node_id().to_owned(),
            name: member.options.node_name(),
            is_connected,
            epoch: member.health.epoch(),
            problem,
            hint,
            waiting_vods: member.shared.count_marked()?,
            waiting_events: member.shared.last_event()?.saturating_sub(cursor),
        })
    }

    /// Has the session outlast a stop for as long as the answer lives.
    pub fn needed(&self) -> NeededFleet {
        self.0.needed_by.fetch_add(1, Ordering::SeqCst);
        NeededFleet(Arc::clone(&self.0))
    }

    /// Work that it shares with others.
    pub fn work(&self) -> SharedWork {
        SharedWork::of(&self.0)
    }
}

impl Member {
    /// Who acts here now: node and epoch; an error while the database has not confirmed that.
    pub fn acting(&self) -> Result<(String, i64), FleetError> {
        let acting = self.node_id.get().zip(self.health.acting_epoch());
        let unconfirmed = || FleetError::Away(self.health.words().1.unwrap_or_default());
        acting.map(|(node_id, epoch)| (node_id.clone(), epoch)).ok_or_else(unconfirmed)
    }

    /// Does something with a connection. One that did not answer in time is not used again. Blocks.
    pub fn with_client<T>(&self, ask: impl AsyncFnOnce(&mut Client) -> Result<T, FleetError>) -> Result<T, FleetError> {
        self.runtime.block_on(async { connecting::with(self.connection().await?, ask).await })
    }

    /// The identity of this node, which is made where there is none yet.
    fn identify(&self) -> Result<String, CatalogError> {
        match self.node_id.get() {
            Some(known) => Ok(known.clone()),
            None => node_id(&self.state_dir).map(|id| self.node_id.get_or_init(|| id).clone()),
        }
    }

    fn may_end(&self) -> bool {
        self.stop.is_requested() && self.needed_by.load(Ordering::SeqCst) == 0
    }

    /// Waits until a stop is asked for and nobody needs the session any more.
    async fn ending(&self) {
        self.stop.requested().await;
        while !self.may_end() {
            tokio::time::sleep(STILL_NEEDED).await;
        }
    }

    async fn run(self: Arc<Self>) {
        while !self.may_end() {
            match Box::pin(self.session()).await {
                Ok(()) => break,
                Err(error) => {
                    if matches!(error, FleetError::Superseded) {
                        self.health.hold(None);
                    }
                    self.health.lost(&error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.ending() => {}
            }
        }
    }

    /// From a connection to its end: an error, or the end of the program.
    async fn session(self: &Arc<Self>) -> Result<(), FleetError> {
        // Changes are marked from here on, also if the database cannot be reached.
        let node_id = self
            .blocking(|member| {
                member.shared.begin_replica()?;
                Ok(member.identify()?)
            })
            .await?;
        let pool = connecting::pool(&self.options)?;
        let place = self.enter(&pool, node_id).await?;
        // Before this node counts as connected: a root that another has adopted meanwhile is left alone from the first moment.
        self.enter_roots(&mut connecting::client(&pool).await?, &place.node_id, place.epoch).await?;
        *lock(&self.pool) = Some(pool.clone());
        self.health.connected(&self.options.node_name());
        let (node_id, epoch) = (place.node_id.clone(), place.epoch);
        let ended = tokio::select! {
            ended = self.confirm(&pool, &node_id, epoch) => ended,
            ended = self.replicate(&pool, place) => ended,
            ended = self.take_commands(&pool, (&node_id, epoch)) => ended,
            ended = Box::pin(self.sweep(&pool, (&node_id, epoch))) => ended,
            () = self.ending() => Ok(()),
        };
        if ended.is_ok() {
            self.release(&pool, (&node_id, epoch)).await;
        }
        *lock(&self.pool) = None;
        pool.close();
        ended
    }

    async fn release(&self, pool: &Pool, (node_id, epoch): (&str, i64)) {
        let released = async {
            let client = connecting::client(pool).await?;
            let unbegun = self.inbox.unbegun();
            if !unbegun.is_empty() {
                commands::give_back(&client, (node_id, epoch), &unbegun).await?;
            }
            shared::give_back_all(&client, (node_id, epoch)).await?;
            claim::release(&client, node_id, epoch).await
        };
        if let Err(error) = released.await {
            debug!(error = chain(&error), "cannot give back the identity of this node; it is free after 30 s");
        }
    }

    /// Brings the tables up to date, claims the identity or finds it still held, and finds out how far the database was told.
    async fn enter(self: &Arc<Self>, pool: &Pool, node_id: String) -> Result<Place, FleetError> {
        let client = schema::prepare(pool).await?;
        feed::take_in_restored(&client).await?;
        let database_id = claim::database_id(&client).await?;
        let mut place = self.blocking(|member| Ok(Place::load(&member.shared)?)).await?;
        let is_same_database = place.database_id == database_id;
        let is_same = is_same_database && place.node_id == node_id;
        let known_epoch = if is_same { place.epoch } else { 0 };
        let identity = Identity::of(node_id.clone(), &self.state_dir, &self.options, &self.apps);
        let sent = self.health.now();
        let (said, is_new) = if let Some(epoch) = self.health.epoch() {
            (claim::confirm(&client, &node_id, epoch).await?, false)
        } else {
            let claimed = claim::claim(&client, &identity, known_epoch).await?;
            // Not what this process has begun itself.
            if !self.has_claimed.swap(true, Ordering::AcqRel) {
                object_removal::take_all_back(&client, &node_id).await?;
            }
            (claimed, true)
        };
        self.health.lasts(claim::lease(&client).await?);
        let is_old_state = is_new && said.epoch > known_epoch.saturating_add(1);
        // It may have a batch more, whose answer was lost: that one is still marked here.
        let is_behind = said.batch < place.batch;
        let is_ahead = said.batch > place.batch;
        place.batch = place.batch.max(said.batch);
        let needs_all = !is_same || is_old_state || is_behind;
        if needs_all {
            say_why(is_same, is_old_state);
        }
        place.cursor = next_cursor(&place, said, (is_same_database, is_same && !is_old_state));
        place = Place { node_id, database_id, epoch: said.epoch, ..place };
        let place = self
            .blocking(move |member| {
                if needs_all {
                    let revision = member.shared.mark_all()?;
                    place = Place { resync: Some((place.epoch, revision)), ..place };
                }
                if is_ahead {
                    member.shared.count_all_as_told()?;
                }
                if needs_all || !place.tells_streams {
                    member.shared.mark_streams()?;
                    place.tells_streams = true;
                }
                place.save(&member.shared, true)?;
                Ok(place)
            })
            .await?;
        // Not before it is noted: an epoch that is noted nowhere makes the next session tell everything again.
        self.health.hold(Some(place.epoch));
        self.health.confirmed(sent);
        Ok(place)
    }

    /// Takes what other nodes ask of this one, and writes the answers, as long as the database takes them.
    async fn take_commands(&self, pool: &Pool, life: (&str, i64)) -> Result<(), FleetError> {
        if !self.inbox.is_served() {
            return std::future::pending().await;
        }
        let client = connecting::client(pool).await?;
        let answer = serde_json::json!({ "interrupted": true });
        commands::end_interrupted(&client, life, &answer).await?;
        self.inbox.put(commands::taken(&client, life).await?);
        loop {
            for (id, answer) in self.inbox.answers() {
                commands::answer(&client, life, &id, &answer).await?;
                self.inbox.forget(&id);
            }
            let room = i64::try_from(self.inbox.room()).unwrap_or(0);
            if room > 0 {
                self.inbox.put(commands::take(&client, life, room).await?);
            }
            tokio::select! {
                () = self.inbox.answered.notified() => {}
                () = tokio::time::sleep(LOOK_FOR_COMMANDS) => {}
            }
        }
    }

    /// Tells the database what changes, as long as it takes it.
    async fn replicate(self: &Arc<Self>, pool: &Pool, mut place: Place) -> Result<(), FleetError> {
        let mut client = connecting::client(pool).await?;
        loop {
            let cursor = place.cursor;
            let batch = self.blocking(move |member| Batch::read(&member.shared, cursor)).await?;
            if !batch.is_empty(&place) {
                let sent = self.health.now();
                let after = batch.send(&mut client, &place, self.next_number(&place)).await?;
                self.health.confirmed(sent);
                place = self
                    .blocking(move |member| {
                        batch.note(&member.shared, &after)?;
                        Ok(after)
                    })
                    .await?;
                continue;
            }
            if place.resync.is_some() {
                replicate::reconcile(&mut client, &place).await?;
                place.resync = None;
                let noted = place.clone();
                self.blocking(move |member| noted.save(&member.shared, true)).await?;
            }
            if self.tell_streams(&mut client, &place).await? {
                continue;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Tells the database how streams are coded, some at once. Says whether there was something to tell.
    async fn tell_streams(self: &Arc<Self>, client: &mut Client, place: &Place) -> Result<bool, FleetError> {
        let marked = self.blocking(|member| Ok(member.shared.marked_streams(STREAMS_AT_ONCE)?)).await?;
        if marked.is_empty() {
            return Ok(false);
        }
        stream_configs::tell(client, place, &marked).await?;
        self.blocking(move |member| Ok(member.shared.unmark_streams(&marked)?)).await?;
        Ok(true)
    }

    /// Not the one behind the place: a batch whose answer was lost may have it, in a database that comes back later.
    fn next_number(&self, place: &Place) -> u64 {
        self.numbered.fetch_max(place.batch, Ordering::SeqCst);
        self.numbered.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Does something that waits for the disk beside the threads of the runtime.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, FleetError> + Send + 'static,
    ) -> Result<T, FleetError> {
        let member = Arc::clone(self);
        runtime::blocking(move || work(&member)).await
    }
}

/// Where the event log is read from: behind what the database has, if it says that of this log.
fn next_cursor(place: &Place, said: Claimed, (is_same_database, is_same_log): (bool, bool)) -> u64 {
    match (is_same_database, is_same_log) {
        (true, true) => said.event,
        (true, false) => place.cursor,
        (false, _) => 0,
    }
}

fn say_why(is_same: bool, is_old_state: bool) {
    let why = match (is_same, is_old_state) {
        (false, _) => "this node is new to the database",
        (true, true) => "the state directory is older than what the database knows of this node: a backup was restored",
        (true, false) => {
            "the database has lost changes that it had confirmed: a backup was restored, or a standby took over"
        }
    };
    if is_same {
        warn!(why, "telling the fleet database about every VoD again");
    } else {
        debug!(why, "telling the fleet database about every VoD");
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_log_goes_on_where_the_database_is_if_it_speaks_of_this_log() {
        let place = Place { cursor: 7, ..Place::default() };
        let said = Claimed { epoch: 3, batch: 0, event: 9 };
        assert_eq!(next_cursor(&place, said, (true, true)), 9);
        assert_eq!(next_cursor(&place, said, (true, false)), 7);
        assert_eq!(next_cursor(&place, said, (false, false)), 0);
    }
}
