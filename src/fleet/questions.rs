//! What this node asks the database for people, other rooms and other nodes. All of it blocks, for some seconds at most.
//!
//! Only so many questions are under way at once: behind a database that is slow, none pile up.

use std::collections::BTreeMap;
use std::time::Duration;

use deadpool_postgres::Client;
use serde_json::Value;

use super::commands::{self, CommandProgress, CommandRequest, CommandState, FleetCommand};
use super::connecting::{self, SOON, within};
use super::engine::{Fleet, Member, lock};
use super::error::FleetError;
use super::feed::{self, FeedPage, FeedQuery};
use super::listing::{self, FleetNode, FleetPage, FleetQuery, FleetVod};
use super::object_removal;
use super::objects::{self, ObjectHolder, ProvenKey};
use super::{schema, stream_configs};
use crate::stop::Stop;

/// How often an answer of another node is looked for.
const LOOK_FOR_ANSWER: Duration = Duration::from_millis(250);

impl Fleet {
    /// A page of all nodes' VoDs.
    pub fn vods(&self, query: &FleetQuery) -> Result<FleetPage, FleetError> {
        self.question(async |client| listing::page(client, query).await)
    }

    /// How many VoDs all nodes have; 100,000 at most are counted. Of more than 2,000 it may be what was counted some minutes ago.
    pub fn count_vods(&self, query: &FleetQuery) -> Result<u64, FleetError> {
        let query = query.without_place();
        match self.0.counts.look(&query, self.0.clock.now()) {
            None => self.count_anew(&query),
            Some(known) => {
                if known.is_due {
                    let fleet = self.clone();
                    // Said by whoever asks for a page while the database does not answer.
                    self.0.runtime.handle().spawn_blocking(move || drop(fleet.count_anew(&query)));
                }
                Ok(known.count)
            }
        }
    }

    fn count_anew(&self, query: &FleetQuery) -> Result<u64, FleetError> {
        let counted = self.question(async |client| listing::count(client, query).await);
        self.0.counts.note(query, counted.as_ref().ok().copied(), self.0.clock.now());
        counted
    }

    /// How many VoDs of all nodes began in each span of a calendar: `pattern` names a span as PostgreSQL's `to_char` does.
    pub fn histogram(
        &self,
        query: &FleetQuery,
        pattern: &str,
        zone: &str,
    ) -> Result<BTreeMap<String, u64>, FleetError> {
        self.question(async |client| listing::histogram(client, query, (pattern, zone)).await)
    }

    /// A VoD by its id, from whatever node has it; of several the one of a node that is alive.
    pub fn vod(&self, id: &str) -> Result<Option<FleetVod>, FleetError> {
        self.question(async |client| listing::one(client, id).await)
    }

    /// VoDs of an application, on whatever node, whose paths below their roots are among these.
    pub fn vods_at(&self, app: &str, paths: &[String]) -> Result<Vec<FleetVod>, FleetError> {
        self.question(async |client| listing::at_paths(client, app, paths).await)
    }

    /// All nodes.
    pub fn nodes(&self) -> Result<Vec<FleetNode>, FleetError> {
        self.question(async |client| listing::nodes(client).await)
    }

    /// What happened on all nodes.
    pub fn events(&self, query: &FeedQuery) -> Result<FeedPage, FleetError> {
        self.question(async |client| feed::page(client, query).await)
    }

    /// The same for somebody who follows: it waits for its turn for a while, and takes none of those who ask once.
    pub fn followed_events(&self, query: &FeedQuery) -> Result<FeedPage, FleetError> {
        self.0.runtime.block_on(async {
            let turn = tokio::time::timeout(SOON, self.0.followers.acquire()).await;
            let _turn = turn.ok().and_then(Result::ok).ok_or(FleetError::Busy)?;
            self.answered(async |client| feed::page(client, query).await).await
        })
    }

    /// Where the feed of all nodes' events ends now.
    pub fn end_of_events(&self) -> Result<String, FleetError> {
        self.question(async |client| feed::end(client).await)
    }

    /// What other nodes have learned of a stream, the newest first. Nothing of it is checked.
    pub fn stream_configs(&self, stream_id: &str) -> Result<Vec<Value>, FleetError> {
        self.question(async |client| stream_configs::read(client, (stream_id, self.node_id())).await)
    }

    /// Leaves a command for another node, and says its id; `None` if that node is away and it is not to be left for one that is.
    pub fn command(&self, wanted: &CommandRequest) -> Result<Option<String>, FleetError> {
        let by = self.known_identity()?;
        self.question(async |client| commands::put(client, by, wanted).await)
    }

    /// How far a command has come; `None` if there is none of this id, or none any more.
    pub fn command_state(&self, id: &str) -> Result<Option<CommandState>, FleetError> {
        self.question(async |client| commands::look(client, id).await)
    }

    /// The same as soon as it is over, else after a while.
    pub fn answer_to(&self, id: &str, patience: Duration, stop: &Stop) -> Result<Option<CommandState>, FleetError> {
        let clock = &self.0.clock;
        let begun = clock.now();
        loop {
            let state = self.command_state(id);
            let is_over =
                |state: &CommandState| matches!(state.progress, CommandProgress::Done | CommandProgress::Expired);
            let is_late = clock.now().saturating_duration_since(begun) >= patience || stop.is_requested();
            match state {
                // The next look may find a turn.
                Err(FleetError::Busy) if !is_late => {}
                Ok(Some(ref state)) if !is_late && !is_over(state) => {}
                state => return state,
            }
            self.pause(LOOK_FOR_ANSWER, stop);
        }
    }

    /// Lets time pass, until a stop is requested at most.
    pub fn pause(&self, length: Duration, stop: &Stop) {
        self.0.runtime.block_on(async {
            let _passed = tokio::time::timeout(length, stop.requested()).await;
        });
    }

    /// Whether the database can be asked, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.0.health.words().0
    }

    /// From now on this process does what other nodes ask of it; before [`Fleet::begin`].
    pub fn serve_commands(&self) {
        self.0.inbox.serve();
    }

    /// The next command that this node is to do, if one comes in time.
    pub fn next_command(&self, patience: Duration) -> Option<FleetCommand> {
        self.0.inbox.next(patience)
    }

    /// What the node answers to a command that it has done.
    pub fn answer_command(&self, id: &str, answer: Value) {
        self.0.inbox.answer(id, answer);
    }

    /// Takes places in stores for an asset, with the sizes of what goes there; `false` if another asset has one of them.
    pub async fn take_keys(&self, places: &[(String, u64)], asset_id: &str) -> Result<bool, FleetError> {
        let life = self.life()?;
        self.answered(async |client| objects::take(client, life, places, asset_id).await).await
    }

    /// Gives back places that were taken for an asset by this life of the node, unless their objects are proven.
    pub async fn release_keys(&self, places: &[String], asset_id: &str) -> Result<(), FleetError> {
        let life = self.life()?;
        self.answered(async |client| objects::release(client, life, places, asset_id).await).await
    }

    /// Notes objects that stores have confirmed. Says how many of their places another asset has.
    pub async fn keys_proven(&self, proven: &[ProvenKey]) -> Result<u64, FleetError> {
        let life = self.life()?;
        self.answered(async |client| objects::prove(client, life, proven).await).await
    }

    /// The same on a thread that waits.
    pub fn note_proven(&self, proven: &[ProvenKey]) -> Result<u64, FleetError> {
        self.0.runtime.block_on(self.keys_proven(proven))
    }

    /// Which other nodes have the objects at these places.
    pub fn object_holders(&self, places: &[String]) -> Result<Vec<ObjectHolder>, FleetError> {
        let node_id = self.known_identity()?;
        self.question(async |client| objects::holders(client, node_id, places).await)
    }

    /// Begins the deletion of objects, given by place and asset: answers which of them other nodes have. Those stay, and are no longer
    /// this node's; no other node takes the others before [`Self::end_removal`], or before their VoD is deleted.
    pub fn begin_removal(&self, objects: &[(String, String)]) -> Result<Vec<ObjectHolder>, FleetError> {
        // Also for a command beside which no daemon runs: it is no member.
        let identity = (self.known_identity()?, self.0.health.epoch().unwrap_or_default());
        self.question(async |client| object_removal::begin(client, identity, objects).await)
    }

    /// Objects are deleted that belong to no VoD of this node.
    pub fn end_removal(&self, places: &[String]) -> Result<(), FleetError> {
        let node_id = self.known_identity()?;
        self.question(async |client| object_removal::end(client, node_id, places).await)
    }

    /// Objects stay whose deletion was begun.
    pub fn take_removal_back(&self, places: &[String]) -> Result<(), FleetError> {
        let node_id = self.known_identity()?;
        self.question(async |client| object_removal::take_back(client, node_id, places).await)
    }

    fn known_identity(&self) -> Result<&str, FleetError> {
        let unknown = || FleetError::Away("the identity of this node is not known".to_owned());
        Some(self.node_id()).filter(|id| !id.is_empty()).ok_or_else(unknown)
    }

    /// Who this process is to the others, once it is a member.
    pub(super) fn life(&self) -> Result<(&str, i64), FleetError> {
        let away = || FleetError::Away("this node is not connected".to_owned());
        Ok((self.node_id(), self.0.health.epoch().ok_or_else(away)?))
    }

    /// Asks the database something in turn, on a thread that waits.
    fn question<T>(&self, question: impl AsyncFnOnce(&mut Client) -> Result<T, FleetError>) -> Result<T, FleetError> {
        let _turn = self.0.questions.try_acquire().map_err(|_| FleetError::Busy)?;
        self.0.runtime.block_on(self.answered(question))
    }

    /// Asks the database what work that is shared depends on: however many people ask meanwhile, and with the patience of a session.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, FleetError>,
    ) -> Result<T, FleetError> {
        self.require_connected()?;
        self.0.with_client(question)
    }

    /// A daemon that is not connected knows it, and why.
    fn require_connected(&self) -> Result<(), FleetError> {
        let (is_connected, problem, _) = self.0.health.words();
        if lock(&self.0.task).is_some() && !is_connected {
            return Err(FleetError::Away(problem.unwrap_or_default()));
        }
        Ok(())
    }

    /// Asks the database something with a person's patience.
    async fn answered<T>(
        &self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, FleetError>,
    ) -> Result<T, FleetError> {
        self.require_connected()?;
        let connected = tokio::time::timeout(SOON, self.0.connection()).await;
        connecting::with(connected.unwrap_or(Err(FleetError::TimedOut(SOON)))?, question).await
    }
}

impl Member {
    /// A connection of the session's pool. A command without a session makes a pool for itself, and finds the tables or not.
    pub(super) async fn connection(&self) -> Result<Client, FleetError> {
        let known = lock(&self.pool).clone();
        if let Some(pool) = known {
            return connecting::client(&pool).await;
        }
        let pool = connecting::pool(&self.options)?;
        let client = connecting::client(&pool).await?;
        if within(schema::found(&**client)).await? < schema::KNOWN {
            return Err(FleetError::NoTables);
        }
        // A session that begins meanwhile has its own, which is not replaced.
        lock(&self.pool).get_or_insert(pool);
        Ok(client)
    }
}
