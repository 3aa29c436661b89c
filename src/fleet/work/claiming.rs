//! Claims work, says that it is begun, and asks before a step that cannot be undone whether it is still this node's.

use deadpool_postgres::Client;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::super::alive::{is_alive, is_heard};
use super::super::connecting::{GIVE_UP, ask, within};
use super::super::error::FleetError;
use super::super::rows::replace_nul;
use super::super::transaction::Transaction;
use super::SharedWork;
use super::item::{COLUMNS, WorkItem};

/// Which work is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkScope<'a> {
    /// That of a batch which is running.
    Batch(i64),
    /// That of a kind in a root, of no batch.
    Root {
        /// The kind.
        kind: &'a str,
        /// The root.
        root: &'a str,
    },
}

/// Work that was begun and whose holder dies is given to another once; then it is taken for the reason.
const IS_DEADLY: &str = "w.is_begun AND w.deaths >= 1";
/// What is said of it.
const DEADLY: &str = "two processes ended while they worked on it";

/// Takes work from holders that are gone: that began another life, that ended, or that were not heard of for the length of a lease and
/// have not asked for more. The last only where this node may judge that: it was away itself otherwise, or the database was.
fn take_over(sees_others: bool) -> String {
    format!(
        "WITH gone AS (SELECT w.work_id FROM aftercast.work w LEFT JOIN aftercast.node n ON n.node_id = w.lease_node \
           WHERE w.state = 'leased' AND (n.node_id IS NULL OR n.epoch <> w.lease_epoch OR n.stopped_at IS NOT NULL \
             OR ({sees_others} AND NOT {} AND coalesce(w.held_until, '-infinity') < now())) \
           ORDER BY w.work_id LIMIT 1000 FOR UPDATE OF w SKIP LOCKED) \
         UPDATE aftercast.work w SET state = CASE WHEN {IS_DEADLY} THEN 'quarantined' ELSE 'ready' END, \
           deaths = w.deaths + w.is_begun::integer, due_at = now(), ended_at = CASE WHEN {IS_DEADLY} THEN now() END, \
           error_class = CASE WHEN {IS_DEADLY} THEN 'permanent' ELSE w.error_class END, \
           reason = CASE WHEN {IS_DEADLY} THEN '{DEADLY}' ELSE w.reason END, \
           error = CASE WHEN {IS_DEADLY} THEN '{DEADLY}' ELSE w.error END, \
           is_begun = false, lease_node = NULL, lease_epoch = NULL, token = NULL, held_until = NULL \
         FROM gone WHERE w.work_id = gone.work_id AND w.state = 'leased'",
        is_heard("n")
    )
}

/// Whether a node may claim: it is alive as the database sees it, and did not stop taking work.
fn may_claim() -> String {
    format!(
        "EXISTS (SELECT FROM aftercast.node n WHERE n.node_id = $1::uuid AND n.epoch = $2 AND n.drained_at IS NULL AND {})",
        is_alive("n")
    )
}

impl SharedWork {
    /// Claims up to so many items that are due, those of the smallest priority first. None while the database has not confirmed a
    /// heartbeat of this node: that is an error.
    pub fn claim(&self, scope: WorkScope<'_>, most: u32) -> Result<Vec<WorkItem>, FleetError> {
        let holder = self.0.acting()?;
        let take_over = take_over(self.0.health.unbroken_for_a_lease());
        self.0.with_client(async |client| {
            within(async {
                let transaction = Transaction::begin(client, GIVE_UP).await?;
                transaction.execute_typed(&take_over, &[]).await?;
                let claimed = match scope {
                    WorkScope::Batch(batch_id) => of_batch(&transaction, &holder, batch_id, most).await?,
                    WorkScope::Root { kind, root } => of_root(&transaction, &holder, (kind, root), most).await?,
                };
                transaction.commit().await?;
                Ok::<_, FleetError>(claimed)
            })
            .await
        })
    }

    /// Says that an item is begun: from here on, the end of this process is held against the item. `false`: it is another's by now.
    pub fn begin(&self, item: &WorkItem) -> Result<bool, FleetError> {
        self.begin_with(item, None)
    }

    /// The same with what is to be known of it by whoever has to carry on, if this process ends with it.
    pub fn begin_with(&self, item: &WorkItem, intent: Option<&Value>) -> Result<bool, FleetError> {
        self.0.acting()?;
        let sql = format!(
            "UPDATE aftercast.work w SET is_begun = true, {ADD_INTENT} WHERE w.work_id = $3 AND w.token = $4 AND w.state = 'leased' \
             AND w.lease_node = $1::uuid AND w.lease_epoch = $2 RETURNING w.work_id"
        );
        self.0.with_client(async |client| is_changed(client, &sql, item, intent).await)
    }

    /// Whether an item is still this node's, which is then so for the length of a lease: asked right before a step that cannot be
    /// undone. An error where the database does not say so, or said it too long ago: the step is not taken then either. `intent` says what
    /// the step is, for whoever has to carry on after it; what was said of earlier steps and is not said anew stays.
    pub fn is_still_mine(&self, item: &WorkItem, intent: Option<&Value>) -> Result<bool, FleetError> {
        if self.0.acting()? != item.holder {
            return Ok(false);
        }
        // A row is written: who takes over at this moment looks at it again, and sees how long it is held.
        let sql = format!(
            "UPDATE aftercast.work w SET held_until = now() + (SELECT lease FROM aftercast.meta), {ADD_INTENT} \
             FROM aftercast.node n WHERE w.work_id = $3 AND w.token = $4 AND w.state = 'leased' \
             AND w.lease_node = $1::uuid AND w.lease_epoch = $2 \
             AND n.node_id = w.lease_node AND n.epoch = w.lease_epoch AND n.stopped_at IS NULL RETURNING w.work_id"
        );
        // The database counts from when it was asked; this process may have been suspended since.
        let asked = self.0.health.now();
        let is_mine = self.0.with_client(async |client| is_changed(client, &sql, item, intent).await)?;
        let age = self.0.health.now().saturating_duration_since(asked);
        if is_mine && age >= self.0.health.trust() {
            return Err(FleetError::TimedOut(age));
        }
        Ok(is_mine)
    }

    /// The name of a node if it is another one and alive.
    pub fn other_live_node(&self, node_id: &str) -> Result<Option<String>, FleetError> {
        let (own, _) = self.0.acting()?;
        let sql = format!(
            "SELECT n.name FROM aftercast.node n WHERE n.node_id::text = $1 AND n.node_id <> $2::uuid AND {}",
            is_alive("n")
        );
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&node_id, Type::TEXT), (&own, Type::TEXT)];
        self.0.with_client(async |client| Ok(ask(client, &sql, &values).await?.first().map(|row| row.get(0))))
    }
}

/// Adds the intent `$5` to what is known of an item, with its holder and all that held it before; none changes nothing.
const ADD_INTENT: &str = "intent = CASE WHEN $5::jsonb IS NULL THEN w.intent \
    ELSE coalesce(w.intent, '{}') || $5::jsonb || jsonb_build_object('node', $1, 'nodes', \
      CASE WHEN w.intent->'nodes' ? $1 THEN w.intent->'nodes' ELSE coalesce(w.intent->'nodes', '[]') || to_jsonb($1::text) END) END";

/// Whether a statement has changed an item: it gets holder, item, token and intent.
async fn is_changed(client: &Client, sql: &str, item: &WorkItem, intent: Option<&Value>) -> Result<bool, FleetError> {
    let intent = intent.map(|intent| {
        let mut intent = intent.clone();
        replace_nul(&mut intent);
        intent.to_string()
    });
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&item.holder.0, Type::TEXT),
        (&item.holder.1, Type::INT8),
        (&item.work_id, Type::INT8),
        (&item.token, Type::INT8),
        (&intent, Type::TEXT),
    ];
    Ok(!ask(client, sql, &values).await?.is_empty())
}

/// Takes what a selection of `c.work_id` names.
fn lease(selection: &str) -> String {
    format!(
        "WITH c AS ({selection} FOR UPDATE SKIP LOCKED) \
         UPDATE aftercast.work w SET state = 'leased', lease_node = $1::uuid, lease_epoch = $2, token = nextval('aftercast.token'), \
           is_begun = false, held_until = NULL \
         FROM c WHERE w.work_id = c.work_id RETURNING {COLUMNS}"
    )
}

async fn of_root(
    transaction: &Transaction<'_>,
    holder: &(String, i64),
    (kind, root): (&str, &str),
    most: u32,
) -> Result<Vec<WorkItem>, FleetError> {
    let sql = lease(&format!(
        "SELECT work_id FROM aftercast.work WHERE batch_id IS NULL AND state = 'ready' AND kind = $4 AND root = $5 AND due_at <= now() \
         AND {} ORDER BY priority, due_at, work_id LIMIT $3",
        may_claim()
    ));
    let most = i64::from(most);
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&holder.0, Type::TEXT),
        (&holder.1, Type::INT8),
        (&most, Type::INT8),
        (&kind, Type::TEXT),
        (&root, Type::TEXT),
    ];
    let rows = transaction.query_typed(&sql, &values).await?;
    Ok(items(&rows, holder))
}

async fn of_batch(
    transaction: &Transaction<'_>,
    holder: &(String, i64),
    batch_id: i64,
    most: u32,
) -> Result<Vec<WorkItem>, FleetError> {
    let batch: [(&(dyn ToSql + Sync), Type); 1] = [(&batch_id, Type::INT8)];
    let running = "SELECT rate FROM aftercast.batch WHERE batch_id = $1 AND state = 'running'";
    let rows = transaction.query_typed(running, &batch).await?;
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    let rate: Option<f64> = row.get(0);
    let most = match rate {
        None => most,
        Some(rate) => {
            // One after the other from here on.
            let due =
                "SELECT FROM aftercast.batch WHERE batch_id = $1 AND state = 'running' AND next_at <= now() FOR UPDATE";
            if transaction.query_typed(due, &batch).await?.is_empty() {
                return Ok(Vec::new());
            }
            most.min(of_a_second(rate))
        }
    };
    let sql = lease(&format!(
        "SELECT work_id FROM aftercast.work WHERE batch_id = $4 AND state = 'ready' AND due_at <= now() AND {} \
         ORDER BY priority, due_at, work_id LIMIT $3",
        may_claim()
    ));
    let limit = i64::from(most);
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&holder.0, Type::TEXT), (&holder.1, Type::INT8), (&limit, Type::INT8), (&batch_id, Type::INT8)];
    let rows = transaction.query_typed(&sql, &values).await?;
    if rate.is_some() && !rows.is_empty() {
        let claimed = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE aftercast.batch SET next_at = greatest(next_at, now()) + make_interval(secs => $2 / rate) WHERE batch_id = $1";
        transaction.execute_typed(sql, &[(&batch_id, Type::INT8), (&claimed, Type::INT8)]).await?;
    }
    let mut claimed = items(&rows, holder);
    // In the order in which they came to be due: the answer has none.
    claimed.sort_by_key(|item| item.work_id);
    Ok(claimed)
}

/// What a rate lets through in a second, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn of_a_second(rate: f64) -> u32 {
    (rate.ceil() as u32).max(1)
}

fn items(rows: &[tokio_postgres::Row], holder: &(String, i64)) -> Vec<WorkItem> {
    rows.iter().map(|row| WorkItem::of(row, holder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_at_least_one_through() {
        assert_eq!([0.01, 1.0, 1.5, 1e12].map(of_a_second), [1, 1, 2, u32::MAX]);
    }
}
