//! What sound recordings teach about crashed ones: remembered by stream and version, asked for where a recording does
//! not say itself how it is coded, and a reason to try again what waited for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tracing::{info, warn};

use super::house::{House, now_ms};
use crate::catalog::{CatalogError, JournalKey};
use crate::fault::{Class, chain};
use crate::finish;
use crate::recording::journey::{Entry, Settled, Step};
use crate::recording::name::printable;
use crate::recording::{Container, Defect, VodRecord};
use crate::salvage::{Origin, Reference};

/// Versions of one stream's configuration that are kept, the newest first.
const MOST_VERSIONS: usize = 4;
/// Configurations of other streams that are tried.
const MOST_OTHERS: usize = 64;

/// Quarantined recordings that wait for a sound one of their stream, by stream; read from the journal when it is first
/// asked for.
#[derive(Debug, Default)]
pub struct Waiting {
    by_stream: Mutex<Option<BTreeMap<String, Vec<JournalKey>>>>,
    /// Those that need not wait any more and were not looked at yet.
    woken: Mutex<Vec<PathBuf>>,
}

impl Waiting {
    fn of(&self, house: &House, stream_id: &str) -> Result<Vec<JournalKey>, CatalogError> {
        let mut all = self.by_stream.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_none() {
            let mut found: BTreeMap<String, Vec<JournalKey>> = BTreeMap::new();
            for (key, entry) in house.catalog.entries()?.items.into_iter().filter(|(_, entry)| waits(entry)) {
                found.entry(entry.settled.candidate.facts.stream_id).or_default().push(key);
            }
            *all = Some(found);
        }
        Ok(all.as_mut().and_then(|all| all.remove(stream_id)).unwrap_or_default())
    }

    /// Takes the recordings that need not wait any more, each once.
    pub fn woken(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers a recording that was quarantined just now.
    pub fn add(&self, key: JournalKey, stream_id: &str, defects: &[Defect]) {
        let mut all = self.by_stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = all.as_mut().filter(|_| defects.iter().any(needs_parameters)) {
            all.entry(stream_id.to_owned()).or_default().push(key);
        }
    }
}

const fn needs_parameters(defect: &Defect) -> bool {
    matches!(defect, Defect::NeedsParameters { .. })
}

fn waits(entry: &Entry) -> bool {
    matches!(&entry.step, Step::Quarantined { defects } if defects.iter().any(needs_parameters))
}

/// What is known of a recording's stream, best first: what its own sound recordings taught, then the recordings beside
/// it, then what other streams taught. Each is tried on the media before it is believed.
pub fn references(house: &House, settled: &Settled) -> Vec<Reference> {
    let stream_id = &settled.candidate.facts.stream_id;
    let own = house.catalog.codecs(stream_id).ok().flatten().map(versions).unwrap_or_default();
    let others = house.catalog.codecs_of_others(stream_id, MOST_OTHERS).unwrap_or_default();
    let others = others.into_iter().filter_map(|value| versions(value).into_iter().next());
    let read = |values: Vec<Value>, origin| values.into_iter().filter_map(move |v| Reference::from_json(&v, origin));
    let mut all: Vec<Reference> = read(own, Origin::Stream).collect();
    all.extend(finish::siblings(settled.path(), stream_id));
    all.extend(read(others.collect(), Origin::Other));
    all
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
pub fn remember(house: &House, record: &VodRecord, taught: Option<Reference>) {
    let is_sound = !record.salvaged && !record.defects.iter().any(Defect::is_fatal);
    if !is_sound || record.container == Container::MpegTs {
        return;
    }
    let taught = taught.or_else(|| finish::reference_of(&record.file_path, Origin::Stream));
    let told = taught.and_then(|reference| reference.to_json());
    let Some(told) = told else { return };
    let result = keep(house, &record.stream_id, told).and_then(|()| wake(house, &record.stream_id));
    if let Err(error) = result {
        warn!(stream = record.stream_id, error = chain(&error), "The stream's configuration could not be remembered.");
    }
}

fn keep(house: &House, stream_id: &str, told: Value) -> Result<(), CatalogError> {
    let mut known = house.catalog.codecs(stream_id)?.map(versions).unwrap_or_default();
    if known.first() == Some(&told) {
        return Ok(());
    }
    known.retain(|version| *version != told);
    known.insert(0, told);
    known.truncate(MOST_VERSIONS);
    house.catalog.remember_codec(stream_id, &json!({ "versions": known }))
}

/// Recordings of the stream that wait for its parameters are due now.
fn wake(house: &House, stream_id: &str) -> Result<(), CatalogError> {
    for key in house.waiting.of(house, stream_id)? {
        let Some(entry) = house.catalog.entry(&key)?.filter(waits) else { continue };
        info!(path = %printable(entry.settled.path()), stream = stream_id, "Tried again: its stream's parameters are known now.");
        let message = "a sound recording of its stream has come since".to_owned();
        let step = Step::Failed { class: Class::Transient, message, due_ms: Some(now_ms()) };
        house.catalog.set_step(&key, step, now_ms())?;
        let path = entry.settled.path().to_owned();
        house.waiting.woken.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
    Ok(())
}
