//! An item of work: what is to be done once, and a claim on it.

use serde_json::Value;
use tokio_postgres::Row;

use super::super::rows::{replace_nul, text};

/// Work that is to be done once. The same kind, root, item and fingerprint again is the same work.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewWork {
    /// What is done with it.
    pub kind: String,
    /// Where it lies: a URL, a directory or the id of a root.
    pub root: String,
    /// What it is: a key, or a path below the root.
    pub item: String,
    /// Which state of it: an entity tag, or size and time.
    pub fingerprint: String,
    /// What its holder needs to know.
    pub args: Option<Value>,
    /// The batch that it belongs to.
    pub batch_id: Option<i64>,
    /// The smallest comes first.
    pub priority: i32,
    /// In how many milliseconds it may be claimed.
    pub delay_ms: u64,
}

impl NewWork {
    /// The digest by which it is known again.
    pub(super) fn once(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.kind, &self.root, &self.item, &self.fingerprint] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hex::encode(&hasher.finalize().as_bytes()[..16])
    }

    /// The row, but for what the database sets.
    pub(super) fn row(&self) -> Value {
        let mut args = self.args.clone();
        args.iter_mut().for_each(replace_nul);
        serde_json::json!({
            "once": self.once(),
            "kind": text(&self.kind),
            "root": text(&self.root),
            "item": text(&self.item),
            "fingerprint": text(&self.fingerprint),
            "args": args,
            "batch_id": self.batch_id,
            "priority": self.priority,
            "delay_ms": self.delay_ms,
        })
    }
}

/// An item that this node has claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkItem {
    /// Its number.
    pub work_id: i64,
    /// The token of this claim.
    pub token: i64,
    /// Who claimed it: node and epoch.
    pub(super) holder: (String, i64),
    /// What is done with it.
    pub kind: String,
    /// Where it lies.
    pub root: String,
    /// What it is.
    pub item: String,
    /// Which state of it.
    pub fingerprint: String,
    /// What was said about it when it was enqueued.
    pub args: Option<Value>,
    /// The batch that it belongs to.
    pub batch_id: Option<i64>,
    /// How often it has failed for a reason of its own.
    pub attempt: i32,
    /// How often the surroundings were in the way.
    pub given_back: i32,
    /// The last steps that a holder was about to take and that would outlive it, and under `node` who it was; they may have been taken.
    pub intent: Option<Value>,
}

/// What [`WorkItem::of`] reads.
pub(super) const COLUMNS: &str = "w.work_id, w.token, w.kind, w.root, w.item, w.fingerprint, w.args::text, w.batch_id, w.attempt, \
     w.intent::text, w.given_back";

impl WorkItem {
    pub(super) fn of(row: &Row, holder: &(String, i64)) -> Self {
        // The database has checked that it is JSON.
        let json = |column: usize| row.get::<_, Option<&str>>(column).and_then(|text| serde_json::from_str(text).ok());
        Self {
            work_id: row.get(0),
            token: row.get(1),
            holder: holder.clone(),
            kind: row.get(2),
            root: row.get(3),
            item: row.get(4),
            fingerprint: row.get(5),
            args: json(6),
            batch_id: row.get(7),
            attempt: row.get(8),
            given_back: row.get(10),
            intent: json(9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_where_one_part_ends_and_the_next_begins() {
        let work = |root: &str, item: &str| NewWork { root: root.into(), item: item.into(), ..NewWork::default() };
        assert_eq!(work("a", "b").once(), work("a", "b").once());
        assert_ne!(work("ab", "c").once(), work("a", "bc").once());
        assert_eq!(work("a", "b").once().len(), 32);
    }
}
