//! What a configuration puts in force: swapped whole by a reload, for all who work by it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::catalog::EventLimits;
use crate::clock::Clock;
use crate::deliver::Targets;
use crate::discover::Settler;
use crate::fleet::Fleet;
use crate::recording::journey::Candidate;
use crate::{announce, deliver, discover, finish, fleet, retain};

/// Settings of all the rooms that the pipeline drives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PipelineSettings {
    /// Where the catalogue, the journal, the lock and the socket live.
    pub state_dir: PathBuf,
    /// Finding recordings.
    pub watch: discover::WatchOptions,
    /// Finishing them.
    pub finish: finish::FinishOptions,
    /// Delivering them.
    pub deliver: deliver::DeliverOptions,
    /// Freeing them.
    pub retain: retain::RetainOptions,
    /// How much of the event log is kept.
    pub events: EventLimits,
    /// Who is told of events.
    pub announce: announce::AnnounceOptions,
    /// Making pictures of them.
    pub pictures: super::pictures::PictureOptions,
    /// Other nodes.
    pub fleet: fleet::FleetOptions,
}

impl PipelineSettings {
    /// How a recording is finished, with what holds for its root.
    pub fn finish_of(&self, candidate: &Candidate) -> finish::FinishOptions {
        let root = discover::root_of(&candidate.root, &self.watch.roots).root;
        let keeps_fragments = discover::fragments_of(&root, &candidate.server).are_kept;
        let options = finish::FinishOptions { keeps_fragments, ..self.finish.clone() };
        if root.shared { options.never_in_place() } else { options }
    }
}

/// What a configuration puts in force. Who works with more than one of these takes them together.
#[derive(Debug, Clone)]
pub struct ConfigSnapshot {
    /// The settings.
    pub settings: Arc<PipelineSettings>,
    /// The targets that are opened as they say.
    pub targets: Arc<Targets>,
    /// What gathers evidence that nobody writes a file any more.
    pub settler: Arc<Settler>,
}

impl ConfigSnapshot {
    pub(super) fn of(settings: PipelineSettings, targets: Targets, clock: &Clock, fleet: Option<&Fleet>) -> Self {
        let settler = Settler::new(&settings.watch).timed_by(clock);
        let settler = match fleet.cloned() {
            Some(fleet) => settler.going_first_where(move |root| fleet.goes_first(root)),
            None => settler,
        };
        Self { settings: Arc::new(settings), targets: Arc::new(targets), settler: Arc::new(settler) }
    }
}

/// The configuration in force; clones see the same one.
#[derive(Debug, Clone)]
pub struct ActiveConfig(Arc<RwLock<ConfigSnapshot>>);

impl ActiveConfig {
    pub(super) fn new(snapshot: ConfigSnapshot) -> Self {
        Self(Arc::new(RwLock::new(snapshot)))
    }

    /// What is in force now, all of one configuration.
    pub fn snapshot(&self) -> ConfigSnapshot {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another configuration in force for what begins afterwards.
    pub(super) fn replace(&self, snapshot: ConfigSnapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<PipelineSettings> {
        self.snapshot().settings
    }

    /// The targets in force.
    pub fn targets(&self) -> Arc<Targets> {
        self.snapshot().targets
    }

    /// What gathers evidence that nobody writes a file any more.
    pub fn settler(&self) -> Arc<Settler> {
        self.snapshot().settler
    }

    /// Directories that never hold candidates: our own state and the `file://` targets.
    pub(super) fn excluded(&self) -> Vec<PathBuf> {
        let settings = self.settings();
        let stores = settings.deliver.targets.iter().filter_map(|t| t.url.strip_prefix("file://")).map(PathBuf::from);
        std::iter::once(settings.state_dir.clone()).chain(stores).collect()
    }
}
