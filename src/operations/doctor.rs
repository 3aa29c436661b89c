//! `doctor`: directories, permissions, leases, disk, FFmpeg, every ingest server with `control` and every target. Says what is missing
//! and what to do.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::announce;
use crate::catalog::{self, CatalogError, StateDirAccess};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Control;
use crate::deliver::{self, NullLedger, ReadableSecret, Targets, readable_secrets};
use crate::discover::{self, FragmentHandling, LeaseState, LeaseUnavailable, Namer, RootOptions, Search, Server};
use crate::durable::{self, Partial, PartialOwner, RootError, RootLock, RootOwner};
use crate::fault::{Fault, chain};
use crate::fleet::{self, FleetRoot};
use crate::human;
use crate::media;
use crate::pipeline::PipelineError;
use crate::recording::counted;
use crate::recording::name::printable;
use crate::runtime::Runtime;
use crate::stop::Stop;

/// Checks directories, permissions, leases, disk, FFmpeg, every ingest server with `control` and every target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Doctor {}

/// Name of the check that the state directory belongs to who opens it, and that nobody else can write it.
pub(super) const STATE_DIRECTORY: &str = "state directory";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The directory, target or library.
    pub subject: String,
    /// What was looked at.
    #[serde(rename = "check")]
    pub name: String,
    /// Whether nothing is missing.
    #[serde(rename = "ok")]
    pub is_ok: bool,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    fn new(subject: impl Into<String>, name: &str, is_ok: bool, detail: impl Into<String>) -> Self {
        Self { subject: subject.into(), name: name.to_owned(), is_ok, detail: detail.into(), hint: None }
    }

    fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

impl Operation for Doctor {
    type Item = NoItem;
    type Data = Vec<Check>;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Vec<Check>, OperationError> {
        context.stoppable(|| checks(&context.config(), Some(&context.pipeline().runtime), context.stop()))
    }
}

/// Runs every check of a configuration; needs no catalogue. Targets are asked on the process's runtime, or on one of their own
/// where it has none yet.
pub fn checks(config: &Config, runtime: Option<&Runtime>, stop: &Stop) -> Vec<Check> {
    let mut checks = vec![ffmpeg(), decoder(config)];
    checks.extend(state(config));
    for root in &config.watch.roots {
        checks.extend(root_checks(root));
        checks.push(fragments(root));
        checks.extend(unhandled(config, root));
    }
    checks.extend(secrets(config));
    checks.extend(endpoints(config));
    let runtime = runtime.cloned().map_or_else(Runtime::start, Ok).map_err(PipelineError::Runtime);
    match runtime {
        Err(error) => checks.push(of_result(Path::new("network"), "runtime", Err::<String, _>(error))),
        Ok(runtime) => {
            checks.extend(config.watch.roots.iter().filter_map(|root| control(root, &runtime, stop)));
            checks.extend(fleet_database(config, &runtime));
            checks.extend(roots_of_nodes(config, &runtime));
            checks.extend(targets(config, &runtime, stop));
        }
    }
    checks
}

fn ffmpeg() -> Check {
    let versions = match media::versions() {
        Ok(versions) => versions,
        Err(error) => return of_result(Path::new("FFmpeg"), "libraries", Err::<String, _>(error)),
    };
    let is_ok = versions.missing.is_empty();
    let hint = (!is_ok).then(|| format!("Install an FFmpeg with: {}.", versions.missing.join(", ")));
    Check::new("FFmpeg", "codecs", is_ok, versions.libraries.join(", ")).hint(hint)
}

/// Whether the system calls of the process that makes pictures are restricted; said, and no reason to fail: its other limits hold.
fn decoder(config: &Config) -> Check {
    let restricted = media::apart::can_confine();
    let makes_pictures = config.pictures.poster || config.pictures.sprite;
    let hint = (restricted.is_err() && makes_pictures).then(|| media::apart::UNCONFINED_HINT.to_owned());
    let detail = restricted.map_or_else(
        |reason| format!("system calls are not restricted: {reason}; its other limits hold"),
        |()| "memory, CPU time and system calls are restricted".to_owned(),
    );
    Check::new("FFmpeg", "decoder limits", true, detail).hint(hint)
}

fn of_result(subject: &Path, name: &str, result: Result<String, impl Fault>) -> Check {
    let subject = printable(subject);
    match result {
        Ok(detail) => Check::new(subject, name, true, detail),
        Err(error) => Check::new(subject, name, false, chain(&error)).hint(error.hint()),
    }
}

fn free_space(path: &Path) -> Check {
    of_result(path, "disk", durable::free_bytes(path).map(|bytes| format!("{} free", human::size(bytes))))
}

fn state(config: &Config) -> Vec<Check> {
    let directory = &config.state_dir;
    let access = catalog::prepare_state_dir(directory);
    let is_usable = access.is_ok();
    let mut checks = vec![state_directory(directory, access)];
    if is_usable {
        checks.push(of_result(directory, "write", written(directory)));
        checks.push(free_space(directory));
    }
    checks
}

fn state_directory(directory: &Path, access: Result<StateDirAccess, CatalogError>) -> Check {
    let readable = match access {
        Ok(StateDirAccess::Readable(mode)) => Some(mode),
        _ => None,
    };
    let detail = |access| match access {
        StateDirAccess::Private => "private".to_owned(),
        StateDirAccess::Readable(mode) => format!("mode {mode:04o}: other users can list it, not write it"),
    };
    let check = of_result(directory, STATE_DIRECTORY, access.map(detail));
    let hint = readable.map(|_| format!("Run `chmod 700 {}` to keep other users out.", printable(directory)));
    Check { hint: check.hint.or(hint), ..check }
}

/// Secrets that other users can read; said, and no reason to fail.
fn secrets(config: &Config) -> Vec<Check> {
    let check = |secret: ReadableSecret| {
        Check::new(&secret.target, "credentials", true, secret.to_string()).hint(Some(secret.remedy()))
    };
    readable_secrets(&config.deliver).into_iter().map(check).collect()
}

/// The settings of webhooks and hook commands; nothing is sent and nothing is run.
fn endpoints(config: &Config) -> Vec<Check> {
    let check = |c: announce::EndpointCheck| Check::new(c.subject, c.name, c.is_ok, c.detail).hint(c.hint);
    announce::checks(&config.announce).into_iter().map(check).collect()
}

/// Whether the database that the nodes share can be reached. Nothing in it is changed.
fn fleet_database(config: &Config, runtime: &Runtime) -> Option<Check> {
    config.fleet.database.as_ref()?;
    let said = |found: fleet::DatabaseCheck| match found.schema {
        0 => format!("PostgreSQL {}; no tables yet, `aftercast watch` creates them", found.server),
        schema => format!("PostgreSQL {}, schema {schema}, node `{}`", found.server, config.fleet.node_name()),
    };
    Some(of_result(Path::new("fleet"), "database", fleet::check(&config.fleet, &config.state_dir, runtime).map(said)))
}

/// To which node each root belongs, as far as the database knows it.
fn roots_of_nodes(config: &Config, runtime: &Runtime) -> Vec<Check> {
    if !config.fleet.is_on() {
        return Vec::new();
    }
    let marked = |root: &RootOptions| {
        let RootOptions { path, shared, first_right, .. } = root.clone();
        let root_id = durable::owner_of(&path)?.root_id;
        Some(FleetRoot { path, root_id, is_shared: shared, first_right })
    };
    let roots: Vec<_> = config.watch.roots.iter().filter_map(marked).collect();
    let said = |root: &Path| {
        let is_shared = config.watch.roots.iter().any(|known| known.path == root && known.shared);
        if is_shared { "shared with other nodes" } else { "this one" }.to_owned()
    };
    let paused = |FleetRoot { path: root, .. }: FleetRoot| (root.clone(), Err(fleet::RootRefusal::Paused { root }));
    let checked = fleet::check_roots(&config.fleet, &config.state_dir, &roots, runtime)
        .unwrap_or_else(|_| roots.into_iter().filter(|root| root.is_shared).map(paused).collect());
    // A second node with `first_right` may be there to take over from the first: said, and no reason to fail.
    let check = |(root, checked): fleet::CheckedRoot| match checked {
        Ok(Some(second)) => Check::new(printable(&root), "node", true, second.to_string()).hint(Some(second.hint())),
        checked => of_result(&root, "node", checked.map(|_| said(&root))),
    };
    checked.into_iter().map(check).collect()
}

/// Writes and removes an empty partial, as finishing would.
fn written(directory: &Path) -> Result<String, durable::FileError> {
    let partial = Partial::create(&directory.join("doctor"), &PartialOwner::of_process())?;
    drop(partial);
    Ok("works".to_owned())
}

fn root_checks(options: &RootOptions) -> Vec<Check> {
    let root = options.path.as_path();
    let read = fs::read_dir(root).map(|entries| counted(entries.count() as u64, "entry"));
    let read = of_result(root, "read", read.map_err(durable::FileError::on("read", root)));
    if !read.is_ok {
        return vec![read];
    }
    let mut own = vec![of_result(root, "write", written(root)), owned(options)];
    if options.shared {
        own.push(hard_links(root));
    } else {
        own.push(lease(root));
    }
    own.extend([notifications(root), free_space(root)]);
    std::iter::once(read).chain(own).collect()
}

/// Whether changes are notified, or only found by the periodic scan.
fn notifications(root: &Path) -> Check {
    let is_network = discover::is_on_network(root);
    let detail = if is_network { "polled: a network file system, or one not known to be local" } else { "works" };
    Check::new(printable(root), "notifications", true, detail)
}

/// What becomes of fragmented MP4 there.
fn fragments(root: &RootOptions) -> Check {
    let server = if root.server == Server::Auto && root.template.is_none() {
        discover::choose_for_root(&root.path).server
    } else {
        root.server
    };
    let FragmentHandling { are_kept, reason } = discover::fragments_of(root, server.name());
    let detail = format!("{}: {reason}", if are_kept { "kept" } else { "made progressive" });
    Check::new(printable(&root.path), "fragmented MP4", true, detail)
}

/// Media there that nothing is done with; said, and no reason to fail.
fn unhandled(config: &Config, root: &RootOptions) -> Option<Check> {
    let namer = Namer::new(root, &config.watch.temporary_suffixes, config.finish.time_zone.clone()).ok()?;
    let others = config.watch.roots.iter().map(|other| other.path.clone());
    let mut excluded: Vec<_> = others.filter(|other| *other != root.path && other.starts_with(&root.path)).collect();
    excluded.push(config.state_dir.clone());
    let (orphan_after, now_ms) = (config.watch.orphan_after, Clock::default().now_ms());
    let search = Search { root, namer: &namer, excluded: &excluded, orphan_after, now_ms };
    let found = search.scan().unhandled;
    let first = found.first()?;
    let files = counted(found.len() as u64, "media file");
    let detail = format!("{files} of other formats, such as `{}`", printable(first));
    let hint = "`process --dry-run` lists them. They are neither finished nor delivered.".to_owned();
    Some(Check::new(printable(&root.path), "not handled", true, detail).hint(Some(hint)))
}

/// Who owns the root, and whether that is told by a lock of the kernel.
fn owned(options: &RootOptions) -> Check {
    let root = options.path.as_path();
    if options.shared {
        return of_result(root, "owner", Ok::<_, RootError>("shared by several nodes; never locked".to_owned()));
    }
    let of = |owner: RootOwner| printable(&owner.state_dir);
    match RootLock::probe(root) {
        Ok(true) => of_result(root, "owner", Ok::<_, RootError>("none; locks work".to_owned())),
        Ok(false) => of_result(
            root,
            "owner",
            Ok::<_, RootError>(
                "this file system does not support locks: the owner touches `.aftercast-alive` every 2 s".to_owned(),
            ),
        ),
        Err(RootError::InUse { owner, .. }) => {
            let by = owner.map_or_else(|| "an unknown state directory".to_owned(), |owner| of(*owner));
            of_result(root, "owner", Ok::<_, RootError>(format!("in use by the instance with state directory {by}")))
        }
        Err(error) => of_result(root, "owner", Err::<String, _>(error)),
    }
}

/// Whether nodes that share the root can publish in it without replacing each other's files.
fn hard_links(root: &Path) -> Check {
    let tested = durable::are_links_exclusive(root).and_then(|is_safe| {
        if is_safe { Ok("work".to_owned()) } else { Err(RootError::UnsafeLinks { root: root.to_owned() }) }
    });
    of_result(root, "hard links", tested)
}

/// Asks for a lease on a file that is there; the right to it is what makes evidence strong.
fn lease(root: &Path) -> Check {
    let files = fs::read_dir(root).into_iter().flatten().flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    let answer = files.map(|entry| discover::probe(&entry.path())).next();
    let (is_ok, detail) = match answer {
        None => (true, "no file to test it on"),
        Some(LeaseState::Free | LeaseState::Held) => (true, "works"),
        Some(LeaseState::Unavailable(LeaseUnavailable::NotOwner)) => {
            (false, "refused: the files belong to another user")
        }
        Some(LeaseState::Unavailable(LeaseUnavailable::FileSystem)) => (false, "not on this file system"),
        Some(LeaseState::Unavailable(_)) => (false, "not available"),
    };
    let hint = (!is_ok).then(|| {
        "Recordings wait until they are unchanged for `quiet`. Give the program CAP_LEASE \
         (`AmbientCapabilities=CAP_LEASE` in the unit) to detect closed files immediately."
            .to_owned()
    });
    Check::new(printable(root), "lease", is_ok, detail).hint(hint)
}

/// Whether the ingest server of a root can be told to record, where its address is set. Nothing is switched.
fn control(root: &RootOptions, runtime: &Runtime, stop: &Stop) -> Option<Check> {
    let probed = runtime.block_on(Control::of(root)?.probe(stop));
    Some(of_result(&root.path, "control", probed.map(|detail| format!("`{}` {detail}", root.server.name()))))
}

fn targets(config: &Config, runtime: &Runtime, stop: &Stop) -> Vec<Check> {
    let targets = match Targets::open(&config.deliver, runtime) {
        Ok(targets) => targets,
        Err(error) => return vec![of_result(Path::new("targets"), "settings", Err::<String, _>(error))],
    };
    let names: Vec<String> = targets.names().map(str::to_owned).collect();
    let of_target = |name: &String| {
        let mut checks = target(&targets, name);
        // What cannot be written shows nothing; that was said.
        if checks.iter().all(|check| check.is_ok) {
            checks.extend(config.watch.roots.iter().map(|root| is_apart(config, &targets, name, &root.path, stop)));
        }
        checks
    };
    names.iter().flat_map(of_target).collect()
}

/// Whether the target's objects are anything else than the files of a root.
fn is_apart(config: &Config, targets: &Targets, name: &str, root: &Path, stop: &Stop) -> Check {
    const NAME: &str = "separate storage";
    let roots: Vec<_> = config.watch.roots.iter().map(|root| root.path.clone()).collect();
    let root_name = printable(root);
    match targets.shows(name, root, &roots, stop, &NullLedger) {
        Err(error) => of_result(Path::new(name), NAME, Err::<String, _>(error)),
        Ok(shown) => match shown.iter().find(|shown| shown.root == root) {
            None => Check::new(name, NAME, true, format!("separate from `{root_name}`")),
            Some(shown) => {
                let hint = "Its objects are the recordings themselves, so nothing there is freed. Point the target at \
                            storage that does not lead to the recordings.";
                let detail = format!("another view of `{root_name}`: {}", shown.seen);
                Check::new(name, NAME, false, detail).hint(Some(hint.to_owned()))
            }
        },
    }
}

fn target(targets: &Targets, name: &str) -> Vec<Check> {
    match targets.probe(name) {
        Err(error) => vec![of_result(Path::new(name), "probe", Err::<String, _>(error))],
        Ok(probed) => {
            let check = |c: deliver::TargetCheck| Check::new(name, c.name, c.ok, c.detail).hint(c.hint);
            probed.into_iter().map(check).collect()
        }
    }
}
