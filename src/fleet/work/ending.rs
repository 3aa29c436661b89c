//! How a claim ends: done, failed, or given back. Whoever is too late changes nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::types::{ToSql, Type};

use super::super::claim::number;
use super::super::connecting::{GIVE_UP, ask, within};
use super::super::error::FleetError;
use super::super::replicate;
use super::super::rows::{replace_nul, text};
use super::super::transaction::Transaction;
use super::SharedWork;
use super::item::WorkItem;
use crate::fault::Class;
use crate::recording::VodRecord;

/// How often work is tried that fails for a reason of its own which may pass.
const TRIES: i32 = 5;
/// How often it is given back because something around it was in the way, until it counts as failed: on a fleet of sound nodes it is the
/// item then.
const GIVEN_BACK_MOST: i32 = 8;
/// When it is tried again: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Characters of a reason.
const LONGEST_REASON: usize = 300;

/// What came of an item.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkResult {
    /// How it ended, in one of a few words.
    pub outcome: String,
    /// What there is to say about it.
    pub details: Value,
    /// The record that was made of it, with its revision on this node: it is written with the result or not at all. If another node that
    /// takes work has made it before, it lists it no longer.
    pub vod: Option<(VodRecord, u64)>,
}

/// Why an item failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFailure {
    /// What to do about it.
    pub class: Class,
    /// What failures of one kind have in common.
    pub reason: String,
    /// What went wrong with this one.
    pub message: String,
}

/// Whose the claim is, and that it was the last one.
const LAST: &str =
    "w.work_id = r.work_id AND w.token = r.token AND w.lease_node = r.node::uuid AND w.lease_epoch = r.epoch";
/// Rows of claims as JSON.
const CLAIM: &str = "work_id bigint, token bigint, node text, epoch bigint";
/// Nobody holds it any more.
const LET_GO: &str = "is_begun = false, lease_node = NULL, lease_epoch = NULL, token = NULL, held_until = NULL";

impl SharedWork {
    /// An item is done; said again, it still is. `false`: another node has it by now; nothing of the result is kept.
    pub fn finish(&self, item: &WorkItem, result: &WorkResult) -> Result<bool, FleetError> {
        Ok(self.finish_all(&[(item, result)])? == 1)
    }

    /// Several items are done. Says of how many the result counts.
    pub fn finish_all(&self, done: &[(&WorkItem, &WorkResult)]) -> Result<usize, FleetError> {
        self.0.with_client(async |client| {
            within(async {
                let transaction = Transaction::begin(client, GIVE_UP).await?;
                let accepted = end_as_done(&transaction, done).await?;
                for (item, result) in done.iter().filter(|(item, _)| accepted.contains(&item.work_id)) {
                    if let Some((vod, revision)) = &result.vod {
                        list_for_holder(&transaction, item, (vod, *revision)).await?;
                    }
                }
                transaction.commit().await?;
                Ok::<_, FleetError>(accepted.len())
            })
            .await
        })
    }

    /// An item failed. What is permanent stays so; what may pass is tried again later, up to five times; what the surroundings are in
    /// the way of is given back and does not count as a try. `false`: another node has it by now.
    pub fn fail(&self, item: &WorkItem, failure: &WorkFailure) -> Result<bool, FleetError> {
        let sql = format!(
            "UPDATE aftercast.work w SET attempt = w.attempt + r.tries, given_back = w.given_back + r.returns, \
               state = CASE WHEN r.is_final OR w.attempt + r.tries >= {TRIES} OR w.given_back + r.returns >= {GIVEN_BACK_MOST} \
                 THEN 'failed' ELSE 'ready' END, \
               ended_at = CASE WHEN r.is_final OR w.attempt + r.tries >= {TRIES} OR w.given_back + r.returns >= {GIVEN_BACK_MOST} \
                 THEN now() END, \
               due_at = now() + least({} * 2 ^ (w.attempt + w.given_back), {}) * interval '1 second', \
               error_class = r.class, reason = r.reason, error = r.error, {LET_GO} \
             FROM json_to_recordset($1::json) AS r({CLAIM}, tries integer, returns integer, is_final boolean, class text, reason text, \
               error text) WHERE {LAST} AND w.state = 'leased' RETURNING w.work_id",
            FIRST_PAUSE.as_secs(),
            LONGEST_PAUSE.as_secs()
        );
        let is_of_surroundings = failure.class == Class::Environment;
        let mut row = claim_of(item);
        row["tries"] = i32::from(!is_of_surroundings).into();
        row["returns"] = i32::from(is_of_surroundings).into();
        row["is_final"] = (failure.class == Class::Permanent).into();
        row["class"] = failure.class.name().into();
        row["reason"] = brief(&failure.reason).into();
        row["error"] = text(&failure.message).into();
        Ok(self.update(&sql, vec![row])? == 1)
    }

    /// Gives items back that were not worked on, or not to their end for a reason that is not theirs. They may be claimed after a while.
    pub fn give_back(&self, items: &[&WorkItem], after: Duration) -> Result<usize, FleetError> {
        let sql = format!(
            "UPDATE aftercast.work w SET state = 'ready', due_at = now() + r.delay_ms * interval '1 millisecond', {LET_GO} \
             FROM json_to_recordset($1::json) AS r({CLAIM}, delay_ms bigint) WHERE {LAST} AND w.state = 'leased' RETURNING w.work_id"
        );
        let delay_ms = number(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let row = |item: &&WorkItem| {
            let mut row = claim_of(item);
            row["delay_ms"] = delay_ms.into();
            row
        };
        self.update(&sql, items.iter().map(row).collect())
    }

    /// Gives back whatever of a batch the database has as held by this life of the node, for a process that holds nothing of it: a
    /// standby that took over without the last changes does not know how these have ended. Says how many there were.
    pub fn give_all_back(&self, batch_id: i64) -> Result<usize, FleetError> {
        let (node_id, epoch) = self.0.acting()?;
        let sql = format!(
            "UPDATE aftercast.work w SET state = 'ready', due_at = now(), {LET_GO} \
             WHERE w.batch_id = $3 AND w.state = 'leased' AND w.lease_node = $1::uuid AND w.lease_epoch = $2 RETURNING w.work_id"
        );
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&batch_id, Type::INT8)];
        self.0.with_client(async |client| Ok(ask(client, &sql, &values).await?.len()))
    }

    /// This node takes work from now on, and nothing else: what an earlier life of it said about being drained is void. Rows of such
    /// nodes that are long gone and have left nothing are removed.
    pub fn enroll(&self) -> Result<(), FleetError> {
        let (node_id, epoch) = self.0.acting()?;
        let enrolled = "UPDATE aftercast.node SET is_worker = true, drained_at = NULL, drain_reason = NULL \
                        WHERE node_id = $1::uuid AND epoch = $2 RETURNING epoch";
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&node_id, Type::TEXT), (&epoch, Type::INT8)];
        let long_gone = "WITH gone AS (SELECT n.node_id FROM aftercast.node n WHERE n.is_worker AND n.seen_at < now() - interval '7 days' \
                           AND NOT EXISTS (SELECT FROM aftercast.vod v WHERE v.node_id = n.node_id) \
                           AND NOT EXISTS (SELECT FROM aftercast.work w WHERE w.state = 'leased' AND w.lease_node = n.node_id)), \
                         events AS (DELETE FROM aftercast.event e USING gone WHERE e.node_id = gone.node_id) \
                         SELECT node_id::text FROM gone";
        self.0.with_client(async |client| {
            if ask(client, enrolled, &values).await?.is_empty() {
                return Err(FleetError::Superseded);
            }
            let gone: Vec<String> = ask(client, long_gone, &[]).await?.iter().map(|row| row.get(0)).collect();
            let remove = "DELETE FROM aftercast.node WHERE node_id::text = ANY($1)";
            ask(client, remove, &[(&gone, Type::TEXT_ARRAY)]).await.map(drop)
        })
    }

    /// This node takes no more work, and its row says why. What it holds is given back.
    pub fn drain(&self, reason: &str) -> Result<(), FleetError> {
        let (node_id, epoch) = self.0.acting()?;
        let sql = format!(
            "WITH given_back AS (UPDATE aftercast.work w SET state = 'ready', due_at = now(), {LET_GO} \
               WHERE w.state = 'leased' AND w.lease_node = $1::uuid AND w.lease_epoch = $2) \
             UPDATE aftercast.node SET drained_at = now(), drain_reason = $3 WHERE node_id = $1::uuid AND epoch = $2"
        );
        let reason = text(reason);
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&reason, Type::TEXT)];
        self.0.with_client(async |client| ask(client, &sql, &values).await.map(drop))
    }

    fn update(&self, sql: &str, rows: Vec<Value>) -> Result<usize, FleetError> {
        let rows = Value::Array(rows).to_string();
        self.0.with_client(async |client| Ok(ask(client, sql, &[(&rows, Type::TEXT)]).await?.len()))
    }
}

/// The VoD of an item is its holder's: a node that takes work and had the item before lists it no longer, whatever it tells later.
async fn list_for_holder(
    transaction: &Transaction<'_>,
    item: &WorkItem,
    (vod, revision): (&VodRecord, u64),
) -> Result<(), FleetError> {
    let ((node_id, epoch), vod_id) = (&item.holder, text(&vod.vod_id));
    let before: Vec<_> = item.intent.iter().filter_map(|intent| intent.get("nodes")?.as_array()).flatten().collect();
    let before: Vec<_> = before.into_iter().filter_map(Value::as_str).collect();
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(node_id, Type::TEXT), (&vod_id, Type::TEXT), (&before, Type::TEXT_ARRAY)];
    let own = "DELETE FROM aftercast.vod_former WHERE node_id = $1::uuid AND vod_id = $2";
    transaction.execute_typed(own, &values[..2]).await?;
    replicate::write_vod(transaction, (node_id, *epoch), (vod, revision)).await?;
    // By the file, and by what the item says: who had it may not have told of the VoD yet.
    let others = "WITH before AS (SELECT n.node_id FROM aftercast.node n WHERE n.is_worker AND n.node_id <> $1::uuid AND (n.node_id::text = ANY ($3) \
                    OR n.node_id IN (SELECT v.node_id FROM aftercast.vod v JOIN aftercast.vod o ON o.node_id = $1::uuid AND o.vod_id = v.vod_id \
                      AND (o.root, o.rel_path) = (v.root, v.rel_path) WHERE v.vod_id = $2))), \
                  gone AS (DELETE FROM aftercast.vod v USING before b WHERE v.node_id = b.node_id AND v.vod_id = $2) \
                  INSERT INTO aftercast.vod_former (node_id, vod_id) SELECT node_id, $2 FROM before ON CONFLICT DO NOTHING";
    transaction.execute_typed(others, &values).await?;
    Ok(())
}

/// A reason as it is stored: an index holds no long ones.
fn brief(reason: &str) -> String {
    text(reason).chars().take(LONGEST_REASON).collect()
}

/// The claim as a row.
fn claim_of(item: &WorkItem) -> Value {
    json!({ "work_id": item.work_id, "token": item.token, "node": item.holder.0, "epoch": item.holder.1 })
}

/// Ends claims that still are their holders'. Says which. One that is done by the same claim counts: the answer was lost.
pub(super) async fn end_as_done(
    transaction: &Transaction<'_>,
    done: &[(&WorkItem, &WorkResult)],
) -> Result<Vec<i64>, FleetError> {
    let sql = format!(
        "UPDATE aftercast.work w SET state = 'done', ended_at = now(), result = r.result, reason = r.outcome, error_class = NULL, \
           error = NULL, is_begun = false, held_until = NULL \
         FROM json_to_recordset($1::json) AS r({CLAIM}, result jsonb, outcome text) WHERE {LAST} AND w.state IN ('leased', 'done') RETURNING w.work_id"
    );
    let row = |(item, result): &(&WorkItem, &WorkResult)| {
        let (mut row, mut details) = (claim_of(item), result.details.clone());
        replace_nul(&mut details);
        row["result"] = details;
        row["outcome"] = brief(&result.outcome).into();
        row
    };
    let rows = Value::Array(done.iter().map(row).collect()).to_string();
    let rows = transaction.query_typed(&sql, &[(&rows, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
