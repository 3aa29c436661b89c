//! From page to page and object to object: what it is, what it needs, who does that, and what is said of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use serde_json::json;

use super::error::{ArchiveError, Result};
use super::inside::{FinishedPlace, InsideJob, InsideOutcome, InsidePlan, place_of};
use super::item::{ArchiveItem, ArchiveReport, ItemState, ItemWay, Transferred};
use super::judging::{Judgement, judge};
use super::naming::{complete_key, id_of};
use super::options::ArchiveOptions;
use super::scratch::{PIECE_BYTES, Scratch, ScratchJob, ScratchOutcome};
use crate::deliver::{DeliverError, Ledger, PinnedObject, Targets, is_composed_header};
use crate::discover::{NameClass, NameRules};
use crate::durable::PartialOwner;
use crate::fault::{Fault, chain};
use crate::finish::FinishOptions;
use crate::recording::name::printable_text;
use crate::recording::{Container, Fingerprint, RemoteObject, Shard};
use crate::stop::Stop;

/// An object with a new header that is this old was left: it is removed as soon as it is part of another one.
const HEADER_IN_USE_MS: i64 = 3_600_000;

/// What is asked of a bucket.
#[derive(Clone, Copy)]
pub struct ArchiveJob<'a> {
    /// The store, and the name of the target in it: the URL.
    pub targets: &'a Targets,
    /// The same.
    pub url: &'a str,
    /// The prefix of every key, without slashes at its ends.
    pub prefix: &'a str,
    /// Only this part of the objects.
    pub shard: Option<Shard>,
    /// Whether nothing is done but told.
    pub dry_run: bool,
    /// How long an object under a temporary name must be unchanged, milliseconds.
    pub orphan_after_ms: i64,
    /// Reads names.
    pub rules: &'a NameRules,
    /// Settings of finishing.
    pub finish: &'a FinishOptions,
    /// Settings of scratch space.
    pub options: &'a ArchiveOptions,
    /// The state directory.
    pub state_dir: &'a Path,
    /// Where uploads and proofs are remembered.
    pub ledger: &'a dyn Ledger,
    /// In whose name files are written.
    pub owner: &'a PartialOwner,
    /// The program that is started to decode; without it this process decodes.
    pub decoder: Option<&'a Path>,
    /// The wish to stop.
    pub stop: &'a Stop,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Asked right before an object is made or removed: whether this process still is the one that works on it.
    pub may_change: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for ArchiveJob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveJob").field("url", &self.url).finish_non_exhaustive()
    }
}

impl ArchiveJob<'_> {
    /// An error unless this process still is the one that works on an object.
    pub fn require_ours(&self, key: &str) -> Result<()> {
        if (self.may_change)() { Ok(()) } else { Err(ArchiveError::NotOurs { key: key.to_owned() }) }
    }

    /// A key below the prefix.
    pub fn relative<'k>(&self, key: &'k str) -> &'k str {
        key.strip_prefix(self.prefix).unwrap_or(key).trim_start_matches('/')
    }
}

/// Takes what lies below a URL to its end; `tell` gets each object as it comes. An error means that the listing could not be gone
/// on with; what is wrong with one object is said of that.
pub fn run(job: &ArchiveJob<'_>, tell: &mut dyn FnMut(ArchiveItem) -> bool) -> Result<ArchiveReport> {
    let mut run = ArchiveRun::begin(job);
    let mut page = None;
    loop {
        let listed = job.targets.objects(job.url, "", page.take())?;
        for object in &listed.objects {
            if job.stop.is_requested() {
                run.report.is_interrupted = true;
                return Ok(run.report);
            }
            run.report.listed += 1;
            let Some(item) = run.take(job, object)? else { continue };
            run.report.transferred += item.transferred;
            if !tell(item) {
                run.report.is_interrupted = true;
                return Ok(run.report);
            }
        }
        match listed.next {
            Some(next) => page = Some(next),
            None => return Ok(run.report),
        }
    }
}

/// Takes objects of one bucket to their end, one after the other.
#[derive(Debug, Default)]
pub struct ArchiveRun {
    report: ArchiveReport,
    /// Opened at the beginning, else for the first object that needs it.
    scratch: Option<Scratch>,
    units: UnitDirectories,
}

impl ArchiveRun {
    /// Nothing is known of the bucket yet. What a killed process left in scratch space is removed, whether this run needs any or not.
    pub fn begin(job: &ArchiveJob<'_>) -> Self {
        let opened = (!job.dry_run).then(|| Scratch::open(job.options, job.state_dir, job.owner));
        let scratch = opened.transpose().unwrap_or_else(|error| {
            let hint = error.hint();
            tracing::warn!(error = chain(&error), hint, "scratch space cannot be cleared; retrying when it is needed");
            None
        });
        Self { scratch, ..Self::default() }
    }

    /// Takes an object of a listing to its end. `None` if nothing is done with it, or if the work was stopped.
    pub fn take(&mut self, job: &ArchiveJob<'_>, object: &PinnedObject) -> Result<Option<ArchiveItem>> {
        if is_composed_header(&object.key) {
            self.report.left_alone += 1;
            clear_left_over(job, object);
            return Ok(None);
        }
        let relative = job.relative(&object.key).to_owned();
        let name = OsStr::new(relative.rsplit('/').next().unwrap_or_default());
        let NameClass::Recording { is_temporary } = job.rules.class(name) else {
            self.report.left_alone += 1;
            return Ok(None);
        };
        let family = job.rules.family(Path::new(&relative));
        if job.shard.is_some_and(|shard| !shard.has(family.as_os_str().as_encoded_bytes())) {
            self.report.of_other_shards += 1;
            return Ok(None);
        }
        let mut item = ArchiveItem::of(&object.key, object.size_bytes);
        if !object.is_addressable() {
            item.state = failed(&ArchiveError::Unnameable { key: object.key.clone() });
            return Ok(Some(item));
        }
        if self.units.hold(job, &relative)? {
            self.report.left_alone += 1;
            return Ok(None);
        }
        let age_ms = job.now_ms.saturating_sub(object.modified_ms);
        if is_temporary && age_ms < job.orphan_after_ms {
            let message = format!("temporary name, last written {} s ago", age_ms.max(0) / 1000);
            item.state = ItemState::Waiting { message };
            return Ok(Some(item));
        }
        match self.finish(job, object, (&relative, is_temporary), &mut item) {
            Ok(state) => item.state = state,
            Err(ArchiveError::Stopped | ArchiveError::Store(DeliverError::Cancelled)) => {
                job.stop.request();
                self.report.is_interrupted = true;
                return Ok(None);
            }
            Err(error) => item.state = failed(&error),
        }
        Ok(Some(item))
    }

    fn finish(
        &mut self,
        job: &ArchiveJob<'_>,
        object: &PinnedObject,
        (relative, is_temporary): (&str, bool),
        item: &mut ArchiveItem,
    ) -> Result<ItemState> {
        let id = id_of(job.url, object);
        if let Some(known) = Known::read(job.ledger, &id)? {
            if let Some(state) = is_known(job, known, item)? {
                return Ok(state);
            }
            if !job.dry_run {
                Known::forget(job.ledger, &id)?;
            }
        }
        let judged = judge(job, object, is_temporary)?;
        item.transferred += judged.used;
        item.defects.clone_from(&judged.defects);
        match judged.judgement {
            Judgement::Complete => Ok(ItemState::Complete),
            Judgement::Quarantined => Ok(ItemState::Quarantined),
            Judgement::Inside(plan, way) => self.inside(job, object, (relative, is_temporary), (&id, &plan, way), item),
            Judgement::Whole => self.whole(job, object, (relative, is_temporary), &id, item),
        }
    }

    fn inside(
        &mut self,
        job: &ArchiveJob<'_>,
        object: &PinnedObject,
        name: (&str, bool),
        (id, plan, way): (&str, &InsidePlan, ItemWay),
        item: &mut ArchiveItem,
    ) -> Result<ItemState> {
        let Some(transferred) = plan.transferred() else { return self.whole(job, object, name, id, item) };
        if job.dry_run {
            item.transferred += transferred;
            return Ok(match place_of(job.targets, object, (&plan.key, id), &|_| Ok(true))? {
                FinishedPlace::Made(made) => {
                    item.to = Some(made.key);
                    ItemState::AlreadyFinished
                }
                FinishedPlace::Free(key) => {
                    item.to = Some(key);
                    ItemState::Planned { way }
                }
            });
        }
        let require_ours = || job.require_ours(&object.key);
        let (targets, ledger) = (job.targets, job.ledger);
        let inside = InsideJob { targets, ledger, source: object, plan, id, require_ours: &require_ours };
        match inside.run()? {
            InsideOutcome::NotSupported => self.whole(job, object, name, id, item),
            InsideOutcome::Made { made, is_of_before } => {
                item.to = Some(made.key.clone());
                Known::made(job, &made)?.write(job.ledger, id)?;
                item.transferred += transferred;
                Ok(if is_of_before { ItemState::AlreadyFinished } else { ItemState::Finished { way } })
            }
        }
    }

    /// Its media has to be read.
    fn whole(
        &mut self,
        job: &ArchiveJob<'_>,
        object: &PinnedObject,
        (relative, is_temporary): (&str, bool),
        id: &str,
        item: &mut ArchiveItem,
    ) -> Result<ItemState> {
        let pieces = object.size_bytes.div_ceil(PIECE_BYTES);
        let read_bytes = object.size_bytes;
        if job.dry_run {
            item.transferred += Transferred { read_bytes, sent_bytes: read_bytes, requests: 2 * pieces + 4 };
            return Ok(ItemState::Planned { way: ItemWay::Scratch });
        }
        let stem = job.rules.family(Path::new(relative)).to_string_lossy().into_owned();
        let renamed = is_temporary.then(|| complete_key(job.rules, relative, Container::Mp4));
        let whole = ScratchJob { all: job, source: object, relative, stem: &stem, renamed: renamed.as_deref(), id };
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::open(job.options, job.state_dir, job.owner)?,
        };
        let outcome = self.scratch.insert(scratch).run(&whole)?;
        item.transferred += Transferred { read_bytes, sent_bytes: 0, requests: pieces };
        concluded(job, id, outcome, item)
    }
}

fn failed(error: &ArchiveError) -> ItemState {
    ItemState::Failed { class: error.class(), message: chain(error), hint: error.hint() }
}

/// Removes the object with a new header that a killed process left, as it was seen. One that is in use is not older than its upload.
fn clear_left_over(job: &ArchiveJob<'_>, object: &PinnedObject) {
    let is_in_use = job.now_ms.saturating_sub(object.modified_ms) < HEADER_IN_USE_MS;
    if is_in_use || job.dry_run || !(job.may_change)() {
        return;
    }
    match job.targets.remove_as_seen(object) {
        Err(DeliverError::Cancelled) => job.stop.request(),
        Err(error) => {
            let key = printable_text(&object.key);
            tracing::warn!(%key, error = chain(&error), "temporary header of an earlier run not removed");
        }
        Ok(()) => {}
    }
}

/// What an earlier run noted of it; `None` if what was made of it is not there any more, or is another object: it is made anew.
fn is_known(job: &ArchiveJob<'_>, known: Known, item: &mut ArchiveItem) -> Result<Option<ItemState>> {
    let Known::Made(made) = known else { return Ok(Some(ItemState::Complete)) };
    item.transferred.requests += 1;
    if let Some(differs) = job.targets.verify(&made, false, job.stop)? {
        tracing::warn!(key = %printable_text(&made.key), why = %differs.words, "finished object not as it was proven; making it again");
        return Ok(None);
    }
    item.to = Some(made.key);
    Ok(Some(ItemState::AlreadyFinished))
}

/// What came of an object in scratch space.
fn concluded(job: &ArchiveJob<'_>, id: &str, outcome: ScratchOutcome, item: &mut ArchiveItem) -> Result<ItemState> {
    match outcome {
        ScratchOutcome::Complete => {
            Known::Complete.write(job.ledger, id)?;
            Ok(ItemState::Complete)
        }
        ScratchOutcome::Quarantined(defects) => {
            item.defects = defects;
            Ok(ItemState::Quarantined)
        }
        ScratchOutcome::Assembled { object: made, defects, transferred, is_of_before } => {
            item.transferred += transferred;
            Known::made(job, &made)?.write(job.ledger, id)?;
            (item.to, item.defects) = (Some(made.key), defects);
            let way = ItemWay::Scratch;
            Ok(if is_of_before { ItemState::AlreadyFinished } else { ItemState::Finished { way } })
        }
        ScratchOutcome::Finished { object: made, defects } => {
            let sent_bytes = made.size_bytes;
            let requests = sent_bytes.div_ceil(PIECE_BYTES) + 4;
            item.transferred += Transferred { read_bytes: 0, sent_bytes, requests };
            (item.to, item.defects) = (Some(made.key.clone()), defects);
            Known::Made(made).write(job.ledger, id)?;
            Ok(ItemState::Finished { way: ItemWay::Scratch })
        }
    }
}

/// What is noted of an object when it has come to its end, so that the next run asks nothing of it.
enum Known {
    Complete,
    Made(Box<RemoteObject>),
}

impl Known {
    /// An object that was compared with the plan.
    fn made(job: &ArchiveJob<'_>, made: &PinnedObject) -> Result<Self> {
        let object = Box::new(RemoteObject {
            target: made.target.clone(),
            key: made.key.clone(),
            url: job.targets.url_of(&made.target, &made.key)?,
            size_bytes: made.size_bytes,
            etag: made.etag.clone(),
            version: None,
            checksum: None,
            checksum_compared: false,
            verified_ms: job.now_ms,
            // Of no file: nothing is ever freed on it.
            source: Fingerprint { device: 0, inode: 0, size_bytes: made.size_bytes, mtime_ns: 0 },
            source_changed_ns: None,
            differs: None,
            differs_when_read: false,
            is_progressive_copy: false,
        });
        Ok(Self::Made(object))
    }

    fn row(id: &str) -> String {
        format!("archive/{id}")
    }

    fn read(ledger: &dyn Ledger, id: &str) -> Result<Option<Self>> {
        let row = Self::row(id);
        let rows = ledger.rows(&row).map_err(DeliverError::Ledger)?;
        let value = rows.into_iter().find(|(key, _)| *key == row).map(|(_, value)| value);
        Ok(value.and_then(|value| match value.get("made") {
            Some(made) => {
                let object = serde_json::from_value(made.clone()).ok();
                object.map(Self::Made)
            }
            None => Some(Self::Complete),
        }))
    }

    fn forget(ledger: &dyn Ledger, id: &str) -> Result<()> {
        Ok(ledger.remove(&Self::row(id)).map_err(DeliverError::Ledger)?)
    }

    fn write(self, ledger: &dyn Ledger, id: &str) -> Result<()> {
        let value = match self {
            Self::Complete => json!({ "complete": true }),
            Self::Made(object) => json!({ "made": object }),
        };
        Ok(ledger.put(&Self::row(id), &value).map_err(DeliverError::Ledger)?)
    }
}

/// Which directories hold a playlist: what lies in them or below belongs to it.
#[derive(Debug, Default)]
struct UnitDirectories(HashMap<String, bool>);

impl UnitDirectories {
    /// Most directories that are remembered.
    const MOST: usize = 1000;

    /// Whether a directory from that of a key up to the prefix holds a playlist or a manifest, which may name the key.
    fn hold(&mut self, job: &ArchiveJob<'_>, relative: &str) -> Result<bool> {
        let mut directory = relative;
        while !directory.is_empty() {
            directory = directory.rsplit_once('/').map_or("", |(above, _)| above);
            if self.holds(job, directory)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn holds(&mut self, job: &ArchiveJob<'_>, directory: &str) -> Result<bool> {
        if let Some(known) = self.0.get(directory) {
            return Ok(*known);
        }
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        let found = Self::look(job, directory)?;
        self.0.insert(directory.to_owned(), found);
        Ok(found)
    }

    fn look(job: &ArchiveJob<'_>, directory: &str) -> Result<bool> {
        let is_playlist = |object: &PinnedObject| {
            let name = object.key.rsplit('/').next().unwrap_or_default();
            matches!(job.rules.class(OsStr::new(name)), NameClass::Playlist(_))
        };
        let mut page = None;
        loop {
            let listed = job.targets.objects_in(job.url, directory, page)?;
            if listed.objects.iter().any(is_playlist) {
                return Ok(true);
            }
            page = listed.next;
            if page.is_none() {
                return Ok(false);
            }
        }
    }
}
