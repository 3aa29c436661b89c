//! Whether a node is alive, as SQL: one rule for every question. Only the clock of the database and the lease in it count.
//!
//! While the database was away no node could send it a heartbeat. So nobody is silent for longer than it has been running: it takes every
//! node for alive until a lease has passed since its start, unless the node has said that it ended.

/// Whether a node, a row of `aftercast.node` under this name, was heard of within a lease.
pub(super) fn is_heard(node: &str) -> String {
    format!("greatest({node}.seen_at, pg_postmaster_start_time()) > now() - (SELECT lease FROM aftercast.meta)")
}

/// Whether a node is alive: it was heard of, and did not end.
pub(super) fn is_alive(node: &str) -> String {
    format!("({node}.stopped_at IS NULL AND {})", is_heard(node))
}

/// Whether the node with an identity is alive, as a subquery.
pub(super) fn alive(node_id: &str) -> String {
    format!("SELECT FROM aftercast.node alive WHERE alive.node_id = {node_id} AND {}", is_alive("alive"))
}
