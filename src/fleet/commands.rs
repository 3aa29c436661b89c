//! What one node asks of another about a recording of that one: rows of `aftercast.command`.
//!
//! A command is `waiting`, then `taken` by a life (epoch) of the node it is for, then `done` with an answer. It is taken once: what a life
//! had taken when it ended is answered by the next one with an error, and never begun again. One that nobody takes in time expires.
//! What a row says was written by another program: it is checked by whoever does it.

use std::time::Duration;

use deadpool_postgres::Client;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::alive::is_alive;
use super::connecting::{ask, ask_soon};
use super::error::FleetError;
use super::rows::{replace_nul, text};

/// Open commands of a node at most.
const MOST_OPEN: i64 = 1_000;
/// Bytes of arguments, or of an answer, at most.
const MOST_BYTES: usize = 1 << 20;
/// How long an answer can be asked for after the command has expired.
const KEEP: &str = "interval '1 day'";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// Delete a VoD.
    Delete,
    /// Compare its objects with what the stores hold.
    Verify,
    /// Make its deliveries due now.
    Retry,
}

impl CommandKind {
    const ALL: [Self; 3] = [Self::Delete, Self::Verify, Self::Retry];

    /// Its name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Verify => "verify",
            Self::Retry => "retry",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What is to be asked, and of whom.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// Identity of the node.
    pub to_node: String,
    /// What it is to do.
    pub kind: CommandKind,
    /// With which VoD.
    pub vod_id: String,
    /// Its arguments, as the operation has them.
    pub arguments: Value,
    /// Until when the node may take it, from now on.
    pub valid: Duration,
    /// Whether it is left for a node that is away.
    pub waits_for_node: bool,
}

/// A command that this node is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetCommand {
    /// Its id.
    pub id: String,
    /// What is asked; `None` if this version does not know it.
    pub kind: Option<CommandKind>,
    /// About which VoD.
    pub vod_id: String,
    /// The arguments of the operation.
    pub arguments: Value,
    /// Name of the node that asks, as far as it is known.
    pub asked_by: String,
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandProgress {
    /// The node has not taken it yet.
    Waiting,
    /// The node does it.
    Taken,
    /// The node has answered.
    Done,
    /// The node did not take it in time; it is not done any more.
    Expired,
}

/// A command, as whoever asked sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandState {
    /// Its id.
    pub id: String,
    /// Name of the node that it is for.
    pub node: String,
    /// What is asked.
    pub kind: String,
    /// About which VoD.
    pub vod_id: String,
    /// How far it has come.
    pub progress: CommandProgress,
    /// When it was asked, milliseconds since the Unix epoch by the database's clock.
    pub asked_ms: i64,
    /// When it expires.
    pub expires_ms: i64,
    /// What the node answered.
    pub answer: Option<Value>,
}

/// Leaves a command for its node; `None` if the node is away and it is not to be left for one that is.
pub(super) async fn put(client: &Client, by: &str, wanted: &CommandRequest) -> Result<Option<String>, FleetError> {
    let arguments = stored(&wanted.arguments);
    if arguments.len() > MOST_BYTES {
        return Err(FleetError::TooLong);
    }
    let sql = format!(
        "WITH open AS (SELECT count(*) AS n FROM aftercast.command WHERE to_node = $1::uuid AND state <> 'done' AND expires_at > now()), \
         put AS (INSERT INTO aftercast.command (to_node, kind, vod_id, arguments, asked_by, expires_at) \
           SELECT n.node_id, $2, $3, $4::jsonb, $5::uuid, now() + make_interval(secs => $6) FROM aftercast.node n, open \
           WHERE n.node_id = $1::uuid AND open.n < {MOST_OPEN} \
             AND ($7 OR {}) RETURNING command_id::text) \
         SELECT (SELECT command_id FROM put), (SELECT n FROM open) >= {MOST_OPEN}",
        is_alive("n")
    );
    let (kind, vod_id, valid_s) = (wanted.kind.name(), text(&wanted.vod_id), wanted.valid.as_secs_f64());
    let rows = ask_soon(
        client,
        &sql,
        &[
            (&wanted.to_node, Type::TEXT),
            (&kind, Type::TEXT),
            (&vod_id, Type::TEXT),
            (&arguments, Type::TEXT),
            (&by, Type::TEXT),
            (&valid_s, Type::FLOAT8),
            (&wanted.waits_for_node, Type::BOOL),
        ],
    )
    .await?;
    match rows.first().map(|row| (row.get::<_, Option<String>>(0), row.get::<_, bool>(1))) {
        Some((None, true)) => Err(FleetError::ManyCommands),
        Some((id, _)) => Ok(id),
        None => Ok(None),
    }
}

/// JSON as the database takes it.
fn stored(value: &Value) -> String {
    let mut value = value.clone();
    replace_nul(&mut value);
    value.to_string()
}

/// How far a command has come; `None` if there is none of this id.
pub(super) async fn look(client: &Client, id: &str) -> Result<Option<CommandState>, FleetError> {
    let sql = "SELECT c.command_id::text, n.name, c.kind, c.vod_id, c.state, c.expires_at < now(), \
               (extract(epoch FROM c.asked_at) * 1000)::bigint, (extract(epoch FROM c.expires_at) * 1000)::bigint, c.answer::text \
               FROM aftercast.command c JOIN aftercast.node n ON n.node_id = c.to_node WHERE c.command_id::text = $1";
    let rows = ask_soon(client, sql, &[(&text(id), Type::TEXT)]).await?;
    rows.first().map(state).transpose()
}

fn state(row: &Row) -> Result<CommandState, FleetError> {
    let (state, is_over): (String, bool) = (row.get(4), row.get(5));
    let progress = match (state.as_str(), is_over) {
        ("done", _) => CommandProgress::Done,
        ("taken", _) => CommandProgress::Taken,
        (_, true) => CommandProgress::Expired,
        _ => CommandProgress::Waiting,
    };
    let answer: Option<String> = row.get(8);
    Ok(CommandState {
        id: row.get(0),
        node: row.get(1),
        kind: row.get(2),
        vod_id: row.get(3),
        progress,
        asked_ms: row.get(6),
        expires_ms: row.get(7),
        answer: answer.map(|answer| serde_json::from_str(&answer)).transpose().map_err(FleetError::Unreadable)?,
    })
}

const COLUMNS: &str = "c.command_id::text, c.kind, c.vod_id, c.arguments::text, \
                       coalesce((SELECT name FROM aftercast.node b WHERE b.node_id = c.asked_by), c.asked_by::text)";

/// Takes commands for this life of the node, the oldest first.
pub(super) async fn take(
    client: &Client,
    (node_id, epoch): (&str, i64),
    most: i64,
) -> Result<Vec<FleetCommand>, FleetError> {
    let sql = format!(
        "WITH mine AS (SELECT c.command_id FROM aftercast.command c JOIN aftercast.node n ON n.node_id = c.to_node \
           WHERE c.to_node = $1::uuid AND n.epoch = $2 AND c.state = 'waiting' AND c.expires_at > now() \
           ORDER BY c.asked_at LIMIT $3 FOR UPDATE OF c SKIP LOCKED) \
         UPDATE aftercast.command c SET state = 'taken', epoch = $2 FROM mine WHERE c.command_id = mine.command_id \
         RETURNING {COLUMNS}"
    );
    let rows = ask(client, &sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8), (&most, Type::INT8)]).await?;
    Ok(rows.iter().map(command).collect())
}

/// Commands that this life has taken, also those of which it was not told because an answer was lost.
pub(super) async fn taken(client: &Client, (node_id, epoch): (&str, i64)) -> Result<Vec<FleetCommand>, FleetError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM aftercast.command c WHERE c.to_node = $1::uuid AND c.epoch = $2 AND c.state = 'taken' ORDER BY c.asked_at"
    );
    let rows = ask(client, &sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8)]).await?;
    Ok(rows.iter().map(command).collect())
}

/// Arguments that cannot be read make it a command that this version does not know: it is answered, and those behind it are done.
fn command(row: &Row) -> FleetCommand {
    let (kind, arguments): (String, String) = (row.get(1), row.get(3));
    let arguments = serde_json::from_str(&arguments).ok();
    FleetCommand {
        id: row.get(0),
        kind: arguments.as_ref().and_then(|_: &Value| CommandKind::named(&kind)),
        vod_id: row.get(2),
        arguments: arguments.unwrap_or_default(),
        asked_by: row.get(4),
    }
}

/// Answers commands that a former life had taken: whether they were done, nobody knows.
pub(super) async fn end_interrupted(
    client: &Client,
    (node_id, epoch): (&str, i64),
    answer: &Value,
) -> Result<u64, FleetError> {
    let sql = "UPDATE aftercast.command SET state = 'done', answer = $3::jsonb, answered_at = now() \
               WHERE to_node = $1::uuid AND state = 'taken' AND epoch < $2 RETURNING 1";
    let answer = answer.to_string();
    let rows = ask(client, sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8), (&answer, Type::TEXT)]).await?;
    Ok(rows.len() as u64)
}

/// Answers a command that this life has taken.
pub(super) async fn answer(
    client: &Client,
    (node_id, epoch): (&str, i64),
    id: &str,
    answer: &Value,
) -> Result<(), FleetError> {
    let sql = "UPDATE aftercast.command SET state = 'done', answer = $4::jsonb, answered_at = now() \
               WHERE command_id = $3::uuid AND to_node = $1::uuid AND epoch = $2 AND state = 'taken'";
    let answer = stored(answer);
    let answer = if answer.len() > MOST_BYTES { String::from("null") } else { answer };
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&id, Type::TEXT), (&answer, Type::TEXT)];
    ask(client, sql, &values).await.map(drop)
}

/// Gives back a command that this life has taken and not begun.
pub(super) async fn give_back(
    client: &Client,
    (node_id, epoch): (&str, i64),
    ids: &[String],
) -> Result<(), FleetError> {
    let sql = "UPDATE aftercast.command SET state = 'waiting', epoch = NULL \
               WHERE to_node = $1::uuid AND epoch = $2 AND state = 'taken' AND command_id::text = ANY($3)";
    ask(client, sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8), (&ids, Type::TEXT_ARRAY)]).await.map(drop)
}

/// Removes commands whose answers nobody has asked for.
pub(super) async fn prune(client: &Client) -> Result<(), FleetError> {
    let sql = format!("DELETE FROM aftercast.command WHERE expires_at < now() - {KEEP}");
    ask(client, &sql, &[]).await.map(drop)
}
