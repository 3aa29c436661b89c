//! The first page of the newest recordings while there is no index in memory: read from the trees, so that whoever opens the list of
//! a large catalogue sees it at once, and not after the index is built.
//!
//! The tree is in the order of creation dates, and the page in that of starts. A recording begins before it is catalogued, so no row
//! further back can begin later than the creation date that it has. Where clocks or names say otherwise, the largest difference that
//! was met is allowed for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Deserialize;

use super::error::Result;
use super::rows::{StoredValue, decode};
use super::shared::SharedCatalog;
use super::texts::folded;
use super::tree::TreeId;
use super::vod_index::{Order, Selection};
use crate::recording::VOD_VERSION;

/// Rows that are read at most. If recordings were catalogued long after they began, the page may be anywhere: the index knows.
const MOST_ROWS: usize = 2_000;
/// Positions that are looked for at most.
const MOST_POSITIONS: usize = 200;

/// What of a record decides about its position.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    vod_id: String,
    creation_date: i64,
    start_time: i64,
}

impl StoredValue for Times {
    const VERSION: Option<u32> = Some(VOD_VERSION);
}

impl Times {
    /// As the index orders them.
    fn rank(&self) -> (i64, i64, String) {
        (self.start_time, self.creation_date, folded(&self.vod_id))
    }
}

/// Whether a page is one of the newest recordings of all.
pub(super) fn is_newest(selection: &Selection<'_>, offset: usize, limit: usize) -> bool {
    is_everything(selection)
        && selection.descending
        && selection.order == Order::Start
        && offset.saturating_add(limit) <= MOST_POSITIONS
}

/// Whether a selection leaves nothing out.
pub(super) fn is_everything(selection: &Selection<'_>) -> bool {
    selection.everywhere && selection.stream.is_none() && selection.search.is_none() && selection.marks.is_any()
}

impl SharedCatalog {
    /// Ids of such a page; `None` if only the index can tell.
    pub(super) fn newest(&self, offset: usize, limit: usize) -> Result<Option<Vec<String>>> {
        let wanted = offset + limit;
        let mut found: Vec<Times> = Vec::with_capacity(wanted);
        // The latest starts, as many as are wanted, the earliest of them on top.
        let mut latest = BinaryHeap::new();
        let mut ahead_ms = 0;
        for (number, row) in self.store().prefix(TreeId::ByCreated, b"")?.rev().enumerate() {
            if number == MOST_ROWS {
                return Ok(None);
            }
            let (_, id) = row?;
            let Some(record) = self.store().get(TreeId::Vods, &id)? else { continue };
            // What cannot be read is in no list of positions.
            let Ok(times) = decode::<Times>(TreeId::Vods, &id, &record) else { continue };
            let end_ms = times.creation_date.saturating_add(ahead_ms);
            if latest.len() == wanted && latest.peek().is_none_or(|Reverse(start)| *start > end_ms) {
                break;
            }
            ahead_ms = ahead_ms.max(times.start_time.saturating_sub(times.creation_date));
            latest.push(Reverse(times.start_time));
            if latest.len() > wanted {
                latest.pop();
            }
            found.push(times);
        }
        found.sort_by_cached_key(|times| Reverse(times.rank()));
        Ok(Some(found.into_iter().skip(offset).take(limit).map(|times| times.vod_id).collect()))
    }
}
