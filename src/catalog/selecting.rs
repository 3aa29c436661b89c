//! Pages of VoDs at any position, sorted and searched, through an index in memory.
//!
//! The index is made at the first request that needs it: until then it takes no memory and no time. The newest recordings and the number
//! of all are known without it (`newest`). Afterwards a request first reads again what was
//! changed since the last one. If more was changed than is remembered, it is made anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLockReadGuard};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::changed_ids::IdSet;
use super::error::{CatalogError, Result};
use super::marks;
use super::newest;
use super::rows::{StoredValue, decode};
use super::shared::SharedCatalog;
use super::texts::SearchText;
use super::tree::TreeId;
use super::vod_index::{IndexedVod, MatchBitmap, Order, Selection, VodIndex};
use crate::recording::{Outcome, VOD_VERSION, VodRecord};

/// What of a record the index needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexFields {
    vod_id: String,
    stream_id: String,
    stream_name: String,
    vod_name: String,
    root: PathBuf,
    creation_date: i64,
    start_time: i64,
    outcome: Outcome,
    #[serde(default)]
    freed_at: Option<i64>,
    /// Only whether there are any.
    #[serde(default)]
    remote: Vec<IgnoredAny>,
    #[serde(default)]
    defects: Vec<IgnoredAny>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl StoredValue for IndexFields {
    const VERSION: Option<u32> = Some(VOD_VERSION);
}

impl IndexFields {
    fn known(&self) -> IndexedVod<'_> {
        let words = SearchText {
            id: &self.vod_id,
            name: &self.vod_name,
            stream_id: &self.stream_id,
            stream_name: &self.stream_name,
            description: self.description.as_deref(),
            metadata: Some(&self.metadata),
        };
        let marks = marks::of(self.outcome, self.freed_at.is_some(), !self.remote.is_empty(), !self.defects.is_empty());
        IndexedVod { words, created_ms: self.creation_date, started_ms: self.start_time, marks, root: &self.root }
    }
}

/// Words that are empty choose nothing.
fn without_empty<'a>(selection: &Selection<'a>) -> Selection<'a> {
    let filled = |text: &&str| !text.is_empty();
    Selection { stream: selection.stream.filter(filled), search: selection.search.filter(filled), ..*selection }
}

impl SharedCatalog {
    /// A number that is another one after every change of a VoD.
    pub fn vod_changes(&self) -> u64 {
        self.store().touched.changes()
    }

    /// VoDs from a position on, at most so many. The first call reads the whole catalogue, unless it wants the newest; records that
    /// cannot be read are left out.
    pub fn select(&self, selection: &Selection<'_>, offset: usize, limit: usize) -> Result<Vec<VodRecord>> {
        let selection = &without_empty(selection);
        let is_early = !self.0.selecting.is_built() && newest::is_newest(selection, offset, limit);
        let early = if is_early { self.newest(offset, limit)? } else { None };
        let ids = match early {
            Some(ids) => ids,
            None => self.with_index(selection, |ranked, found| ranked.page(selection, found, (offset, limit)))?,
        };
        let mut vods = Vec::with_capacity(ids.len());
        for id in ids {
            match self.vod(&id) {
                Ok(vod) => vods.extend(vod),
                Err(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(vods)
    }

    /// How many VoDs a selection has. The first call reads the whole catalogue, unless all are counted.
    pub fn count_selected(&self, selection: &Selection<'_>) -> Result<usize> {
        let selection = &without_empty(selection);
        if !self.0.selecting.is_built() && newest::is_everything(selection) {
            return self.count();
        }
        self.with_index(selection, |ranked, found| found.map_or_else(|| ranked.count(selection), |found| found.count))
    }

    /// When the recordings of a selection began, milliseconds since the Unix epoch, the earliest first.
    pub fn starts(&self, selection: &Selection<'_>) -> Result<Vec<i64>> {
        let selection = &Selection { order: Order::Start, descending: false, ..without_empty(selection) };
        self.with_index(selection, |ranked, found| ranked.starts(selection, found))
    }

    fn with_index<T>(
        &self,
        selection: &Selection<'_>,
        ask: impl FnOnce(&VodIndex, Option<&MatchBitmap>) -> T,
    ) -> Result<T> {
        let changes = self.vod_changes();
        loop {
            let index = self.current_index()?;
            // Another request may have failed to read it meanwhile, which leaves none.
            let Some(ranked) = index.as_ref() else { continue };
            let found = self.0.selecting.found(ranked, changes, selection);
            return Ok(ask(ranked, found.as_deref()));
        }
    }

    /// The index with everything that was changed before the call.
    fn current_index(&self) -> Result<RwLockReadGuard<'_, Option<VodIndex>>> {
        let (ranked, touched) = (&self.0.selecting.ranked, &self.store().touched);
        let read = || ranked.read().unwrap_or_else(PoisonError::into_inner);
        let index = read();
        if index.is_some() && touched.is_unchanged() {
            return Ok(index);
        }
        drop(index);
        let mut index = ranked.write().unwrap_or_else(PoisonError::into_inner);
        let changed = if index.is_some() { touched.take() } else { None };
        // What fails half-way is made anew by the next call.
        let before = index.take();
        *index = Some(if let (Some(ranked), Some(changed)) = (before, changed) {
            self.updated(ranked, changed)?
        } else {
            touched.begin();
            self.indexed()?
        });
        drop(index);
        Ok(read())
    }

    fn updated(&self, mut ranked: VodIndex, changed: IdSet) -> Result<VodIndex> {
        for id in changed {
            let facts = self.facts(&id)?;
            ranked.update(&String::from_utf8_lossy(&id), facts.as_ref().map(IndexFields::known));
        }
        Ok(ranked)
    }

    fn facts(&self, id: &[u8]) -> Result<Option<IndexFields>> {
        match self.store().read(TreeId::Vods, id) {
            Err(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. }) => Ok(None),
            read => read,
        }
    }

    fn indexed(&self) -> Result<VodIndex> {
        let begun = std::time::Instant::now();
        let mut ranked = VodIndex::default();
        for row in self.store().prefix(TreeId::Vods, b"")? {
            let (key, value) = row?;
            // What cannot be read is named by the listing and by `catalog check`.
            if let Ok(facts) = decode::<IndexFields>(TreeId::Vods, &key, &value) {
                ranked.add_unsorted(facts.known());
            }
        }
        ranked.sort();
        tracing::info!(vods = ranked.len(), duration_ms = begun.elapsed().as_millis(), "index of VoDs built");
        Ok(ranked)
    }
}
