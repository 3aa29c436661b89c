//! What every stage of the pipeline shares: settings, catalogue, targets, and the wish to stop.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::active_config::{ActiveConfig, ConfigSnapshot, PipelineSettings};
use super::delivering::Delivering;
use super::discovering::Discovering;
use super::error::PipelineError;
use super::existing;
use super::fencing::Fences;
use super::handles::Handles;
use super::journaling::Journaling;
use super::meters::Meters;
use super::owning::RootClaim;
use super::removing::Removing;
use super::roots::Roots;
use crate::announce::Announcer;
use crate::catalog::{Catalog, CatalogError};
use crate::clock::Clock;
use crate::deliver::Targets;
use crate::discover::{RootOptions, Settler};
use crate::durable::{self, RootPart};
use crate::fleet::{AdoptedRoot, Fleet, FleetHome, FleetRoot, RootAct, RootRefusal};
use crate::media::apart;
use crate::recording::Shard;
use crate::runtime::Runtime;
use crate::stop::Stop;

/// How a pipeline is opened.
#[derive(Debug, Clone, Default)]
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
    /// The time that decides what is due.
    pub clock: Clock,
}

/// How long a daemon that starts waits for a command to give back the state directory.
const COMMAND_PATIENCE: Duration = Duration::from_secs(15);
/// How often it tries.
const COMMAND_AGAIN: Duration = Duration::from_millis(50);

/// Another daemon answers at its socket and stays; any other owner is a command that ends.
fn open_catalog(state_dir: &Path, stop: &Stop, opening: &OpeningOptions) -> Result<Catalog, CatalogError> {
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

fn open_fleet(
    settings: &PipelineSettings,
    catalog: &Catalog,
    runtime: &Runtime,
    (clock, stop): (&Clock, &Stop),
) -> Option<Fleet> {
    let app = |root: &RootOptions| (root.path.to_string_lossy().into_owned(), root.application());
    let apps = settings.watch.roots.iter().map(app).collect();
    let home = FleetHome { shared: catalog.shared(), state_dir: &settings.state_dir, runtime, clock, stop };
    Fleet::open(&settings.fleet, apps, home)
}

fn is_served(state_dir: &Path) -> bool {
    UnixStream::connect(PipelineContext::socket_path(state_dir)).is_ok()
}

/// The open pipeline: one process owns it, for as long as this lives. Functions take the context that they need of it.
#[derive(Debug)]
pub struct PipelineContext {
    config: ActiveConfig,
    /// The VoD index, the journal and the queues.
    pub catalog: Catalog,
    /// Where asynchronous work runs.
    pub runtime: Runtime,
    /// The time that decides what is due.
    pub clock: Clock,
    /// The wish to stop.
    pub stop: Stop,
    /// How far what is under way has come.
    pub meters: Arc<Meters>,
    /// Tells webhooks and hook commands of events.
    pub announcer: Announcer,
    /// What this node shares with others, if it does.
    pub fleet: Option<Fleet>,
    /// Whether the directories under the roots' paths are those roots.
    pub(super) roots: Arc<Roots>,
    /// For what finds recordings.
    pub discovering: Discovering,
    /// For what journals their steps.
    pub journaling: Journaling,
    /// For what delivers them.
    pub delivering: Delivering,
    /// For what removes files.
    pub removing: Removing,
    /// Whose pictures are wanted.
    pub(super) pictures: super::pictures::Requests,
    /// Who is asked before a recording is published or removed.
    pub fences: Fences,
    /// What is started to decode.
    pub(super) program: Option<PathBuf>,
}

impl PipelineContext {
    /// Takes the state directory's lock, opens the catalogue and the targets.
    ///
    /// In this order: where another process has the state directory, that it is in use is the answer, and not what this one lacks.
    pub fn open(settings: PipelineSettings, stop: Stop, opening: OpeningOptions) -> Result<Self, PipelineError> {
        let catalog = if opening.sets_aside {
            Catalog::open_or_set_aside(&settings.state_dir, opening.clock.now_ms())?.0
        } else {
            open_catalog(&settings.state_dir, &stop, &opening)?
        };
        let (clock, runtime) = (opening.clock, Runtime::start().map_err(PipelineError::Runtime)?);
        catalog.shared().limit_events(settings.events);
        let open = if opening.asks_no_store { Targets::open_to_look } else { Targets::open };
        let targets = open(&settings.deliver, &runtime)?.stopped_by(&stop).timed_by(&clock);
        let announcer = Announcer::new(catalog.shared(), &runtime, &stop, &clock, &settings.announce)?;
        let fleet = open_fleet(&settings, &catalog, &runtime, (&clock, &stop));
        let config = ActiveConfig::new(ConfigSnapshot::of(settings, targets, &clock, fleet.as_ref()));
        let (handles, meters) = (Handles::new(catalog, clock, stop, config, fleet.clone()), Arc::default());
        Ok(Self {
            announcer,
            fleet,
            runtime,
            discovering: Discovering::of(&handles),
            journaling: Journaling::of(&handles),
            delivering: Delivering::of(&handles, &meters),
            removing: Removing::of(&handles),
            pictures: super::pictures::Requests::default(),
            fences: Fences::default(),
            program: opening.is_the_program.then(|| PathBuf::from(apart::THIS_PROGRAM)),
            config: handles.config,
            catalog: handles.catalog,
            clock: handles.clock,
            stop: handles.stop,
            roots: handles.roots,
            meters,
        })
    }

    /// Owns these roots until the pipeline is closed; an error where another process owns one.
    pub fn own<'a>(&self, roots: impl Iterator<Item = &'a Path>) -> Result<(), PipelineError> {
        self.own_by(&self.settings(), roots, None)
    }

    /// The same for a part of each root, beside other processes that have the other parts.
    pub fn own_shard<'a>(
        &self,
        roots: impl Iterator<Item = &'a Path>,
        shard: Option<Shard>,
    ) -> Result<(), PipelineError> {
        self.own_by(&self.settings(), roots, shard.map(RootPart::Shard))
    }

    /// The same for what the fleet's database gives to this process, beside others to which it gives the rest.
    pub fn own_beside_others<'a>(&self, roots: impl Iterator<Item = &'a Path>) -> Result<(), PipelineError> {
        let part = RootPart::Batch { state_id: self.catalog.owner().id().to_owned() };
        self.own_by(&self.settings(), roots, Some(part))
    }

    fn own_by<'a>(
        &self,
        settings: &PipelineSettings,
        roots: impl Iterator<Item = &'a Path>,
        part: Option<RootPart>,
    ) -> Result<(), PipelineError> {
        let configured = |path: &Path| settings.watch.roots.iter().find(|root| root.path == path);
        let is_stopped = || self.stop.is_requested();
        let claim = RootClaim { owner: self.catalog.owner(), state_dir: &settings.state_dir, part };
        let (shared, alone): (Vec<_>, Vec<_>) =
            roots.partition(|path| configured(path).is_some_and(|root| root.shared));
        self.roots.owned.own(alone.iter().copied(), &claim, &|path| configured(path).is_some(), &is_stopped)?;
        // Whoever has a part of a root works there beside its node.
        if claim.part.is_none() {
            alone.iter().filter(|path| configured(path).is_some()).for_each(|path| self.take_part(path, false, false));
        }
        for path in shared {
            if self.fleet.is_none() {
                return Err(PipelineError::NoFleet { root: path.to_owned() });
            }
            self.roots.owned.share(path)?;
            self.take_part(path, true, configured(path).is_some_and(|root| root.first_right));
        }
        Ok(())
    }

    /// Tells the other nodes of a root, by the id in its file. One that has none, because it cannot be written, is this node's alone.
    fn take_part(&self, path: &Path, is_shared: bool, first_right: bool) {
        let Some(fleet) = &self.fleet else { return };
        if let Some(says) = durable::owner_of(path) {
            let root = FleetRoot { path: path.to_owned(), root_id: says.root_id, is_shared, first_right };
            if !fleet.knows_root(&root) {
                fleet.take_part(root);
            }
        }
    }

    /// Looks which root is at a path now, before it is scanned: another disk may have been mounted there.
    pub(super) fn look_at_root(&self, path: &Path) {
        let settings = self.settings();
        let configured = settings.watch.roots.iter().find(|root| root.path == path);
        if let Some(root) = configured.filter(|_| self.fleet.as_ref().is_some_and(|fleet| fleet.has_root_at(path))) {
            self.take_part(path, root.shared, root.first_right);
        }
    }

    /// Makes the root of a node that is not alive this node's; without `yes`, tells whose it is. The second value: whether it is adopted.
    pub fn adopt(&self, root: &Path, yes: bool) -> Result<(AdoptedRoot, bool), PipelineError> {
        let fleet = self.fleet.as_ref().ok_or_else(|| PipelineError::NoFleet { root: root.to_owned() })?;
        // Nobody else works there meanwhile.
        self.own(std::iter::once(root))?;
        if !yes {
            return Ok((fleet.adoptable(root)?, false));
        }
        let adopted = fleet.adopt(root)?;
        existing::take_all(&self.discovering, root)?;
        Ok((adopted, true))
    }

    /// Why a root is left alone because of other nodes, if it is.
    pub fn refusal(&self, root: &Path) -> Option<RootRefusal> {
        self.roots.refusal(root, RootAct::Change)
    }

    /// The program that is started to decode; without it this process decodes.
    pub fn decoder(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// What is in force now, all of one configuration; a reload replaces it for what begins afterwards.
    pub fn in_force(&self) -> ConfigSnapshot {
        self.config.snapshot()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<PipelineSettings> {
        self.config.settings()
    }

    /// The targets in force.
    pub fn targets(&self) -> Arc<Targets> {
        self.config.targets()
    }

    /// What gathers evidence that nobody writes a file any more.
    pub fn settler(&self) -> Arc<Settler> {
        self.config.settler()
    }

    /// Forgets that targets wait after a fault of their surroundings, and tries at once what failed by it; recordings that
    /// cannot be carried on, too.
    pub fn resume_targets(&self) {
        self.journaling.postponed.bring_forward();
        self.delivering.resume_targets();
    }

    /// Recordings whose failure the journal could not be told, for lack of room above all, with the reason.
    pub fn unjournalled(&self) -> Vec<(PathBuf, crate::recording::journey::Postponed)> {
        self.journaling.postponed.unwritten()
    }

    /// Whether a root was found not to be there, or to be another directory than before.
    pub fn is_unavailable(&self, root: &Path) -> bool {
        self.roots.unavailable.holds(root)
    }

    /// Puts new settings in force, except the state directory, which stays.
    pub fn reload(&self, settings: PipelineSettings) -> Result<(), PipelineError> {
        let targets = Targets::open(&settings.deliver, &self.runtime)?.stopped_by(&self.stop).timed_by(&self.clock);
        let settings = PipelineSettings { state_dir: self.settings().state_dir.clone(), ..settings };
        self.own_by(&settings, settings.watch.roots.iter().map(|root| root.path.as_path()), None)?;
        if let Some(fleet) = &self.fleet {
            fleet.keep_roots(|path| settings.watch.roots.iter().any(|root| root.path == path));
        }
        // The last that may fail: until here nothing of the former configuration is replaced.
        self.announcer.adjust(&settings.announce)?;
        self.catalog.shared().limit_events(settings.events);
        if settings.fleet != self.settings().fleet {
            tracing::warn!("changed settings in [fleet] take effect at the next start");
        }
        self.config.replace(ConfigSnapshot::of(settings, targets, &self.clock, self.fleet.as_ref()));
        self.delivering.views.begin_anew();
        self.pictures.sweep();
        self.delivering.courier_notify.notify();
        Ok(())
    }

    /// Path of the socket through which other commands talk to the daemon.
    pub fn socket_path(state_dir: &Path) -> PathBuf {
        state_dir.join("aftercast.sock")
    }
}
