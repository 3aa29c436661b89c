//! How a batch stands: counted from its items while it runs, as it was noted when it ended.

use deadpool_postgres::Client;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::super::connecting::{ask, ask_at_length};
use super::super::error::FleetError;
use super::pages::LIST;

/// Whether nodes work on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BatchState {
    /// They do.
    Running,
    /// They claim nothing of it until it is resumed.
    Paused,
    /// It was ended before everything was done.
    Canceled,
    /// Nothing of it is left.
    Done,
}

impl BatchState {
    const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Canceled, Self::Done];

    /// Its name in the database and in lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
            Self::Done => "done",
        }
    }

    /// The database knows no others.
    pub(super) fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.name() == name).unwrap_or(Self::Running)
    }
}

/// Items that ended alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeCount {
    /// `ready`, `leased`, `done`, `failed` or `quarantined`.
    pub state: String,
    /// Class of the error, of those that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<String>,
    /// The outcome, or the reason of the failure; of items that are not done yet, of their last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub outcomes: Vec<OutcomeCount>,
    /// Pages by their state.
    pub pages: Vec<OutcomeCount>,
}

/// How a batch stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchStatus {
    /// Its number.
    pub id: i64,
    /// What is done with each recording.
    pub kind: String,
    /// A URL, or an absolute directory.
    pub root: String,
    /// Whether nodes work on it.
    pub state: BatchState,
    /// When it was started, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<i64>,
    /// Recordings a second for all nodes together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<f64>,
    /// Whether all of the root was listed.
    pub is_listed: bool,
    /// Whether a part of the root could not be listed.
    pub is_listing_failed: bool,
    /// Recordings that were found so far.
    pub found: u64,
    /// Of these: not claimed, or given back.
    pub ready: u64,
    /// Claimed by a node.
    pub leased: u64,
    /// Done.
    pub done: u64,
    /// Failed for good.
    pub failed: u64,
    /// Given up because processes ended while they worked on it.
    pub quarantined: u64,
    /// Recordings that came to an end in each second of the last minute.
    pub per_second: f64,
    /// Seconds left at that pace for what was found; none without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_s: Option<u64>,
    /// Nodes that hold work of it.
    pub nodes: u64,
    /// How its recordings ended.
    pub outcomes: Vec<OutcomeCount>,
}

impl BatchStatus {
    fn add(&mut self, counts: Counts) {
        let sum = |state: &str| counts.outcomes.iter().filter(|of| of.state == state).map(|of| of.count).sum();
        (self.ready, self.leased, self.done) = (sum("ready"), sum("leased"), sum("done"));
        (self.failed, self.quarantined) = (sum("failed"), sum("quarantined"));
        self.found = counts.outcomes.iter().map(|of| of.count).sum();
        self.is_listed = counts.pages.iter().all(|of| of.state == "done");
        self.is_listing_failed = counts.pages.iter().any(|of| matches!(of.state.as_str(), "failed" | "quarantined"));
        self.outcomes = counts.outcomes;
    }
}

/// How one stands.
pub(super) async fn of(client: &Client, batch_id: i64) -> Result<BatchStatus, FleetError> {
    let sql = "SELECT kind, root, state, (extract(epoch FROM started_at) * 1000)::bigint, (extract(epoch FROM ended_at) * 1000)::bigint, \
               rate, summary::text FROM aftercast.batch WHERE batch_id = $1";
    let rows = ask(client, sql, &[(&batch_id, Type::INT8)]).await?;
    let row = rows.first().ok_or(FleetError::NoSuchBatch(batch_id))?;
    let mut status = BatchStatus {
        id: batch_id,
        kind: row.get(0),
        root: row.get(1),
        state: BatchState::from_name(row.get(2)),
        started_ms: row.get(3),
        ended_ms: row.get(4),
        rate: row.get(5),
        is_listed: false,
        is_listing_failed: false,
        found: 0,
        ready: 0,
        leased: 0,
        done: 0,
        failed: 0,
        quarantined: 0,
        per_second: 0.0,
        left_s: None,
        nodes: 0,
        outcomes: Vec::new(),
    };
    if let Some(summary) = row.get::<_, Option<&str>>(6) {
        status.add(serde_json::from_str(summary).map_err(FleetError::Unreadable)?);
        return Ok(status);
    }
    status.add(counts(client, batch_id).await?);
    let sql = "SELECT (SELECT count(*) FROM aftercast.work WHERE batch_id = $1 AND state IN ('done', 'failed', 'quarantined') \
                 AND ended_at > now() - interval '1 minute'), \
               least(60, greatest(1, extract(epoch FROM now() - started_at)))::float8, \
               (SELECT count(DISTINCT lease_node) FROM aftercast.work WHERE batch_id = $1 AND state = 'leased') \
               FROM aftercast.batch WHERE batch_id = $1";
    if let Some(row) = ask(client, sql, &[(&batch_id, Type::INT8)]).await?.first() {
        let (ended, nodes): (i64, i64) = (row.get(0), row.get(2));
        pace(&mut status, ended, row.get(1));
        status.nodes = unsigned(nodes);
    }
    Ok(status)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shown rounded"
)]
fn pace(status: &mut BatchStatus, ended: i64, seconds: f64) {
    status.per_second = ended as f64 / seconds;
    let left = (status.ready + status.leased) as f64;
    status.left_s =
        (ended > 0 && status.state == BatchState::Running).then(|| (left / status.per_second).ceil() as u64);
}

/// Counts the items of a batch.
async fn counts(client: &Client, batch_id: i64) -> Result<Counts, FleetError> {
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&batch_id, Type::INT8), (&LIST, Type::TEXT)];
    Ok(counted(&ask(client, COUNT, &values).await?))
}

/// Notes how the items of a batch that has ended stand: a later one takes them over.
pub(super) async fn note_summary(client: &Client, batch_id: i64) -> Result<(), FleetError> {
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&batch_id, Type::INT8), (&LIST, Type::TEXT)];
    let counts = counted(&ask_at_length(client, COUNT, &values).await?);
    let summary = serde_json::to_string(&counts).map_err(FleetError::Unreadable)?;
    let sql = "UPDATE aftercast.batch SET summary = $2::jsonb WHERE batch_id = $1 AND state IN ('canceled', 'done') AND summary IS NULL";
    ask(client, sql, &[(&batch_id, Type::INT8), (&summary, Type::TEXT)]).await.map(drop)
}

const COUNT: &str = "SELECT kind = $2, state, error_class, reason, count(*) FROM aftercast.work WHERE batch_id = $1 \
               GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 2, 4";

fn counted(rows: &[Row]) -> Counts {
    let mut counts = Counts::default();
    for row in rows {
        let count =
            OutcomeCount { state: row.get(1), class: row.get(2), reason: row.get(3), count: unsigned(row.get(4)) };
        let is_page: bool = row.get(0);
        if is_page { counts.pages.push(count) } else { counts.outcomes.push(count) }
    }
    counts
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
