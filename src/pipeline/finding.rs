//! Which recordings and units lie in the places that are to be worked on.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::active_config::PipelineSettings;
use super::discovering::Discovering;
use super::owning::ForeignRoots;
use super::roots;
use crate::catalog::KnownFile;
use crate::discover::{
    self, DiscoverError, Finding, FragmentHandling, FragmentedPolicy, NameReading, NameRules, Namer, PathClass,
    Problem, RootOptions, Search, Server, Unit,
};
use crate::durable;
use crate::recording::Shard;
use crate::recording::journey::Candidate;
use crate::recording::name::printable;

/// A file or directory that is to be worked on, and the root that holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct InputPath {
    /// Absolute path.
    pub path: PathBuf,
    /// The configured root that holds it, else the directory itself, else the file's parent.
    pub root: RootOptions,
}

/// What the command line says about names, in place of the root's own settings.
#[derive(Debug, Clone, Default)]
pub struct NameOverrides {
    /// The ingest server.
    pub server: Option<Server>,
    /// The template.
    pub template: Option<String>,
    /// The stream id.
    pub stream: Option<String>,
}

/// Finds the root of each path, and the configured roots below it.
pub fn places_of(paths: &[PathBuf], settings: &PipelineSettings, names: &NameOverrides) -> Vec<InputPath> {
    let place = |path: PathBuf, mut root: RootOptions| {
        root.server = names.server.unwrap_or(root.server);
        root.template = names.template.clone().or(root.template);
        root.stream = names.stream.clone().or(root.stream);
        InputPath { path, root }
    };
    let places = |path: &PathBuf| {
        let placed = discover::root_of(path, &settings.watch.roots);
        let below: Vec<_> =
            roots_below(settings, &placed.path).map(|root| place(root.path.clone(), root.clone())).collect();
        std::iter::once(place(placed.path, placed.root)).chain(below)
    };
    paths.iter().flat_map(places).collect()
}

/// Configured roots below a directory: what lies in them is theirs, with their settings and keys.
fn roots_below<'a>(settings: &'a PipelineSettings, directory: &'a Path) -> impl Iterator<Item = &'a RootOptions> {
    settings.watch.roots.iter().filter(move |root| root.path != directory && root.path.starts_with(directory))
}

/// The configured roots as places.
pub fn configured_places(settings: &PipelineSettings) -> Vec<InputPath> {
    settings.watch.roots.iter().map(|root| InputPath { path: root.path.clone(), root: root.clone() }).collect()
}

/// One thing that lies there.
#[derive(Debug)]
pub enum Item {
    /// A file that may be a recording.
    Candidate(Candidate),
    /// An HLS or DASH unit with its stream id.
    Unit(Unit, String),
    /// A final name whose temporary is still written.
    Waiting(PathBuf),
    /// A file whose removal was interrupted, or that waits for it.
    Aside(PathBuf),
    /// Media that nothing is done with, or a file that was named and is no recording.
    Unhandled(PathBuf),
    /// What could not be read.
    Problem(Problem),
}

/// What lies there.
#[derive(Debug, Default)]
pub struct FoundInputs {
    /// Files that may be recordings, the newest first.
    pub candidates: Vec<Candidate>,
    /// HLS and DASH units with their stream ids.
    pub units: Vec<(Unit, String)>,
    /// Final names whose temporary is still written.
    pub waiting: Vec<PathBuf>,
    /// Files whose removal was interrupted, or that wait for it.
    pub asides: Vec<PathBuf>,
    /// Media that nothing is done with, and files that were named and are no recordings.
    pub unhandled: Vec<PathBuf>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

impl FoundInputs {
    fn add(&mut self, item: Item) {
        match item {
            Item::Candidate(candidate) => self.candidates.push(candidate),
            Item::Unit(unit, stream_id) => self.units.push((unit, stream_id)),
            Item::Waiting(path) => self.waiting.push(path),
            Item::Aside(path) => self.asides.push(path),
            Item::Unhandled(path) => self.unhandled.push(path),
            Item::Problem(problem) => self.problems.push(problem),
        }
    }
}

/// What was said last of how a root is read.
type ToldReading = (Server, Option<(bool, String)>);

/// What was said of how roots are read.
#[derive(Debug, Default)]
pub struct ToldReadings(Mutex<HashMap<PathBuf, ToldReading>>);

impl ToldReadings {
    fn is_news(&self, root: &RootOptions, server: Server, fragments: Option<&FragmentHandling>) -> bool {
        let told = (server, fragments.map(|handling| (handling.are_kept, handling.reason.to_string())));
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readings.insert(root.path.clone(), told.clone()).as_ref() != Some(&told)
    }
}

/// A root with the reader of its names.
#[derive(Debug)]
pub struct RootReader {
    root: RootOptions,
    namer: Namer,
}

impl RootReader {
    /// Compiles the root's names; `auto` looks at what is there.
    pub fn new(settings: &PipelineSettings, root: &RootOptions) -> Result<Self, DiscoverError> {
        let namer = Namer::new(root, &settings.watch.temporary_suffixes, settings.finish.time_zone.clone())?;
        Ok(Self { root: root.clone(), namer })
    }

    /// Says how names are read there and what becomes of fragments: once, and again when that has changed.
    pub fn tell(&self, ctx: &Discovering) {
        let (root, choice) = (&self.root, self.namer.choice());
        let server = choice.map_or(root.server, |choice| choice.server);
        let is_special = server == Server::MediaMtx || root.fragmented != FragmentedPolicy::Auto;
        let fragments = is_special.then(|| discover::fragments_of(root, server.name()));
        if !ctx.told.is_news(root, server, fragments.as_ref()) {
            return;
        }
        if let Some(choice) = choice {
            tracing::info!(root = %printable(&root.path), server = choice.server.name(), reason = choice.reason, "selected file name preset");
        }
        if let Some(FragmentHandling { are_kept, reason }) = fragments {
            tracing::info!(root = %printable(&root.path), kept = are_kept, %reason, "fragmented MP4 handling");
        }
    }

    /// The root it reads.
    pub const fn root(&self) -> &RootOptions {
        &self.root
    }

    /// What the path of a file below the root says.
    pub fn read(&self, relative: &Path) -> NameReading {
        self.namer.read(relative)
    }

    /// Looks at one path below the root, or at everything below a directory.
    pub fn find(&self, ctx: &Discovering, path: &Path, found: &mut FoundInputs) {
        self.visit(ctx, path, &mut |item| found.add(item));
    }

    /// The same, and tells what it finds as it finds it.
    pub fn visit(&self, ctx: &Discovering, path: &Path, hear: &mut dyn FnMut(Item)) {
        let (mut excluded, settings) = (ctx.config.excluded(), ctx.config.settings());
        excluded.extend(roots_below(&settings, &self.root.path).map(|root| root.path.clone()));
        let search = Search {
            root: &self.root,
            namer: &self.namer,
            excluded: &excluded,
            orphan_after: settings.watch.orphan_after,
            now_ms: ctx.clock.now_ms(),
        };
        let mut ours =
            OwnershipFilter { foreign: ForeignRoots::new(&self.root.path, ctx.catalog.owner()), said: HashSet::new() };
        if path.is_dir() {
            search.visit_below(path, &mut |finding| self.take(ctx, finding, &mut ours, hear));
        } else if ours.has(path, hear) {
            self.look_at(ctx, &search, path, hear);
        }
    }

    /// Passes on what is ours.
    fn take(&self, ctx: &Discovering, finding: Finding, ours: &mut OwnershipFilter<'_>, hear: &mut dyn FnMut(Item)) {
        match finding {
            Finding::Candidate(candidate) if ours.has(&candidate.path, hear) => hear(Item::Candidate(*candidate)),
            Finding::Unit(unit) if ours.has(&unit.playlist, hear) => hear(self.unit(*unit)),
            Finding::Candidate(_) | Finding::Unit(_) => {}
            Finding::Beside(candidate) => hear(beside(ctx, *candidate)),
            Finding::Waiting(path) => hear(Item::Waiting(path)),
            Finding::Unhandled(path) => hear(Item::Unhandled(path)),
            Finding::Problem(problem) => hear(Item::Problem(problem)),
            Finding::Aside(path) => hear(Item::Aside(path)),
        }
    }

    fn look_at(&self, ctx: &Discovering, search: &Search<'_>, path: &Path, hear: &mut dyn FnMut(Item)) {
        match search.look_at(path) {
            Ok(PathClass::Candidate(candidate)) => hear(Item::Candidate(*candidate)),
            Ok(PathClass::Beside(candidate)) => hear(beside(ctx, *candidate)),
            Ok(PathClass::Unit) => {
                let scan = search.scan_directory(path.parent().unwrap_or(path));
                scan.units.into_iter().for_each(|unit| hear(self.unit(unit)));
            }
            Ok(PathClass::Unhandled | PathClass::Nothing) if path.is_file() => hear(Item::Unhandled(path.to_owned())),
            Ok(PathClass::Unhandled | PathClass::Nothing) => {}
            Err(problem) => hear(Item::Problem(problem)),
        }
    }

    fn unit(&self, unit: Unit) -> Item {
        let relative = unit.playlist.strip_prefix(&self.root.path).unwrap_or(&unit.playlist);
        let stream_id = self.namer.read(relative).facts.stream_id;
        Item::Unit(unit, stream_id)
    }
}

/// A final name beside a temporary: its server is still writing it, unless the catalogue knows it as a finished file. Then the temporary is
/// the original that is kept.
fn beside(ctx: &Discovering, candidate: Candidate) -> Item {
    match ctx.catalog.knows(&candidate.path, &candidate.fingerprint) {
        Ok(KnownFile::Finished { .. }) => Item::Candidate(candidate),
        _ => Item::Waiting(candidate.path),
    }
}

/// Tells what lies in directories that other processes own as roots; each such directory is said once.
struct OwnershipFilter<'a> {
    foreign: ForeignRoots<'a>,
    said: HashSet<PathBuf>,
}

impl OwnershipFilter<'_> {
    fn has(&mut self, path: &Path, hear: &mut dyn FnMut(Item)) -> bool {
        let Some(owner) = self.foreign.owner_of(path) else { return true };
        let directory = path.parent().unwrap_or(path).to_owned();
        if self.said.insert(directory.clone()) {
            hear(Item::Problem(Problem::Owned { path: directory, state_dir: owner.state_dir }));
        }
        false
    }
}

/// Looks everywhere and tells what it finds as it finds it.
pub fn visit(ctx: &Discovering, places: &[InputPath], hear: &mut dyn FnMut(Item)) -> Result<(), DiscoverError> {
    for place in places {
        if !roots::is_available(&ctx.roots, &place.root.path) {
            hear(Item::Problem(Problem::RootGone { path: place.root.path.clone() }));
            continue;
        }
        let reader = RootReader::new(&ctx.config.settings(), &place.root)?;
        reader.tell(ctx);
        match std::fs::symlink_metadata(&place.path) {
            Ok(_) => reader.visit(ctx, &place.path, hear),
            Err(source) => hear(Item::Problem(Problem::Unreadable { path: place.path.clone(), source })),
        }
    }
    Ok(())
}

/// Whether an item belongs to a part. A recording, its temporary name and what is made of it are in one; what could not be read is
/// said by all.
fn is_in(shard: Shard, rules: &NameRules, root: &Path, item: &Item) -> bool {
    let path = match item {
        Item::Candidate(candidate) => Some(candidate.path.clone()),
        Item::Unit(unit, _) => Some(unit.playlist.clone()),
        Item::Waiting(path) | Item::Unhandled(path) => Some(path.clone()),
        // Another process may be about to remove it. What its name does not tell is left to a run over everything.
        Item::Aside(aside) => durable::original_path(aside),
        Item::Problem(_) => return true,
    };
    path.is_some_and(|path| {
        let relative = path.strip_prefix(root).unwrap_or_else(|_| Path::new(path.file_name().unwrap_or_default()));
        shard.has(rules.family(relative).as_os_str().as_encoded_bytes())
    })
}

/// Looks everywhere, or takes a part of what lies there; the newest candidate comes first.
pub fn find(ctx: &Discovering, places: &[InputPath], shard: Option<Shard>) -> Result<FoundInputs, DiscoverError> {
    let mut found = FoundInputs::default();
    let rules = NameRules::new(&ctx.config.settings().watch.temporary_suffixes);
    for place in places {
        let is_wanted = |item: &Item| shard.is_none_or(|shard| is_in(shard, &rules, &place.root.path, item));
        visit(ctx, std::slice::from_ref(place), &mut |item| {
            if is_wanted(&item) {
                found.add(item);
            }
        })?;
    }
    discover::newest_first(&mut found.candidates);
    found.unhandled.sort();
    found.unhandled.dedup();
    Ok(found)
}
