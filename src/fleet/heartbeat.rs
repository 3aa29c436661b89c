//! The heartbeat of a session, and what is done with it: addresses of other nodes are learned, roots are asked for, and what is too old
//! is removed.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio_postgres::types::{ToSql, Type};
use tracing::debug;

use super::engine::{Member, lock};
use super::error::FleetError;
use super::{claim, commands, connecting, listing, objects};
use crate::fault::chain;

/// How often old events are removed from the database.
const PRUNE: Duration = Duration::from_secs(3_600);
/// When it is tried again after a failure.
const PRUNE_AGAIN: Duration = Duration::from_secs(60);
/// Events, and rows of keys, that are removed at once; while there are more, as many at each heartbeat.
const PRUNE_ROWS: i64 = 5_000;
/// Heartbeats after which the addresses of other nodes are asked for.
const LEARN_ADDRESSES: u64 = 12;

impl Member {
    /// Sends heartbeats until one is not confirmed. A round takes less time than a confirmation counts, or ends the session: roots that are
    /// this node's alone go on in either case.
    pub(super) async fn confirm(self: &Arc<Self>, pool: &Pool, node_id: &str, epoch: i64) -> Result<(), FleetError> {
        let mut client = connecting::client(pool).await?;
        let (mut prune_at, mut beats) = (self.clock.now(), 0_u64);
        loop {
            if beats.is_multiple_of(LEARN_ADDRESSES) {
                let addresses = listing::addresses(&client).await?;
                *lock(&self.addresses) = addresses;
            }
            beats += 1;
            tokio::select! {
                () = tokio::time::sleep(self.health.heartbeat()) => {}
                () = self.roots_changed.notified() => {}
            }
            let sent = self.health.now();
            claim::confirm(&client, node_id, epoch).await?;
            self.health.confirmed(sent);
            self.check_roots(&mut client, node_id, epoch).await?;
            if prune_at <= self.clock.now() {
                match self.prune(&client, node_id).await {
                    Ok(removed) if removed >= PRUNE_ROWS => {}
                    Ok(_) => prune_at = self.clock.now() + PRUNE,
                    // The next heartbeat finds out whether that is all that failed.
                    Err(error) => {
                        debug!(error = chain(&error), "cannot remove old events from the fleet database");
                        prune_at = self.clock.now() + PRUNE_AGAIN;
                    }
                }
            }
        }
    }

    /// Removes commands that are over, some rows of keys that are of no use any more, and some events of this node, and of nodes that are away, that the database has had for longer than
    /// they are kept here; how many. Not all at once: that could take longer than a statement may, and the next heartbeat waits for it.
    async fn prune(&self, client: &Client, node_id: &str) -> Result<i64, FleetError> {
        commands::prune(client).await?;
        let keys = objects::prune(client, PRUNE_ROWS).await?;
        let keep_s = self.shared.event_limits().keep_for.as_secs_f64();
        let sql = "WITH gone AS (DELETE FROM aftercast.event WHERE ctid = ANY (ARRAY(SELECT ctid FROM aftercast.event \
                   WHERE received_at < now() - make_interval(secs => $2) AND node_id IN (SELECT node_id FROM aftercast.node \
                   WHERE node_id = $1::uuid OR seen_at < now() - make_interval(secs => $2)) LIMIT $3)) RETURNING 1) \
                   SELECT count(*) FROM gone";
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&node_id, Type::TEXT), (&keep_s, Type::FLOAT8), (&PRUNE_ROWS, Type::INT8)];
        let rows = connecting::ask_soon(client, sql, &values).await?;
        Ok(keys.max(connecting::number_in(&rows)?))
    }
}
