//! The index in memory, once it was asked for, and what was searched in it last.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use super::marks::Marks;
use super::vod_index::{MatchBitmap, Selection, VodIndex};

/// Results of searches that are kept for the next page: a bit for each VoD.
const KEPT: usize = 8;

/// The index, once it was asked for, and what was searched in it last.
#[derive(Debug, Default)]
pub(super) struct LazyVodIndex {
    pub ranked: RwLock<Option<VodIndex>>,
    searched: Mutex<Vec<CachedSearch>>,
}

#[derive(Debug)]
struct CachedSearch {
    changes: u64,
    roots: Vec<PathBuf>,
    stream: Option<String>,
    search: Option<String>,
    marks: Marks,
    is_everywhere: bool,
    found: Arc<MatchBitmap>,
}

impl CachedSearch {
    fn is_of(&self, changes: u64, selection: &Selection<'_>) -> bool {
        self.changes == changes
            && self.roots == selection.roots
            && self.stream.as_deref() == selection.stream
            && self.search.as_deref() == selection.search
            && (self.marks, self.is_everywhere) == (selection.marks, selection.everywhere)
    }
}

impl LazyVodIndex {
    /// Whether it can be asked at once. It cannot while it is built.
    pub(super) fn is_built(&self) -> bool {
        match self.ranked.try_read() {
            Ok(index) => index.is_some(),
            Err(TryLockError::Poisoned(index)) => index.get_ref().is_some(),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// What a search finds; what was found last is found without a search as long as no VoD changes.
    pub(super) fn found(&self, ranked: &VodIndex, changes: u64, selection: &Selection<'_>) -> Option<Arc<MatchBitmap>> {
        let searched = || self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = searched().iter().find(|searched| searched.is_of(changes, selection)) {
            return Some(Arc::clone(&known.found));
        }
        let found = Arc::new(ranked.find(selection)?);
        let mut searched = searched();
        searched.retain(|searched| searched.changes == changes);
        if searched.len() >= KEPT {
            searched.remove(0);
        }
        searched.push(CachedSearch {
            changes,
            roots: selection.roots.to_vec(),
            stream: selection.stream.map(str::to_owned),
            search: selection.search.map(str::to_owned),
            marks: selection.marks,
            is_everywhere: selection.everywhere,
            found: Arc::clone(&found),
        });
        Some(found)
    }
}
