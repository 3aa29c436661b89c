//! `catalog rebuild`, the stores: VoDs whose local file was freed come back with the copies that their stores hold.
//!
//! An object proves nothing about a local file: what comes from here is recorded as freed, and a local file that is found
//! later is uploaded or recognised as any other. Whatever cannot be known without the file (tracks, defects) stays empty.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use tracing::{info, warn};

use super::delivering::Delivering;
use super::error::PipelineError;
use super::finding::{InputPath, RootReader};
use super::rebuilding::RebuildResult;
use super::roots;
use crate::deliver::{InventoryObject, ObjectAttributes, ObjectOrigin};
use crate::fault::chain;
use crate::finish::{self, Provenance};
use crate::media::PassControl;
use crate::recording::journey::{Candidate, Evidence};
use crate::recording::name::printable_text;
use crate::recording::{Fingerprint, KeyPattern, Outcome, RemoteObject, VodRecord};

/// Records made in one go.
const BATCH: usize = 500;
/// Objects that take a while to ask.
const MANY: usize = 10_000;

/// Asks every target what it holds. A target that cannot be asked is noted, and the others are asked.
pub(super) fn restore(
    ctx: &Delivering,
    places: &[InputPath],
    rebuilt: &mut RebuildResult,
) -> Result<(), PipelineError> {
    let targets = ctx.config.targets();
    let names: Vec<String> = targets.names().map(str::to_owned).collect();
    if names.is_empty() {
        return Ok(());
    }
    let shelf = RestoreSources::new(ctx, places)?;
    for target in &names {
        // One that cannot be looked up is asked for once more.
        let is_known = |key: &str| ctx.catalog.shared().vods_with_object(target, key).is_ok_and(|ids| !ids.is_empty());
        let counted = |objects| say(target, objects);
        let mut taker = Restorer { ctx, shelf: &shelf, rebuilt, found: Vec::new(), failed: None };
        let when = (&ctx.stop, ctx.clock.now_ms());
        let asked = targets.recordings_in(target, &is_known, when, &counted, &mut |stored| taker.add(stored));
        // What came before an error is as good as the rest.
        taker.end()?;
        if let Err(error) = asked {
            warn!(target = %printable_text(target), error = chain(&error), "store not queried, or not completely");
            rebuilt.unasked.push((target.clone(), chain(&error)));
        }
    }
    Ok(())
}

/// Before the first is asked. Many take minutes or hours: that is said whatever the log level.
fn say(target: &str, objects: usize) {
    let target = printable_text(target);
    if objects < MANY {
        info!(%target, objects, "searching the store for recordings");
    } else {
        warn!(%target, objects, "searching the store for recordings, one request each; `--no-stores` skips this");
    }
}

/// Takes what is found some hundreds at a time, so that a store of millions needs no memory for them.
struct Restorer<'a> {
    ctx: &'a Delivering,
    shelf: &'a RestoreSources,
    rebuilt: &'a mut RebuildResult,
    found: Vec<InventoryObject>,
    failed: Option<PipelineError>,
}

impl Restorer<'_> {
    fn add(&mut self, stored: InventoryObject) {
        self.found.push(stored);
        if self.found.len() >= BATCH && self.failed.is_none() {
            self.failed = self.take().err();
        }
    }

    fn take(&mut self) -> Result<(), PipelineError> {
        let found = std::mem::take(&mut self.found);
        take(self.ctx, self.shelf, &found, self.rebuilt)
    }

    fn end(mut self) -> Result<(), PipelineError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.take()
    }
}

/// Adds what was found to the records that are there, or makes them.
fn take(
    ctx: &Delivering,
    shelf: &RestoreSources,
    found: &[InventoryObject],
    rebuilt: &mut RebuildResult,
) -> Result<(), PipelineError> {
    let mut new: BTreeMap<String, VodRecord> = BTreeMap::new();
    for stored in found {
        let record = match shelf.record_of(stored) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(reason) => {
                rebuilt.failed.push((PathBuf::from(&stored.object.url), reason));
                continue;
            }
        };
        if let Some(there) = ctx.catalog.shared().vod(&record.vod_id)? {
            rebuilt.attached += usize::from(attach(ctx, &there, &stored.object)?);
        } else {
            let record = new.entry(record.vod_id.clone()).or_insert(record);
            record.remote.push(stored.object.clone());
        }
    }
    let new: Vec<_> = new.into_values().collect();
    rebuilt.from_stores += ctx.catalog.merge_rebuilt(&new)?.added;
    Ok(())
}

/// Notes a copy of a VoD that is in the catalogue, if its local file is gone. A file that is there is delivered as any other,
/// which recognises the copy and proves it.
fn attach(ctx: &Delivering, vod: &VodRecord, object: &RemoteObject) -> Result<bool, PipelineError> {
    let is_gone = vod.freed_at.is_some()
        || (roots::is_available(&ctx.roots, &vod.root) && matches!(vod.file_path.try_exists(), Ok(false)));
    let is_news = vod.remote.iter().all(|known| known.target != object.target || known.key != object.key);
    if !(is_gone && is_news) {
        return Ok(false);
    }
    let at_ms = ctx.clock.now_ms();
    ctx.catalog.shared().update_vod(&vod.vod_id, |vod| {
        vod.remote.push(object.clone());
        vod.freed_at.get_or_insert(at_ms);
    })?;
    Ok(true)
}

/// Where recordings lie: the roots with the readers of their names, and the targets whose keys are paths below a root.
struct RestoreSources {
    readers: Vec<RootReader>,
    by_path: HashSet<String>,
}

impl RestoreSources {
    fn new(ctx: &Delivering, places: &[InputPath]) -> Result<Self, PipelineError> {
        let settings = ctx.config.settings();
        let mut readers: Vec<RootReader> = Vec::new();
        for place in places {
            if readers.iter().all(|reader| reader.root().path != place.root.path) {
                readers.push(RootReader::new(&settings, &place.root)?);
            }
        }
        let by_path = settings.deliver.targets.iter().filter(|target| target.key == KeyPattern::default());
        Ok(Self { readers, by_path: by_path.map(|target| target.name.clone()).collect() })
    }

    /// The path below its root that a recording had, as far as its key tells: of keys made otherwise the last name is all.
    fn relative_path(&self, stored: &InventoryObject) -> PathBuf {
        let key = Path::new(&stored.relative_key);
        let is_path = self.by_path.contains(&stored.object.target);
        if is_path { key.to_owned() } else { key.file_name().unwrap_or_default().into() }
    }

    /// The root that has the directory of a recording, else the first.
    fn reader(&self, relative: &Path) -> Option<&RootReader> {
        let directory = relative.parent().unwrap_or(Path::new(""));
        let has_it = |reader: &&RootReader| reader.root().path.join(directory).is_dir();
        self.readers.iter().find(has_it).or_else(|| self.readers.first())
    }

    /// The record of a stored recording, without its copies; the error says why there is none.
    fn record_of(&self, stored: &InventoryObject) -> Result<Option<VodRecord>, String> {
        let relative = self.relative_path(stored);
        let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        let Some(reader) = self.reader(&relative).filter(|_| is_plain && relative.file_name().is_some()) else {
            return Ok(None);
        };
        let candidate = candidate(reader, &relative, stored);
        match &stored.told {
            ObjectOrigin::Metadata(described) => Ok(Some(of_metadata(&candidate, stored, described))),
            ObjectOrigin::File(path) => of_file(&candidate, stored, path).map(Some).map_err(|error| chain(&error)),
        }
    }
}

/// The finished file as it lay in its root.
fn candidate(reader: &RootReader, relative: &Path, stored: &InventoryObject) -> Candidate {
    let read = reader.read(relative);
    let mtime_ns = stored.modified_ms.saturating_mul(1_000_000);
    Candidate {
        path: reader.root().path.join(relative),
        root: reader.root().path.clone(),
        server: read.server,
        is_temporary: false,
        facts: read.facts,
        fingerprint: Fingerprint { mtime_ns, ..stored.object.source },
    }
}

/// All that an object's metadata says. Its tracks are not known, so its id is the one that it was given.
fn of_metadata(candidate: &Candidate, stored: &InventoryObject, described: &ObjectAttributes) -> VodRecord {
    let description = finish::Description {
        container: stored.container,
        tracks: Vec::new(),
        duration_ms: described.duration_ms.unwrap_or(0),
        declared_ms: None,
        created_ms: None,
        id_tracks: Vec::new(),
        defects: Vec::new(),
    };
    let outcome = if described.salvaged { Outcome::Salvaged } else { Outcome::Kept };
    let stream_id = described.stream_id.clone();
    let record = of_description(candidate, stored, description, outcome);
    VodRecord { vod_id: described.vod_id.clone(), stream_name: stream_id.clone(), stream_id, ..record }
}

fn of_file(candidate: &Candidate, stored: &InventoryObject, path: &Path) -> Result<VodRecord, finish::FinishError> {
    let description = finish::describe(path, stored.container, &PassControl { cancel: None, progress: None })?;
    Ok(of_description(candidate, stored, description, Outcome::Kept))
}

fn of_description(
    candidate: &Candidate,
    stored: &InventoryObject,
    description: finish::Description,
    outcome: Outcome,
) -> VodRecord {
    let start = finish::start_of(candidate, description.created_ms, description.duration_ms);
    let provenance = Provenance { outcome, splice: None, undo: None, salvage: None, keeps_original: false };
    let (path, fingerprint) = (candidate.path.clone(), candidate.fingerprint);
    // Nobody looked at it: an object says nothing about a local file.
    let evidence = Evidence::Unchanged { for_s: 0 };
    let made =
        finish::FinishedFile { path, evidence, description, defects: Vec::new(), start, fingerprint, provenance };
    VodRecord { freed_at: Some(stored.modified_ms), ..finish::record_of_finished(candidate, made, stored.modified_ms) }
}
