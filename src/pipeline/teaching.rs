//! What sound recordings teach about crashed ones: remembered by stream, rendition and version, asked for where a recording
//! does not say itself how it is coded, and a reason to try again what waited for it.
//!
//! The renditions of one stream (`room1_240p.mp4`, `room1_480p.mp4`) are coded at the same time in different sizes, and a
//! publisher may come back with another size: each version keeps the rendition that the name said.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::journaling::Journaling;
use super::shared;
use crate::catalog::{CatalogError, JournalKey};
use crate::discover::Settled;
use crate::fault::{Class, chain};
use crate::finish;
use crate::recording::journey::{Stage, Step};
use crate::recording::name::printable;
use crate::recording::{Container, Defect, VodRecord};
use crate::salvage::{Origin, Reference};

/// Versions of one rendition's configuration that are kept, the newest first.
const MOST_VERSIONS: usize = 4;
/// Versions of all renditions of a stream that are kept.
const MOST_OF_STREAM: usize = 48;
/// Recordings that are woken together.
const PAGE: usize = 100;
/// Configurations of other streams that are tried.
const MOST_OTHERS: usize = 64;

/// Recordings that sound ones of their streams let begin again.
#[derive(Debug, Default)]
pub struct SalvageWaiters {
    /// Those that need not wait any more and were not looked at yet.
    woken: Mutex<Vec<PathBuf>>,
    /// Held while the versions of a stream are read, changed and written: its renditions end at the same time.
    keeping: Mutex<()>,
    /// Versions that were learned since the start.
    lessons: AtomicU64,
}

impl SalvageWaiters {
    /// Takes the recordings that need not wait any more, each once.
    pub fn woken(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many versions of codec parameters were learned since the start: when it has grown, what lacked some may find them.
    pub(super) fn lessons(&self) -> u64 {
        self.lessons.load(Ordering::Acquire)
    }
}

/// What is known of a recording's stream, best first: what its own sound recordings taught (those of its rendition first, then
/// those of the height that its rendition names), then what they taught other nodes, then the recordings beside it, then what other
/// streams taught. Each is tried on the media before it is believed; what another node says counts no more than what another stream
/// taught.
pub fn references(ctx: &Journaling, settled: &Settled) -> Vec<Reference> {
    let facts = &settled.candidate().facts;
    let rendition = facts.rendition.as_deref();
    let own = ctx.catalog.codecs(&facts.stream_id).ok().flatten().map(versions).unwrap_or_default();
    let others = ctx.catalog.codecs_of_others(&facts.stream_id, MOST_OTHERS).unwrap_or_default();
    let others =
        others.into_iter().flat_map(|value| newest_of_each(versions(value))).take(MOST_OTHERS).collect::<Vec<_>>();
    let mut all = best_first(&own, Origin::Stream, rendition);
    all.extend(best_first(&elsewhere(ctx, &facts.stream_id), Origin::Other, rendition));
    all.extend(finish::siblings(settled.path(), &facts.stream_id));
    all.extend(best_first(&others, Origin::Other, rendition));
    all
}

/// What other nodes learned of a stream. Without an answer within seconds there is nothing; the recording is tried again when there is.
fn elsewhere(ctx: &Journaling, stream_id: &str) -> Vec<Value> {
    let Some(fleet) = &ctx.fleet else { return Vec::new() };
    fleet.stream_configs(stream_id).unwrap_or_else(|error| {
        debug!(stream = stream_id, error = chain(&error), "other nodes cannot be asked for codec parameters");
        Vec::new()
    })
}

/// Digests of the versions that recordings of a stream were tried with.
pub(super) type SeenVersions = HashMap<String, HashSet<[u8; 32]>>;

fn digest_of(version: &Value) -> [u8; 32] {
    *blake3::hash(version.to_string().as_bytes()).as_bytes()
}

/// Lets recordings begin again that wait for what other nodes know of their streams, once for each version.
pub(super) fn wake_by_others(ctx: &Journaling, seen: &mut SeenVersions) -> Result<(), CatalogError> {
    let mut after = None;
    loop {
        let streams = ctx.catalog.waiting_streams(after.as_deref(), PAGE)?;
        for stream in &streams {
            if ctx.stop.is_requested() {
                return Ok(());
            }
            let known = seen.entry(stream.clone()).or_default();
            let told = elsewhere(ctx, stream);
            let news = told.into_iter().filter(|version| known.insert(digest_of(version))).count();
            if news > 0 {
                wake(ctx, stream)?;
            }
        }
        after = streams.last().cloned();
        if after.is_none() {
            seen.retain(|stream, _| ctx.catalog.waiting_for(stream, None, 1).is_ok_and(|waiting| !waiting.is_empty()));
            return Ok(());
        }
    }
}

/// Reads versions, those that are likeliest to fit a rendition first; else their order stays.
fn best_first(versions: &[Value], origin: Origin, rendition: Option<&str>) -> Vec<Reference> {
    let height = rendition.and_then(height_of);
    let read = versions.iter().filter_map(|value| {
        let reference = Reference::from_json(value, origin)?;
        let is_other = rendition_of(value) != rendition;
        let is_of_other_size = height.is_some_and(|height| reference.picture_height() != Some(height));
        Some(((is_other, is_of_other_size), reference))
    });
    let mut all: Vec<_> = read.collect();
    all.sort_by_key(|(unlikely, _)| *unlikely);
    all.into_iter().map(|(_, reference)| reference).collect()
}

/// The rendition that the name of the recording said which taught a version.
fn rendition_of(version: &Value) -> Option<&str> {
    version.get("rendition").and_then(Value::as_str)
}

/// The height in pixels that a rendition's name says: `480p`, `480p500kbps`, `500kbps480p`.
fn height_of(rendition: &str) -> Option<u32> {
    let (before, _) =
        rendition.split('p').zip(rendition.split('p').skip(1)).find(|(before, _)| ends_in_digit(before))?;
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    before[before.len() - digits..].parse().ok()
}

fn ends_in_digit(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_digit())
}

/// The first version of each rendition.
fn newest_of_each(versions: Vec<Value>) -> Vec<Value> {
    let mut newest: Vec<Value> = Vec::new();
    for version in versions {
        if !newest.iter().any(|other| rendition_of(other) == rendition_of(&version)) {
            newest.push(version);
        }
    }
    newest
}

/// The versions in the remembered form; a single one is its own only version.
fn versions(value: Value) -> Vec<Value> {
    match value.get("versions").and_then(Value::as_array) {
        Some(versions) => versions.clone(),
        None => vec![value],
    }
}

/// Remembers how the stream is coded, from a recording that was finished soundly, and lets what waited for that begin.
///
/// Where its movie is not at hand any more, it is read again.
pub fn remember(ctx: &Journaling, record: &VodRecord, taught: Option<Reference>) {
    let is_sound = !record.salvaged && !record.defects.iter().any(Defect::is_fatal);
    if !is_sound || record.container == Container::MpegTs || record.container.is_kept() {
        return;
    }
    let taught = taught.or_else(|| finish::reference_of(&record.file_path, Origin::Stream));
    let Some(mut told) = taught.and_then(|reference| reference.to_json()) else { return };
    if let Some(rendition) = &record.rendition {
        told["rendition"] = rendition.as_str().into();
    }
    let result = keep(ctx, &record.stream_id, told).and_then(|()| wake(ctx, &record.stream_id).map(drop));
    if let Err(error) = result {
        warn!(stream = record.stream_id, error = chain(&error), "cannot save the codec parameters of the stream");
    }
}

/// Remembers how a stream is coded, as somebody says by an intact recording of it; says how many recordings waited for that and are tried
/// again.
pub fn teach(ctx: &Journaling, stream_id: &str, reference: &Reference) -> Result<usize, CatalogError> {
    let Some(told) = reference.to_json() else { return Ok(0) };
    keep(ctx, stream_id, told)?;
    wake(ctx, stream_id)
}

fn keep(ctx: &Journaling, stream_id: &str, told: Value) -> Result<(), CatalogError> {
    let _alone = ctx.waiting.keeping.lock().unwrap_or_else(PoisonError::into_inner);
    let known = ctx.catalog.codecs(stream_id)?.map(versions).unwrap_or_default();
    if known.first() == Some(&told) {
        return Ok(());
    }
    let is_news = !known.contains(&told);
    ctx.catalog.remember_codec(stream_id, &json!({ "versions": with_newest(known, told) }))?;
    if is_news {
        ctx.waiting.lessons.fetch_add(1, Ordering::Release);
    }
    Ok(())
}

/// Puts a version in front, and keeps so many of its rendition and of all.
fn with_newest(mut known: Vec<Value>, told: Value) -> Vec<Value> {
    known.retain(|version| *version != told);
    let mut of_rendition = 1;
    known.retain(|version| {
        of_rendition += usize::from(rendition_of(version) == rendition_of(&told));
        rendition_of(version) != rendition_of(&told) || of_rendition <= MOST_VERSIONS
    });
    known.insert(0, told);
    known.truncate(MOST_OF_STREAM);
    known
}

/// Recordings of the stream that wait for its parameters are due now; says how many.
fn wake(ctx: &Journaling, stream_id: &str) -> Result<usize, CatalogError> {
    let (mut last, mut woken) = (None, 0);
    loop {
        let page = ctx.catalog.waiting_for(stream_id, last.as_ref(), PAGE)?;
        for key in &page {
            woken += usize::from(wake_one(ctx, stream_id, key)?);
        }
        last = page.last().copied();
        if last.is_none() {
            return Ok(woken);
        }
    }
}

fn wake_one(ctx: &Journaling, stream_id: &str, key: &JournalKey) -> Result<bool, CatalogError> {
    let waiting = ctx.catalog.entry(key)?.filter(|entry| entry.step.lacks_parameters());
    if !waiting.is_some_and(|entry| shared::may_be_tried_again(ctx, entry.settled.candidate())) {
        return Ok(false);
    }
    let Some(path) = begin_again(ctx, key)? else { return Ok(false) };
    info!(path = %printable(&path), stream = stream_id, "retrying: codec parameters of the stream are known now");
    ctx.waiting.woken.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    Ok(true)
}

/// Makes a recording due now that is quarantined for want of codec parameters; its path, or nothing where it is not any more.
pub(super) fn begin_again(ctx: &Journaling, key: &JournalKey) -> Result<Option<PathBuf>, CatalogError> {
    let Some(entry) = ctx.catalog.entry(key)?.filter(|entry| entry.step.lacks_parameters()) else { return Ok(None) };
    let message = "an intact recording that may be coded alike is available now".to_owned();
    let step = Step::Failed { class: Class::Transient, message, due_ms: Some(ctx.clock.now_ms()) };
    ctx.catalog.advance(key, Stage::Quarantined, step, ctx.clock.now_ms())?;
    Ok(Some(entry.settled.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(rendition: Option<&str>, number: u32) -> Value {
        let mut version = json!({ "version": 1, "moov": number.to_string() });
        if let Some(rendition) = rendition {
            version["rendition"] = rendition.into();
        }
        version
    }

    #[test]
    fn versions_of_one_rendition_do_not_push_out_those_of_another() {
        let mut known = vec![version(Some("240p"), 0), version(None, 1)];
        for number in 10..30 {
            known = with_newest(known, version(Some("480p"), number));
        }
        let numbers: Vec<&str> = known.iter().map(|v| v["moov"].as_str().unwrap()).collect();
        assert_eq!(numbers, ["29", "28", "27", "26", "0", "1"]);
        let again = with_newest(known, version(Some("480p"), 27));
        let numbers: Vec<&str> = again.iter().map(|v| v["moov"].as_str().unwrap()).collect();
        assert_eq!(numbers, ["27", "29", "28", "26", "0", "1"], "what comes back is the newest again");
        let newest = newest_of_each(again);
        assert_eq!(newest.len(), 3);
        let many = (0..100).fold(Vec::new(), |known, n| with_newest(known, version(Some(&format!("{n}p")), n)));
        assert_eq!(many.len(), MOST_OF_STREAM);
    }

    #[test]
    fn a_rendition_says_its_height() {
        let heights = ["480p", "720p500kbps", "800kbps1080p", "500kbps", "p", "high"].map(height_of);
        assert_eq!(heights, [Some(480), Some(720), Some(1080), None, None, None]);
    }
}
