//! Tells the database what has changed, a batch at a time: records that are marked in the catalogue, and events behind the cursor.
//!
//! A batch is one transaction that only the holder of the identity can commit. It is noted here when it is committed there; what a
//! crash lets be told twice changes nothing, because a row takes only what is newer than it is.

use deadpool_postgres::{Client, Transaction};
use serde::Serialize;
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use super::claim;
use super::connecting::within;
use super::error::FleetError;
use super::place::Place;
use super::rows::{EVENT_COLUMNS, EventRow, VOD_COLUMNS, VOD_NAMES, VodRow};
use crate::catalog::{MarkedVod, SharedCatalog};
use crate::fault::chain;

/// Records, and events, of a batch at most.
const PAGE: usize = 500;
/// Records that are in memory at once before they are rows.
const AT_ONCE: usize = 50;
/// A batch is not made longer than this, whatever it holds.
const MOST_BYTES: usize = 4 << 20;

/// What is told at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Rows to be written, each as JSON.
    vods: Vec<String>,
    events: Vec<String>,
    /// Ids of VoDs that are no more, with the revision of their deletion.
    gone: Vec<(String, u64)>,
    /// All marks that it deals with.
    told: Vec<(String, u64)>,
    /// The cursor behind it.
    cursor: u64,
    /// Events that were dropped before they could be told.
    lost: u64,
}

impl Batch {
    /// Reads what is to be told next. Blocks.
    pub fn read(shared: &SharedCatalog, cursor: u64) -> Result<Self, FleetError> {
        let mut batch = Self { cursor, ..Self::default() };
        let mut bytes = batch.add_records(shared)?;
        let page = shared.events(cursor, PAGE)?;
        batch.lost = page.lost;
        for unreadable in &page.unreadable {
            warn!(error = chain(unreadable), "an event cannot be read; the fleet database is not told about it");
        }
        batch.cursor = page.next;
        for logged in &page.events {
            if bytes > MOST_BYTES {
                batch.cursor = logged.sequence.saturating_sub(1);
                break;
            }
            match EventRow::of(logged).and_then(|row| json(&row)) {
                Ok(row) => {
                    bytes += row.len();
                    batch.events.push(row);
                }
                Err(error) => warn!(error = chain(&error), "an event cannot be told to the fleet database"),
            }
        }
        Ok(batch)
    }

    /// Adds marked records, a few at a time: some are long. Says how many bytes they are.
    fn add_records(&mut self, shared: &SharedCatalog) -> Result<usize, FleetError> {
        let mut bytes = 0;
        while self.told.len() < PAGE && bytes <= MOST_BYTES {
            let after = self.told.last().map_or(String::new(), |(id, _)| id.clone());
            let marked = shared.marked(&after, AT_ONCE)?;
            if marked.is_empty() {
                break;
            }
            bytes += marked.into_iter().map(|marked| self.add(marked)).sum::<usize>();
        }
        Ok(bytes)
    }

    fn add(&mut self, marked: MarkedVod) -> usize {
        let MarkedVod { vod_id, revision, record } = marked;
        let row = match &record {
            Ok(None) => {
                self.gone.push((vod_id.clone(), revision));
                None
            }
            Ok(Some(vod)) => match VodRow::json_of(vod, revision) {
                Ok(row) => Some(row),
                Err(error) => {
                    warn!(vod_id, error = chain(&error), "a record cannot be told to the fleet database");
                    None
                }
            },
            Err(error) => {
                warn!(vod_id, error = chain(error), "a record cannot be read; the fleet database is not told about it");
                None
            }
        };
        self.told.push((vod_id, revision));
        let bytes = row.as_ref().map_or(0, String::len);
        self.vods.extend(row);
        bytes
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self, place: &Place) -> bool {
        self.told.is_empty() && self.cursor <= place.cursor
    }

    /// The place behind it.
    fn place_after(&self, place: &Place) -> Place {
        let revision = self.told.iter().map(|(_, revision)| *revision).fold(place.revision, u64::max);
        Place { revision, cursor: self.cursor, ..place.clone() }
    }

    /// Writes it to the database.
    pub async fn send(&self, client: &mut Client, place: &Place) -> Result<Place, FleetError> {
        if self.lost > 0 && place.cursor > 0 {
            warn!(
                lost = self.lost,
                "events were dropped before the fleet database was told about them; see [events] keep"
            );
        }
        let after = self.place_after(place);
        within(async {
            let transaction = client.transaction().await?;
            claim::fence(&transaction, &place.node_id, place.epoch, (after.revision, after.cursor)).await?;
            self.write(&transaction, place).await?;
            Ok::<_, FleetError>(transaction.commit().await?)
        })
        .await?;
        Ok(after)
    }

    async fn write(&self, transaction: &Transaction<'_>, place: &Place) -> Result<(), FleetError> {
        let whose: [(&(dyn ToSql + Sync), Type); 2] = [(&place.node_id, Type::TEXT), (&place.epoch, Type::INT8)];
        if !self.vods.is_empty() {
            let rows = list(&self.vods);
            let values = [whose[0].clone(), whose[1].clone(), (&rows as &(dyn ToSql + Sync), Type::TEXT)];
            transaction.execute_typed(&upsert(), &values).await?;
        }
        if !self.gone.is_empty() {
            let (ids, revisions): (Vec<_>, Vec<_>) =
                self.gone.iter().map(|(id, revision)| (id.as_str(), claim::number(*revision))).unzip();
            let sql = "DELETE FROM aftercast.vod v USING unnest($3::text[], $4::bigint[]) AS r(vod_id, rev) \
                       WHERE v.node_id = $1::uuid AND v.vod_id = r.vod_id AND (v.epoch, v.rev) < ($2, r.rev)";
            let ids: (&(dyn ToSql + Sync), Type) = (&ids, Type::TEXT_ARRAY);
            let values = [whose[0].clone(), whose[1].clone(), ids, (&revisions, Type::INT8_ARRAY)];
            transaction.execute_typed(sql, &values).await?;
        }
        if !self.events.is_empty() {
            let rows = list(&self.events);
            let sql = format!(
                "INSERT INTO aftercast.event (node_id, epoch, seq, at_ms, type, vod_id, body) \
                 SELECT $1::uuid, $2, seq, at_ms, type, vod_id, body FROM json_to_recordset($3::json) AS r({EVENT_COLUMNS}) \
                 ORDER BY seq ON CONFLICT DO NOTHING"
            );
            let values = [whose[0].clone(), whose[1].clone(), (&rows as &(dyn ToSql + Sync), Type::TEXT)];
            transaction.execute_typed(&sql, &values).await?;
        }
        Ok(())
    }

    /// Notes that it is committed. Blocks.
    pub fn note(&self, shared: &SharedCatalog, after: &Place) -> Result<(), FleetError> {
        shared.unmark(&self.told)?;
        after.save(shared, false)
    }
}

fn json(row: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(row)
}

fn list(rows: &[String]) -> String {
    format!("[{}]", rows.join(","))
}

/// A record is written unless the row has a newer one.
fn upsert() -> String {
    let set: Vec<_> = VOD_NAMES.split(", ").skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO aftercast.vod AS v (node_id, epoch, {VOD_NAMES}) \
         SELECT $1::uuid, $2, {VOD_NAMES} FROM json_to_recordset($3::json) AS r({VOD_COLUMNS}) \
         ON CONFLICT (node_id, vod_id) DO UPDATE SET epoch = excluded.epoch, unknown_since = NULL, {} \
         WHERE (v.epoch, v.rev) < (excluded.epoch, excluded.rev)",
        set.join(", ")
    )
}

/// Every record was told again: what the database has beside them, this node does not know. What a store still has stays listed.
pub(super) async fn reconcile(client: &mut Client, place: &Place) -> Result<(), FleetError> {
    let Some((epoch, revision)) = place.resync else { return Ok(()) };
    let revision = claim::number(revision);
    let stale = "node_id = $1::uuid AND unknown_since IS NULL AND (epoch, rev) <= ($2, $3)";
    within(async {
        let transaction = client.transaction().await?;
        claim::fence(&transaction, &place.node_id, place.epoch, (0, 0)).await?;
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&place.node_id, Type::TEXT), (&epoch, Type::INT8), (&revision, Type::INT8)];
        let forgotten = format!("DELETE FROM aftercast.vod WHERE {stale} AND NOT is_delivered");
        let removed = transaction.execute_typed(&forgotten, &values).await?;
        let delivered = format!("UPDATE aftercast.vod SET unknown_since = now(), is_local = false WHERE {stale}");
        let kept = transaction.execute_typed(&delivered, &values).await?;
        transaction.commit().await?;
        if removed + kept > 0 {
            warn!(
                removed,
                kept,
                "the fleet database listed VoDs that this node does not know; those with a copy in a store stay listed"
            );
        }
        Ok::<_, FleetError>(())
    })
    .await
}
