//! Items that are files of a directory which several nodes see.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::debug;

use super::super::Context;
use super::super::batch::BatchKind;
use super::outcome::ItemOutcome;
use crate::discover::{self, Mode, NameRules};
use crate::durable::{self, PartialOwner};
use crate::fault::{Class, chain};
use crate::fleet::{NewWork, RunningBatch, SharedWork, WorkItem};
use crate::pipeline::{self, Batch, BatchPart, BatchReport, InputPath, JourneyOutcome, NextStep, PipelineError};
use crate::printable::Printable;
use crate::recording::name::printable;
use crate::recording::{DeliveryState, Fingerprint};

/// Files of a page.
const PAGE_FILES: usize = 1_000;
/// Files come after pages.
const PRIORITY: i32 = 100;
/// How long a recording is left alone of which nothing proves yet that nobody writes it.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60);

/// What an intent says of a file that is written aside: for which final name, and in whose name.
const ASIDE_FOR: &str = "asideFor";
const ASIDE_OWNER: &str = "asideOwner";

/// A directory that is worked on.
#[derive(Debug)]
pub(super) struct DirectoryPlace {
    path: PathBuf,
    root_id: Option<String>,
    rules: NameRules,
    pause: Duration,
}

impl DirectoryPlace {
    /// The directory of a batch; why not, if it is not here or another node's. `live_node` names a node if it is another one and alive;
    /// it says nothing where the database could not be asked any more.
    pub fn open(
        context: &Context,
        batch: &RunningBatch,
        live_node: impl FnOnce(&str) -> Option<Option<String>>,
    ) -> Result<Self, String> {
        let config = context.config();
        let place = Self {
            path: PathBuf::from(&batch.root),
            root_id: batch.root_id.clone(),
            rules: NameRules::new(&config.watch.temporary_suffixes),
            pause: config.watch.quiet.clamp(LEAST_PAUSE, MOST_PAUSE),
        };
        if place.root_id.is_none() {
            return Err(format!("the batch does not say which directory `{}` is", printable(&place.path)));
        }
        if !place.is_here() {
            return Err(format!("`{}` is not the same directory on this node", printable(&place.path)));
        }
        place.belongs_to_other(live_node)?;
        let owned = context.pipeline().own_beside_others([place.path.as_path()].into_iter());
        owned.map_err(|error| chain(&error)).map(|()| place)
    }

    /// An error where another node that is alive works on it: over a network file system its lock is not seen here.
    fn belongs_to_other(&self, live_node: impl FnOnce(&str) -> Option<Option<String>>) -> Result<(), String> {
        let says = durable::owner_of(&self.path).filter(|says| !says.is_shared);
        let Some(owner) = says.and_then(|says| says.node_id) else { return Ok(()) };
        match live_node(&owner) {
            Some(None) => Ok(()),
            Some(Some(name)) => {
                Err(format!("`{}` belongs to the node `{}`, which is running", printable(&self.path), Printable(&name)))
            }
            None => Err(format!("stopped before it was known whose `{}` is", printable(&self.path))),
        }
    }

    /// Whether it is there, and is the one that was meant.
    pub fn is_here(&self) -> bool {
        let id = durable::owner_of(&self.path).map(|owner| owner.root_id);
        self.path.is_dir() && (self.root_id.is_none() || id == self.root_id)
    }

    /// Lists a page.
    pub fn list(&self, kind: BatchKind, page: &WorkItem) -> ItemOutcome {
        let after = hex::decode(&page.item).ok().filter(|bytes| !bytes.is_empty());
        let after = after.map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
        let listed = match discover::file_page(&self.path, &self.rules, after.as_deref(), PAGE_FILES) {
            Ok(listed) => listed,
            Err(error) => {
                let message = format!("cannot read `{}`: {}", printable(&self.path), chain(&error));
                return ItemOutcome::failed(Class::of_io(&error), &message);
            }
        };
        let files = listed.files.iter().map(|(path, seen)| work(kind, page, path, Some(seen)));
        // Said when their turn comes, with the reason of then.
        let unreadable = listed.unreadable.iter().map(|(path, _)| work(kind, page, path, None));
        let next = listed.next.map(|path| hex::encode(path.as_os_str().as_bytes()));
        ItemOutcome::Page { found: files.chain(unreadable).collect(), next }
    }

    /// Takes a recording to its end.
    pub fn take(&self, context: &Context, shared: &SharedWork, kind: BatchKind, item: &WorkItem) -> ItemOutcome {
        let Some(path) = self.path_of(item) else {
            return ItemOutcome::failed(Class::Permanent, "the item is not a path below the root");
        };
        if !self.is_here() {
            let message = format!("the directory `{}` is not available", printable(&self.path));
            return ItemOutcome::failed(Class::Environment, &message);
        }
        self.clear_aside(item, &path);
        // An earlier holder may have published it and died before it could say so.
        let (path, is_published) = self.published(item).map_or((path, false), |published| (published, true));
        if !path.exists() {
            return ItemOutcome::done("gone", json!({}));
        }
        if path.is_dir() {
            let message = "it is a directory: it could not be read when the batch was listed; start another batch";
            return ItemOutcome::failed(Class::Permanent, message);
        }
        let place = self.place(context, path.clone());
        if kind == BatchKind::Verify {
            return verify(context, place);
        }
        let (held, mine) = (shared.clone(), item.clone());
        let below = self.path.clone();
        let _fence = context.pipeline().fences.put(&path, move |next| may(&held, &mine, &below, next));
        let batch = Batch {
            places: vec![place],
            mode: if kind == BatchKind::Salvage { Mode::Recover } else { Mode::Process },
            // The first try is waited for; what is left is the item's to try again, here or elsewhere.
            wait: false,
            again: matches!(kind, BatchKind::Salvage | BatchKind::Posters),
            part: BatchPart::Item,
            is_alone: true,
            stop: context.stop().clone(),
        };
        let mut ended = None;
        let report = pipeline::run(context.engine(), &batch, &mut |_, outcome| ended = Some(outcome));
        match report {
            Err(PipelineError::Stopped) => ItemOutcome::Stopped,
            Err(error) => ItemOutcome::of(&error),
            Ok(_) if context.stop().is_requested() && ended.is_none() => ItemOutcome::Stopped,
            // What was not tried for the stop is no failure.
            Ok(report) if context.stop().is_requested() && !report.undelivered.is_empty() => ItemOutcome::Stopped,
            Ok(report) => {
                let outcome = with_record(context, self.outcome(ended, &report, is_published));
                if kind == BatchKind::Posters { with_pictures(outcome) } else { outcome }
            }
        }
    }

    /// Removes what an earlier holder has left aside, who can publish nothing any more.
    fn clear_aside(&self, item: &WorkItem, source: &Path) {
        let said = |name: &str| item.intent.as_ref()?.get(name)?.as_str();
        let Some(owner) = said(ASIDE_OWNER).map(PartialOwner::new) else { return };
        let named = said(ASIDE_FOR).and_then(|name| self.below(Path::new(name)));
        for beside in named.as_deref().into_iter().chain([source]) {
            if let Err(error) = durable::remove_partials(beside, &owner) {
                let path = printable(beside);
                debug!(%path, error = chain(&error), "cannot remove what an earlier process has left aside");
            }
        }
    }

    /// The path of an item; none that leads out of the directory.
    fn path_of(&self, item: &WorkItem) -> Option<PathBuf> {
        let exact = item.args.as_ref().and_then(|args| args.get("pathHex")?.as_str().map(str::to_owned));
        let relative = match exact {
            Some(exact) => PathBuf::from(OsString::from_vec(hex::decode(exact).ok()?)),
            None => PathBuf::from(&item.item),
        };
        self.below(&relative)
    }

    fn below(&self, relative: &Path) -> Option<PathBuf> {
        let is_below = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (is_below && relative.file_name().is_some()).then(|| self.path.join(relative))
    }

    /// What an earlier holder was about to publish, if it is there.
    fn published(&self, item: &WorkItem) -> Option<PathBuf> {
        let intent = item.intent.as_ref()?;
        let path = self.below(Path::new(intent.get("path")?.as_str()?))?;
        let size_bytes = intent.get("sizeBytes")?.as_u64()?;
        let is_there = durable::fingerprint(&path).is_ok_and(|now| now.size_bytes == size_bytes);
        is_there.then_some(path)
    }

    fn place(&self, context: &Context, path: PathBuf) -> InputPath {
        let config = context.config();
        let rooted = discover::root_of(&path, &config.watch.roots);
        let root = if rooted.is_configured { rooted.root } else { config.root_at(self.path.clone()) };
        InputPath { path, root }
    }

    fn outcome(&self, ended: Option<JourneyOutcome>, report: &BatchReport, is_published: bool) -> ItemOutcome {
        if let Some(problem) = report.problems.first() {
            return ItemOutcome::of(problem);
        }
        let outcome = match ended {
            Some(JourneyOutcome::Finished { vod }) => {
                let word = if is_published { "already finished" } else { "finished" };
                let defects: Vec<_> = vod.defects.iter().map(ToString::to_string).collect();
                ItemOutcome::done(word, json!({ "vodId": vod.vod_id, "vodName": vod.vod_name, "defects": defects }))
            }
            Some(JourneyOutcome::AlreadyFinished { vod_id }) => {
                ItemOutcome::done("already finished", json!({ "vodId": vod_id }))
            }
            Some(JourneyOutcome::Quarantined { defects }) => return ItemOutcome::unusable(&defects),
            Some(JourneyOutcome::LeftOut) => ItemOutcome::done("left out", json!({})),
            Some(JourneyOutcome::Failed { class, message, .. } | JourneyOutcome::Postponed { class, message, .. }) => {
                return if class == Class::Cancelled {
                    ItemOutcome::Stopped
                } else {
                    ItemOutcome::failed(class, &message)
                };
            }
            None if !report.not_settled.is_empty() => {
                let why = report.not_settled.first().map(|(_, why)| why.to_string()).unwrap_or_default();
                return ItemOutcome::Later { why, after: self.pause };
            }
            None if report.units > 0 => ItemOutcome::done("delivered", json!({})),
            None => ItemOutcome::done("left alone", json!({})),
        };
        undelivered(report).unwrap_or(outcome)
    }
}

/// The same with the record that was made: it is listed for this node from when the result is accepted on.
fn with_record(context: &Context, outcome: ItemOutcome) -> ItemOutcome {
    let ItemOutcome::Done(mut result) = outcome else { return outcome };
    if let Some(vod_id) = result.details.get("vodId").and_then(Value::as_str) {
        result.vod = match context.pipeline().catalog.shared().with_revision(vod_id) {
            Ok(record) => record,
            Err(error) => return ItemOutcome::of(&error),
        };
    }
    ItemOutcome::Done(result)
}

/// The same where pictures are what the batch is for: those that could not be made are its outcome, with the reason.
fn with_pictures(outcome: ItemOutcome) -> ItemOutcome {
    let ItemOutcome::Done(mut result) = outcome else { return outcome };
    if let Some(why) = result.vod.as_ref().and_then(|(record, _)| record.pictures.missing.clone())
        && let Value::Object(details) = &mut result.details
    {
        "no poster".clone_into(&mut result.outcome);
        details.insert("missing".to_owned(), why.into());
    }
    ItemOutcome::Done(result)
}

/// A recording whose delivery did not come to its end is not done: the queue of this process may be gone afterwards.
fn undelivered(report: &BatchReport) -> Option<ItemOutcome> {
    let delivery = report.undelivered.first()?;
    Some(match &delivery.state {
        DeliveryState::Waiting { last_fault: Some((class, message)), .. } => ItemOutcome::failed(*class, message),
        DeliveryState::Stuck { message } => ItemOutcome::failed(Class::Permanent, message),
        // It was not even tried: its target waits for its surroundings.
        _ => ItemOutcome::failed(Class::Environment, "not delivered yet: its target is paused"),
    })
}

/// What whoever takes a recording over has to know from its beginning on: in whose name files are written aside.
pub(super) fn in_whose_name(context: &Context) -> Value {
    json!({ ASIDE_OWNER: context.pipeline().catalog.owner().id() })
}

/// Asks the database before a step that cannot be undone, or that leaves something if it is cut.
fn may(shared: &SharedWork, item: &WorkItem, root: &Path, next: &NextStep<'_>) -> Result<(), String> {
    let relative = |path: &Path| path.strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned);
    let intent = match next {
        NextStep::Write { path, owner } => Some(json!({ ASIDE_FOR: relative(path), ASIDE_OWNER: owner.id() })),
        NextStep::Publish { path, vod_id, size_bytes } => {
            Some(json!({ "path": relative(path), "vodId": vod_id, "sizeBytes": size_bytes }))
        }
        NextStep::RemoveSource => None,
    };
    match shared.is_still_mine(item, intent.as_ref()) {
        Ok(true) => Ok(()),
        Ok(false) => Err("another node has taken it over".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

/// Reads headers and says what would be done.
fn verify(context: &Context, place: InputPath) -> ItemOutcome {
    let plan = || pipeline::plan(&context.pipeline().discovering, &[place], None, Mode::Process);
    let planned = match context.stoppable(plan) {
        Err(_) => return ItemOutcome::Stopped,
        Ok(Err(error)) => return ItemOutcome::of(&error),
        Ok(Ok(planned)) => planned,
    };
    if let Some(problem) = planned.problems.first() {
        return ItemOutcome::of(problem);
    }
    match planned.items.first() {
        Some(item) => {
            let defects: Vec<_> = item.defects.iter().map(ToString::to_string).collect();
            ItemOutcome::done(&item.plan, json!({ "defects": defects }))
        }
        None => ItemOutcome::done("left alone", json!({})),
    }
}

fn work(kind: BatchKind, page: &WorkItem, path: &Path, seen: Option<&Fingerprint>) -> NewWork {
    let exact = path.to_str().is_none().then(|| json!({ "pathHex": hex::encode(path.as_os_str().as_bytes()) }));
    NewWork {
        kind: kind.name().to_owned(),
        root: page.root.clone(),
        item: path.to_string_lossy().into_owned(),
        fingerprint: seen.map(|seen| format!("{} {}", seen.size_bytes, seen.mtime_ns)).unwrap_or_default(),
        args: exact,
        batch_id: page.batch_id,
        priority: PRIORITY,
        delay_ms: 0,
    }
}
