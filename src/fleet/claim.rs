//! This node's row: its identity is claimed at a start, confirmed by heartbeats, given back at the end.
//!
//! Two processes with one identity (a copied machine, a state directory restored beside its original) are told apart by the epoch:
//! the later one is refused while the first is heard of, and if the first was silent, it finds another epoch when it wakes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use deadpool_postgres::Client;
use tokio_postgres::types::Type;

use super::alive::is_alive;
use super::connecting::{ask, ask_soon, within};
use super::error::FleetError;
use super::options::FleetOptions;
use super::schema;
use super::transaction::Transaction;

/// How often a heartbeat is sent.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Who this process is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub node_id: String,
    pub name: String,
    pub host: String,
    /// Which state directory in which life of which machine: a process of the same instance is a restart.
    pub instance: String,
    pub api_url: Option<String>,
    /// Paths of roots and the applications that they are, as JSON.
    pub apps: String,
}

impl Identity {
    pub fn of(node_id: String, state_dir: &Path, options: &FleetOptions, apps: &BTreeMap<String, String>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let directory = fs::metadata(state_dir).map(|of| format!("{}:{}", of.dev(), of.ino())).unwrap_or_default();
        let instance = format!("{}/{directory}", boot_id().unwrap_or_else(|| host.clone()));
        let apps = serde_json::json!(apps).to_string();
        Self { node_id, name: options.node_name(), host, instance, api_url: options.api_url.clone(), apps }
    }
}

/// Another one after each start of the machine, and in each copy of it.
fn boot_id() -> Option<String> {
    let read =
        rustix::fs::open("/proc/sys/kernel/random/boot_id", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    let mut text = [0_u8; 64];
    let length = rustix::io::read(read.ok()?, &mut text).ok()?;
    Some(String::from_utf8_lossy(&text[..length]).trim().to_owned())
}

/// What the database said when the identity was claimed or found to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claimed {
    pub epoch: i64,
    /// The last batch that it has of this node.
    pub batch: u64,
    /// The last event.
    pub event: u64,
}

/// Identity of the database itself.
pub(super) async fn database_id(client: &Client) -> Result<String, FleetError> {
    let rows = within(client.query_typed("SELECT database_id::text FROM aftercast.meta", &[])).await?;
    rows.first().map(|row| row.get(0)).ok_or(FleetError::NoTables)
}

/// For how long nodes are taken for alive without a heartbeat, where work is shared.
pub(super) async fn lease(client: &Client) -> Result<Duration, FleetError> {
    let sql = "SELECT (extract(epoch FROM lease) * 1000)::bigint FROM aftercast.meta";
    let rows = ask(client, sql, &[]).await?;
    let lease_ms = rows.first().map(|row| row.get(0)).ok_or(FleetError::NoTables)?;
    Ok(Duration::from_millis(count(lease_ms)))
}

/// Takes the identity for this process, with a new epoch. What the database has of a node whose state is older than the database
/// says nothing about this one's log: it counts as nothing. Neither does the batch of a database that is older than this node.
pub(super) async fn claim(client: &Client, identity: &Identity, known_epoch: i64) -> Result<Claimed, FleetError> {
    let sql = format!(
        "INSERT INTO aftercast.node AS n (node_id, name, epoch, instance, host, version, api_url, apps) \
         VALUES ($1::uuid, $2, $7 + 1, $3, $4, $5, $6, $8::jsonb) \
         ON CONFLICT (node_id) DO UPDATE SET epoch = greatest(n.epoch, $7) + 1, name = excluded.name, \
           instance = excluded.instance, host = excluded.host, version = excluded.version, api_url = excluded.api_url, \
           apps = excluded.apps, started_at = now(), seen_at = now(), stopped_at = NULL, \
           batch = CASE WHEN n.epoch = $7 THEN n.batch ELSE 0 END, \
           event_seq = CASE WHEN n.epoch <= $7 THEN n.event_seq ELSE 0 END \
         WHERE n.instance = excluded.instance OR NOT {} RETURNING n.epoch, n.batch, n.event_seq",
        is_alive("n")
    );
    let version = env!("CARGO_PKG_VERSION");
    let rows = ask(
        client,
        &sql,
        &[
            (&identity.node_id, Type::TEXT),
            (&identity.name, Type::TEXT),
            (&identity.instance, Type::TEXT),
            (&identity.host, Type::TEXT),
            (&version, Type::TEXT),
            (&identity.api_url, Type::TEXT),
            (&known_epoch, Type::INT8),
            (&identity.apps, Type::TEXT),
        ],
    )
    .await?;
    match rows.first() {
        Some(row) => Ok(Claimed { epoch: row.get(0), batch: count(row.get(1)), event: count(row.get(2)) }),
        None => Err(holder(client, identity).await?),
    }
}

/// Who has the identity.
async fn holder(client: &Client, identity: &Identity) -> Result<FleetError, FleetError> {
    let sql = "SELECT host, extract(epoch FROM now() - seen_at)::bigint FROM aftercast.node WHERE node_id = $1::uuid";
    let rows = ask(client, sql, &[(&identity.node_id, Type::TEXT)]).await?;
    let (host, age_s) = rows.first().map(|row| (row.get(0), row.get(1))).unwrap_or_default();
    Ok(FleetError::IdentityInUse { host, age_s })
}

/// Confirms that this process has the identity.
pub(super) async fn confirm(client: &Client, node_id: &str, epoch: i64) -> Result<Claimed, FleetError> {
    let sql = "UPDATE aftercast.node SET seen_at = now(), stopped_at = NULL WHERE node_id = $1::uuid AND epoch = $2 \
               RETURNING batch, event_seq, (SELECT version FROM aftercast.meta)";
    let rows = ask_soon(client, sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8)]).await?;
    let row = rows.first().ok_or(FleetError::Superseded)?;
    schema::require_known(row.get(2))?;
    Ok(Claimed { epoch, batch: count(row.get(0)), event: count(row.get(1)) })
}

/// Gives the identity back, so that a restart elsewhere need not wait, and all work that is still held under it.
pub(super) async fn release(client: &Client, node_id: &str, epoch: i64) -> Result<(), FleetError> {
    let sql = "WITH given_back AS (UPDATE aftercast.work SET state = 'ready', due_at = now(), is_begun = false, lease_node = NULL, \
                 lease_epoch = NULL, token = NULL, held_until = NULL \
                 WHERE state = 'leased' AND lease_node = $1::uuid AND lease_epoch = $2) \
               UPDATE aftercast.node SET stopped_at = now() WHERE node_id = $1::uuid AND epoch = $2";
    ask(client, sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8)]).await.map(drop)
}

/// Begins what only the holder of the identity may write: nobody else can take it before the transaction ends.
pub(super) async fn fence(
    transaction: &Transaction<'_>,
    node_id: &str,
    epoch: i64,
    (batch, event): (u64, u64),
) -> Result<(), FleetError> {
    let sql = "UPDATE aftercast.node SET seen_at = now(), batch = greatest(batch, $3), event_seq = greatest(event_seq, $4) \
               WHERE node_id = $1::uuid AND epoch = $2";
    let (batch, event) = (number(batch), number(event));
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&batch, Type::INT8), (&event, Type::INT8)];
    match transaction.execute_typed(sql, &values).await? {
        0 => Err(FleetError::Superseded),
        _ => Ok(()),
    }
}

/// PostgreSQL has no unsigned numbers.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
