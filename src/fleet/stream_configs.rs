//! How streams are coded, told to all nodes: what salvage needs for a recording whose header is lost, wherever the stream was recorded
//! before. What comes back was written by others: it is a candidate, tried on the media like any other.

use deadpool_postgres::Client;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Type;
use tracing::warn;

use super::claim;
use super::connecting::{GIVE_UP, ask_soon, within};
use super::error::FleetError;
use super::place::Place;
use super::rows::text;
use super::transaction::Transaction;
use crate::fault::chain;

/// Versions of each stream and rendition that are kept.
const KEPT: i64 = 4;
/// Versions of all renditions that are read.
const MOST_READ: i64 = 48;
/// Bytes of a version at most.
const MOST_BYTES: usize = 1 << 20;

/// A version of a stream's configuration.
#[derive(Debug, Serialize)]
pub(super) struct ConfigRow {
    stream_id: String,
    rendition: String,
    digest: String,
    config: String,
}

impl ConfigRow {
    /// The versions in what the catalogue remembers of a stream, the oldest first.
    pub fn of(stream_id: &str, remembered: &Value) -> Vec<Self> {
        let versions = remembered.get("versions").and_then(Value::as_array);
        let versions = versions.map_or_else(|| vec![remembered], |versions| versions.iter().rev().collect());
        let row = |version: &Value| {
            let config = text(&version.to_string());
            let rendition = version.get("rendition").and_then(Value::as_str).unwrap_or_default();
            let digest = blake3::hash(config.as_bytes()).to_hex().to_string();
            let row = Self { stream_id: text(stream_id), rendition: text(rendition), digest, config };
            (row.config.len() <= MOST_BYTES).then_some(row)
        };
        versions.into_iter().filter_map(row).collect()
    }
}

/// Tells what the catalogue remembers of some streams, as the holder of the identity.
pub(super) async fn tell(
    client: &mut Client,
    place: &Place,
    streams: &[(String, Option<Value>)],
) -> Result<(), FleetError> {
    let known = streams.iter().filter_map(|(stream, remembered)| Some((stream, remembered.as_ref()?)));
    let rows: Vec<_> = known.flat_map(|(stream, remembered)| ConfigRow::of(stream, remembered)).collect();
    let told = within(async {
        let transaction = Transaction::begin(client, GIVE_UP).await?;
        claim::fence(&transaction, &place.node_id, place.epoch, (0, 0)).await?;
        write(&transaction, &place.node_id, &rows).await?;
        Ok::<_, FleetError>(transaction.commit().await?)
    });
    match told.await {
        Err(error) if error.is_refused_value() => {
            warn!(
                error = chain(&error),
                "the fleet database refuses codec parameters and lacks them; they are kept here"
            );
            Ok(())
        }
        told => told,
    }
}

/// Writes versions, and keeps the last of each rendition.
async fn write(transaction: &Transaction<'_>, node_id: &str, rows: &[ConfigRow]) -> Result<(), FleetError> {
    if rows.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_string(rows).map_err(FleetError::Unreadable)?;
    // In one statement all would have the same time.
    let sql = "INSERT INTO aftercast.stream_config AS c (stream_id, rendition, digest, node_id, seen_at, config) \
               SELECT stream_id, rendition, digest, $1::uuid, now() + n * interval '1 microsecond', config \
               FROM ROWS FROM (json_to_recordset($2::json) AS (stream_id text, rendition text, digest text, config text)) \
                 WITH ORDINALITY AS r(stream_id, rendition, digest, config, n) \
               ORDER BY stream_id, rendition, digest, n \
               ON CONFLICT (stream_id, rendition, digest) DO UPDATE SET seen_at = excluded.seen_at, node_id = excluded.node_id";
    transaction.execute_typed(sql, &[(&node_id, Type::TEXT), (&json, Type::TEXT)]).await?;
    let mut streams: Vec<_> = rows.iter().map(|row| row.stream_id.as_str()).collect();
    streams.dedup();
    let sql = format!(
        "DELETE FROM aftercast.stream_config c USING \
           (SELECT stream_id, rendition, digest, row_number() OVER (PARTITION BY stream_id, rendition ORDER BY seen_at DESC) AS n \
            FROM aftercast.stream_config WHERE stream_id = ANY($1)) old \
         WHERE old.n > {KEPT} AND (c.stream_id, c.rendition, c.digest) = (old.stream_id, old.rendition, old.digest)"
    );
    transaction.execute_typed(&sql, &[(&streams, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// What other nodes have told of a stream, the newest first.
pub(super) async fn read(client: &Client, (stream_id, node_id): (&str, &str)) -> Result<Vec<Value>, FleetError> {
    let sql = format!(
        "SELECT config FROM aftercast.stream_config WHERE stream_id = $1 AND node_id::text <> $2 ORDER BY seen_at DESC LIMIT {MOST_READ}"
    );
    let rows = ask_soon(client, &sql, &[(&text(stream_id), Type::TEXT), (&node_id, Type::TEXT)]).await?;
    let read = |config: String| {
        let read = serde_json::from_str(&config);
        read.inspect_err(|error| {
            tracing::debug!(
                stream = stream_id,
                error = chain(error),
                "codec parameters of another node cannot be read"
            );
        })
        .ok()
    };
    Ok(rows.iter().filter_map(|row| read(row.get(0))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_version_is_a_row_and_one_alone_too() {
        let rows = |remembered| -> Vec<_> {
            ConfigRow::of("room\0", &remembered).into_iter().map(|row| (row.stream_id, row.rendition)).collect()
        };
        let of = |rendition: &str| ("room\u{fffd}".to_owned(), rendition.to_owned());
        let versions = json!({ "versions": [{ "moov": "1", "rendition": "480p" }, { "moov": "2" }] });
        assert_eq!(rows(versions), [of(""), of("480p")]);
        assert_eq!(rows(json!({ "moov": "1" })), [of("")]);
        assert!(rows(json!({ "moov": "1".repeat(MOST_BYTES) })).is_empty());
    }
}
