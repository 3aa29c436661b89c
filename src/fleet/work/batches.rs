//! Batches: what an operator has asked for about everything below a root.

use deadpool_postgres::{Client, Pool};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use super::super::connecting::{self, GIVE_UP, ask, with, within};
use super::super::error::FleetError;
use super::super::options::FleetOptions;
use super::super::rows::text;
use super::super::schema;
use super::super::transaction::Transaction;
use super::SharedWork;
use super::enqueuing::insert;
use super::pages::page;
use super::status::{self, BatchState, BatchStatus};
use crate::fault::chain;
use crate::runtime::Runtime;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchSpec {
    /// What is done with each recording.
    pub kind: String,
    /// A URL, or an absolute directory.
    pub root: String,
    /// Which directory it is.
    pub root_id: Option<String>,
    /// Recordings a second for all nodes together.
    pub rate: Option<f64>,
}

/// A batch that nodes may work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningBatch {
    /// Its number.
    pub batch_id: i64,
    /// What is done with each recording.
    pub kind: String,
    /// A URL, or an absolute directory.
    pub root: String,
    /// Which directory it is.
    pub root_id: Option<String>,
}

/// The batches in the database, for whoever starts and looks at them. This is no node: it holds nothing. Its methods block.
#[derive(Debug)]
pub struct Batches {
    pool: Pool,
    runtime: Runtime,
}

impl Batches {
    /// Connects, and brings the tables up to date.
    pub fn open(options: &FleetOptions, runtime: &Runtime) -> Result<Self, FleetError> {
        let pool = runtime.block_on(async {
            let pool = connecting::pool(options)?;
            drop(schema::prepare(&pool).await?);
            Ok::<_, FleetError>(pool)
        })?;
        Ok(Self { pool, runtime: runtime.clone() })
    }

    fn with_client<T>(&self, ask: impl AsyncFnOnce(&mut Client) -> Result<T, FleetError>) -> Result<T, FleetError> {
        self.runtime.block_on(async { with(connecting::client(&self.pool).await?, ask).await })
    }

    /// Starts one. Says its number.
    pub fn start(&self, spec: &BatchSpec) -> Result<i64, FleetError> {
        self.with_client(async |client| within(start(client, spec)).await)
    }

    /// How one stands.
    pub fn status(&self, batch_id: i64) -> Result<BatchStatus, FleetError> {
        self.with_client(async |client| status::of(client, batch_id).await)
    }

    /// How all stand, the newest first: those that run or are paused, and the last of the others.
    pub fn list(&self) -> Result<Vec<BatchStatus>, FleetError> {
        self.with_client(async |client| {
            let sql = "SELECT batch_id FROM aftercast.batch ORDER BY state IN ('running', 'paused') DESC, batch_id DESC LIMIT 20";
            let mut all = Vec::new();
            for row in ask(client, sql, &[]).await? {
                all.push(status::of(client, row.get(0)).await?);
            }
            Ok(all)
        })
    }

    /// Has nodes claim nothing of it until it is resumed. What they have claimed they finish.
    pub fn pause(&self, batch_id: i64) -> Result<(), FleetError> {
        self.change(batch_id, BatchState::Paused, &[BatchState::Running, BatchState::Paused])
    }

    /// Has nodes claim of it again.
    pub fn resume(&self, batch_id: i64) -> Result<(), FleetError> {
        self.change(batch_id, BatchState::Running, &[BatchState::Running, BatchState::Paused])
    }

    /// Ends it. What nodes have claimed they finish.
    pub fn cancel(&self, batch_id: i64) -> Result<(), FleetError> {
        let from = [BatchState::Running, BatchState::Paused, BatchState::Canceled];
        self.change(batch_id, BatchState::Canceled, &from)
    }

    fn change(&self, batch_id: i64, to: BatchState, from: &[BatchState]) -> Result<(), FleetError> {
        let state = self.with_client(async |client| state_of(client, batch_id).await)?;
        if !from.contains(&state) {
            return Err(FleetError::BatchEnded { batch_id, state: state.name() });
        }
        if to == BatchState::Canceled {
            let connect = async || connecting::client(&self.pool).await;
            return self.runtime.block_on(end(connect, batch_id, to)).map(drop);
        }
        let sql = "UPDATE aftercast.batch SET state = $2 WHERE batch_id = $1 AND state IN ('running', 'paused')";
        let name = to.name();
        self.with_client(async |client| {
            ask(client, sql, &[(&batch_id, Type::INT8), (&name, Type::TEXT)]).await.map(drop)
        })
    }
}

impl SharedWork {
    /// Batches that run, the oldest first.
    pub fn running_batches(&self) -> Result<Vec<RunningBatch>, FleetError> {
        let sql = "SELECT batch_id, kind, root, root_id FROM aftercast.batch WHERE state = 'running' ORDER BY batch_id";
        let batch = |row: &tokio_postgres::Row| RunningBatch {
            batch_id: row.get(0),
            kind: row.get(1),
            root: row.get(2),
            root_id: row.get(3),
        };
        self.0.with_client(async |client| Ok(ask(client, sql, &[]).await?.iter().map(batch).collect()))
    }

    /// Ends a batch of which nothing is left. Says whether it did.
    pub fn end_if_done(&self, batch_id: i64) -> Result<bool, FleetError> {
        let left = "SELECT FROM aftercast.work WHERE batch_id = $1 AND state IN ('ready', 'leased') LIMIT 1";
        let left = self.0.with_client(async |client| ask(client, left, &[(&batch_id, Type::INT8)]).await)?;
        if !left.is_empty() {
            return Ok(false);
        }
        self.0.runtime.block_on(end(async || self.0.connection().await, batch_id, BatchState::Done))
    }
}

async fn start(client: &mut Client, spec: &BatchSpec) -> Result<i64, FleetError> {
    let (kind, root) = (text(&spec.kind), text(&spec.root));
    let transaction = Transaction::begin(client, GIVE_UP).await?;
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&kind, Type::TEXT), (&root, Type::TEXT), (&spec.root_id, Type::TEXT), (&spec.rate, Type::FLOAT8)];
    let sql = "INSERT INTO aftercast.batch (kind, root, root_id, rate) VALUES ($1, $2, $3, $4) RETURNING batch_id";
    let started = transaction.query_typed(sql, &values).await;
    let rows = match started {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            transaction.rollback().await?;
            return Err(active(client, (kind, root)).await?);
        }
        started => started?,
    };
    let batch_id = rows.first().map(|row| row.get(0)).ok_or(FleetError::NoTables)?;
    insert(&transaction, &[page(batch_id, &root, "")], "true", "NOTHING").await?;
    transaction.commit().await?;
    Ok(batch_id)
}

/// The batch that is in the way.
async fn active(client: &Client, (kind, root): (String, String)) -> Result<FleetError, FleetError> {
    let sql = "SELECT batch_id FROM aftercast.batch WHERE kind = $1 AND root = $2 AND state IN ('running', 'paused')";
    let rows = ask(client, sql, &[(&kind, Type::TEXT), (&root, Type::TEXT)]).await?;
    let batch_id = rows.first().map(|row| row.get(0)).unwrap_or_default();
    Ok(FleetError::BatchActive { batch_id, root })
}

async fn state_of(client: &Client, batch_id: i64) -> Result<BatchState, FleetError> {
    let sql = "SELECT state FROM aftercast.batch WHERE batch_id = $1";
    let rows = ask(client, sql, &[(&batch_id, Type::INT8)]).await?;
    let row = rows.first().ok_or(FleetError::NoSuchBatch(batch_id))?;
    Ok(BatchState::from_name(row.get(0)))
}

/// Ends a batch that has not ended, and notes how its items stand. They may be millions: counting has a connection of its own, and a
/// batch without its summary has ended all the same.
async fn end(
    connect: impl AsyncFn() -> Result<Client, FleetError>,
    batch_id: i64,
    to: BatchState,
) -> Result<bool, FleetError> {
    let has_ended = with(connect().await?, async |client| mark_as_ended(client, batch_id, to).await).await?;
    if !has_ended {
        return Ok(false);
    }
    let noted = match connect().await {
        Ok(client) => with(client, async |client| status::note_summary(client, batch_id).await).await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        warn!(
            batch = batch_id,
            error = chain(&error),
            "the items of the batch could not be counted; its status counts them anew"
        );
    }
    Ok(true)
}

async fn mark_as_ended(client: &Client, batch_id: i64, to: BatchState) -> Result<bool, FleetError> {
    let sql = "UPDATE aftercast.batch SET state = $2, ended_at = now() WHERE batch_id = $1 AND state IN ('running', 'paused') \
               AND ($2 = 'canceled' OR NOT EXISTS (SELECT FROM aftercast.work w WHERE w.batch_id = $1 AND w.state IN ('ready', 'leased'))) \
               RETURNING batch_id";
    let name = to.name();
    Ok(!ask(client, sql, &[(&batch_id, Type::INT8), (&name, Type::TEXT)]).await?.is_empty())
}
