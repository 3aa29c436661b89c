//! What every stage of the pipeline shares: settings, catalogue, targets, and the wish to stop.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::error::PipelineError;
use crate::announce::{self, Announcer};
use crate::catalog::{Catalog, CatalogError, EventLimits};
use crate::deliver::Targets;
use crate::discover::Settler;
use crate::fleet::Fleet;
use crate::recording::journey::Candidate;
use crate::runtime::Runtime;
use crate::stop::Stop;
use crate::{deliver, discover, finish, fleet, retain};

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
        finish::FinishOptions { keeps_fragments, ..self.finish.clone() }
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
    fn of(settings: PipelineSettings, targets: Targets) -> Self {
        let settler = Arc::new(Settler::new(&settings.watch));
        Self { settings: Arc::new(settings), targets: Arc::new(targets), settler }
    }
}

/// How a pipeline is opened.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own about a start")]
pub struct OpeningOptions {
    /// Whether a damaged catalogue is moved aside and an empty one made (`catalog rebuild`).
    pub sets_aside: bool,
    /// Whether nothing will be asked of a store: a target without credentials is then no hindrance.
    pub asks_no_store: bool,
    /// Whether to wait a little for a command that has the state directory just now (`watch`).
    pub waits_for_commands: bool,
    /// Whether this process is the program itself, so that it can start itself again to decode. Without it no pictures are made.
    pub is_the_program: bool,
}

/// The program of this process, also when its file has been replaced since.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long a daemon that starts waits for a command to give back the state directory.
const COMMAND_PATIENCE: Duration = Duration::from_secs(15);
/// How often it tries.
const COMMAND_AGAIN: Duration = Duration::from_millis(50);

/// Another daemon answers at its socket and stays; any other owner is a command that ends.
fn open_catalog(state_dir: &Path, stop: &Stop, opening: OpeningOptions) -> Result<Catalog, CatalogError> {
    let (begun, mut is_said) = (Instant::now(), false);
    loop {
        // A command that only looks is not kept waiting.
        let opened = if opening.asks_no_store {
            Catalog::open(state_dir)
        } else {
            Catalog::open_compacted(state_dir, &|| stop.is_requested())
        };
        let is_worth_waiting =
            || opening.waits_for_commands && !stop.is_requested() && begun.elapsed() < COMMAND_PATIENCE;
        match opened {
            Err(CatalogError::InUse { pid, .. }) if is_worth_waiting() && !is_served(state_dir) => {
                if !std::mem::replace(&mut is_said, true) {
                    tracing::info!(pid, "waiting for another process to release the state directory");
                }
                std::thread::sleep(COMMAND_AGAIN);
            }
            other => return other,
        }
    }
}

fn is_served(state_dir: &Path) -> bool {
    UnixStream::connect(PipelineContext::socket_path(state_dir)).is_ok()
}

/// Milliseconds since the Unix epoch, now.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The open pipeline: one process owns it, for as long as this lives.
#[derive(Debug)]
pub struct PipelineContext {
    in_force: RwLock<ConfigSnapshot>,
    /// The VoD index, the journal and the queues.
    pub catalog: Catalog,
    /// Where asynchronous work runs.
    pub runtime: Runtime,
    /// The wish to stop.
    pub stop: Stop,
    /// How far what is under way has come.
    pub meters: super::meters::Meters,
    /// Tells webhooks and hook commands of events.
    pub announcer: Announcer,
    /// What this node shares with others, if it does.
    pub fleet: Option<Fleet>,
    /// Scans that somebody asks the daemon for.
    pub rescans: super::rescans::Rescans,
    /// Wakes the couriers when something may be due.
    pub(super) courier_notify: super::courier::CourierNotify,
    /// What the stores have answered about their copies.
    pub(super) answers: super::confirming::ConfirmationCache,
    /// Whose pictures are wanted.
    pub(super) pictures: super::pictures::Requests,
    /// What is started to decode.
    pub(super) program: Option<PathBuf>,
    /// Which targets are another view of a root.
    pub(super) views: super::views::Views,
    /// Serialises granting a permit and using it.
    pub(super) freeing: Mutex<()>,
    /// Held for reading while a file is given up; who puts back what a cut left aside has it to itself.
    pub(super) asides: RwLock<()>,
    /// Roots that were said to be unavailable.
    pub(super) unavailable: super::roots::UnavailableRoots,
    /// Serialises the choice of a final name and its reservation.
    pub(super) naming: Mutex<()>,
    /// Crashed recordings that wait for a sound one of their stream.
    pub(super) waiting: super::teaching::SalvageWaiters,
    /// Recordings that the watching daemon knows and that are not settled.
    pub unsettled: super::growing::Unsettled,
    /// Recordings that came too far to begin again and cannot go on yet.
    pub(super) postponed: super::postponing::Postponements,
    /// The roots that no other process may work in meanwhile.
    roots: super::owning::OwnedRoots,
    /// Shared by recordings under way; one that the process died of once has it to itself.
    pub(super) isolation: RwLock<()>,
}

impl PipelineContext {
    /// Takes the state directory's lock, opens the catalogue and the targets.
    ///
    /// In this order: where another process has the state directory, that it is in use is the answer, and not what this one lacks.
    pub fn open(settings: PipelineSettings, stop: Stop, opening: OpeningOptions) -> Result<Self, PipelineError> {
        let catalog = if opening.sets_aside {
            Catalog::open_or_set_aside(&settings.state_dir, now_ms())?.0
        } else {
            open_catalog(&settings.state_dir, &stop, opening)?
        };
        let runtime = Runtime::start().map_err(PipelineError::Runtime)?;
        catalog.shared().limit_events(settings.events);
        let open = if opening.asks_no_store { Targets::open_to_look } else { Targets::open };
        let targets = open(&settings.deliver, &runtime)?.stopped_by(&stop);
        let announcer = Announcer::new(catalog.shared(), &runtime, &stop, &settings.announce)?;
        let fleet = Fleet::open(&settings.fleet, catalog.shared(), &settings.state_dir, &runtime, &stop)?;
        Ok(Self {
            in_force: RwLock::new(ConfigSnapshot::of(settings, targets)),
            catalog,
            announcer,
            fleet,
            runtime,
            stop,
            meters: super::meters::Meters::default(),
            rescans: super::rescans::Rescans::default(),
            courier_notify: super::courier::CourierNotify::default(),
            answers: super::confirming::ConfirmationCache::default(),
            pictures: super::pictures::Requests::default(),
            program: opening.is_the_program.then(|| PathBuf::from(THIS_PROGRAM)),
            views: super::views::Views::default(),
            freeing: Mutex::default(),
            asides: RwLock::default(),
            unavailable: super::roots::UnavailableRoots::default(),
            naming: Mutex::default(),
            waiting: super::teaching::SalvageWaiters::default(),
            unsettled: super::growing::Unsettled::default(),
            postponed: super::postponing::Postponements::default(),
            isolation: RwLock::default(),
            roots: super::owning::OwnedRoots::default(),
        })
    }

    /// Owns these roots until the pipeline is closed; an error where another process owns one.
    pub fn own<'a>(&self, roots: impl Iterator<Item = &'a Path>) -> Result<(), PipelineError> {
        self.own_by(&self.settings(), roots)
    }

    fn own_by<'a>(
        &self,
        settings: &PipelineSettings,
        roots: impl Iterator<Item = &'a Path>,
    ) -> Result<(), PipelineError> {
        let is_configured = |path: &Path| settings.watch.roots.iter().any(|root| root.path == path);
        let is_stopped = || self.stop.is_requested();
        Ok(self.roots.own(roots, self.catalog.owner(), &settings.state_dir, &is_configured, &is_stopped)?)
    }

    /// What is in force now, all of one configuration; a reload replaces it for what begins afterwards.
    pub fn in_force(&self) -> ConfigSnapshot {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<PipelineSettings> {
        self.in_force().settings
    }

    /// The targets in force.
    pub fn targets(&self) -> Arc<Targets> {
        self.in_force().targets
    }

    /// What gathers evidence that nobody writes a file any more.
    pub fn settler(&self) -> Arc<Settler> {
        self.in_force().settler
    }

    /// Forgets that targets wait after a fault of their surroundings, and tries at once what failed by it; recordings that
    /// cannot be carried on, too.
    pub fn resume_targets(&self) {
        self.postponed.bring_forward();
        self.bring_back();
        self.courier_notify.resume_targets();
    }

    /// What failed in an earlier run by a fault of a target's surroundings is due now. Which targets wait stays as it is.
    pub fn bring_back(&self) {
        if let Err(error) = self.catalog.bring_back(now_ms()) {
            tracing::warn!(error = crate::fault::chain(&error), "cannot read the delivery queue");
        }
        self.courier_notify.notify();
    }

    /// Recordings whose failure the journal could not be told, for lack of room above all, with the reason.
    pub fn unjournalled(&self) -> Vec<(PathBuf, crate::recording::journey::Postponed)> {
        self.postponed.unwritten()
    }

    /// The targets that are another view of a root, with that root.
    pub fn shown_roots(&self) -> Result<Vec<(String, PathBuf)>, CatalogError> {
        let views = self.views.all(self)?.into_iter().filter(|viewed| !viewed.is_apart);
        let mut shown: Vec<_> = views.map(|viewed| (viewed.target, viewed.root)).collect();
        shown.sort_unstable();
        Ok(shown)
    }

    /// Until when a target waits after such a fault, milliseconds since the Unix epoch.
    pub fn target_waits_until(&self, target: &str) -> Option<i64> {
        self.courier_notify.paused_until(target).filter(|until| *until > now_ms())
    }

    /// Whether a root was found not to be there, or to be another directory than before.
    pub fn is_unavailable(&self, root: &Path) -> bool {
        self.unavailable.holds(root)
    }

    /// Puts new settings in force, except the state directory, which stays.
    pub fn reload(&self, settings: PipelineSettings) -> Result<(), PipelineError> {
        let targets = Targets::open(&settings.deliver, &self.runtime)?.stopped_by(&self.stop);
        let settings = PipelineSettings { state_dir: self.settings().state_dir.clone(), ..settings };
        self.own_by(&settings, settings.watch.roots.iter().map(|root| root.path.as_path()))?;
        self.catalog.shared().limit_events(settings.events);
        self.announcer.adjust(&settings.announce)?;
        if settings.fleet != self.settings().fleet {
            tracing::warn!("changed settings in [fleet] take effect at the next start");
        }
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = ConfigSnapshot::of(settings, targets);
        self.views.begin_anew();
        self.pictures.sweep();
        self.courier_notify.notify();
        Ok(())
    }

    /// Directories that never hold candidates: our own state and the `file://` targets.
    pub fn excluded(&self) -> Vec<PathBuf> {
        let settings = self.settings();
        let stores = settings.deliver.targets.iter().filter_map(|t| t.url.strip_prefix("file://")).map(PathBuf::from);
        std::iter::once(settings.state_dir.clone()).chain(stores).collect()
    }

    /// Path of the socket through which other commands talk to the daemon.
    pub fn socket_path(state_dir: &Path) -> PathBuf {
        state_dir.join("aftercast.sock")
    }
}
