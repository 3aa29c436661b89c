//! Tells the database what has changed, a batch at a time: records that are marked in the catalogue, and events behind the cursor.
//!
//! A batch is one transaction that only the holder of the identity can commit. It is noted here when it is committed there; what a
//! crash lets be told twice changes nothing, because a row takes only what is newer than it is.

use deadpool_postgres::Client;
use serde::Serialize;
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use super::claim;
use super::connecting::{GIVE_UP, within};
use super::error::FleetError;
use super::objects;
use super::place::Place;
use super::rows::{EVENT_COLUMNS, EventRow, VOD_COLUMNS, VOD_NAMES, VodRow, text};
use super::transaction::Transaction;
use crate::catalog::{MarkedVod, SharedCatalog};
use crate::fault::chain;
use crate::recording::VodRecord;

/// Records, and events, of a batch at most.
const PAGE: usize = 500;
/// Records that are in memory at once before they are rows.
const AT_ONCE: usize = 50;
/// A batch is not made longer than this, whatever it holds.
const MOST_BYTES: usize = 4 << 20;

/// Rows that are unknown here and are dealt with in one transaction.
const SLICE: usize = 2_000;

/// A row to be written.
#[derive(Debug)]
struct Row {
    /// What it is about, in words.
    what: String,
    json: String,
}

/// What is told at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    vods: Vec<Row>,
    events: Vec<Row>,
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
                Ok(json) => {
                    bytes += json.len();
                    batch.events.push(Row { what: format!("event {}", logged.sequence), json });
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
                self.gone.push((text(&vod_id), revision));
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
        let bytes = row.as_ref().map_or(0, String::len);
        self.vods.extend(row.map(|json| Row { what: format!("VoD {vod_id}"), json }));
        self.told.push((vod_id, revision));
        bytes
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self, place: &Place) -> bool {
        self.told.is_empty() && self.cursor <= place.cursor
    }

    /// Writes it to the database under a number that no other batch of this process has had. Says the place behind it.
    pub async fn send(&self, client: &mut Client, place: &Place, number: u64) -> Result<Place, FleetError> {
        if self.lost > 0 && place.cursor > 0 {
            warn!(
                lost = self.lost,
                "events were dropped before the fleet database was told about them; see [events] keep"
            );
        }
        let whole = Part { vods: &self.vods, events: &self.events, gone: &self.gone };
        match whole.commit(client, place, (number, self.cursor)).await {
            Err(error) if error.is_refused_value() => {
                whole.commit_acceptable(client, place).await?;
                // The number last: a database that has it has every part.
                Part::default().commit(client, place, (number, self.cursor)).await?;
            }
            committed => committed?,
        }
        Ok(Place { batch: number, cursor: self.cursor, ..place.clone() })
    }

    /// Notes that it is committed. Blocks.
    pub fn note(&self, shared: &SharedCatalog, after: &Place) -> Result<(), FleetError> {
        // In this order: a crash in between leaves marks of what is confirmed, never a confirmed batch that is not noted.
        after.save(shared, false)?;
        Ok(shared.unmark(&self.told)?)
    }
}

/// What is written in one transaction.
#[derive(Debug, Clone, Copy, Default)]
struct Part<'a> {
    vods: &'a [Row],
    events: &'a [Row],
    gone: &'a [(String, u64)],
}

impl Part<'_> {
    /// Writes all of it, or nothing; a number or a cursor of 0 is not noted.
    async fn commit(self, client: &mut Client, place: &Place, progress: (u64, u64)) -> Result<(), FleetError> {
        within(async {
            let transaction = Transaction::begin(client, GIVE_UP).await?;
            claim::fence(&transaction, &place.node_id, place.epoch, progress).await?;
            self.write(&transaction, place).await?;
            Ok::<_, FleetError>(transaction.commit().await?)
        })
        .await
    }

    /// Writes all but the rows whose values the database refuses: these would hold up everything behind them for ever.
    async fn commit_acceptable(self, client: &mut Client, place: &Place) -> Result<(), FleetError> {
        let mut parts = vec![self];
        while let Some(part) = parts.pop() {
            match part.commit(client, place, (0, 0)).await {
                Err(error) if error.is_refused_value() => {
                    let halves = part.halves();
                    if halves.is_none() {
                        warn!(
                            what = part.what(),
                            error = chain(&error),
                            "the fleet database refuses a row and lacks it until it changes; the local record is complete"
                        );
                    }
                    // The first one is taken next.
                    parts.extend(halves.into_iter().flatten().rev());
                }
                committed => committed?,
            }
        }
        Ok(())
    }

    /// Two parts that are each smaller; `None` for a single row.
    fn halves(self) -> Option<[Self; 2]> {
        if self.vods.len() + self.events.len() + self.gone.len() < 2 {
            return None;
        }
        let (vods, more_vods) = self.vods.split_at(self.vods.len().div_ceil(2));
        let (events, more_events) = self.events.split_at(self.events.len() / 2);
        let (gone, more_gone) = self.gone.split_at(self.gone.len() / 2);
        let first = Self { vods, events, gone };
        let second = Self { vods: more_vods, events: more_events, gone: more_gone };
        // Of an event and a deletion, both would be the second.
        let is_split = !first.is_empty() && !second.is_empty();
        Some(if is_split {
            [first, second]
        } else {
            [Self { gone: &[], ..self }, Self { gone: self.gone, ..Self::default() }]
        })
    }

    const fn is_empty(self) -> bool {
        self.vods.is_empty() && self.events.is_empty() && self.gone.is_empty()
    }

    /// What it is about, in words.
    fn what(self) -> String {
        let rows = self.vods.iter().chain(self.events).map(|row| row.what.clone());
        let gone = self.gone.iter().map(|(id, _)| format!("deletion of VoD {id}"));
        rows.chain(gone).collect::<Vec<_>>().join(", ")
    }

    async fn write(self, transaction: &Transaction<'_>, place: &Place) -> Result<(), FleetError> {
        let whose: [(&(dyn ToSql + Sync), Type); 2] = [(&place.node_id, Type::TEXT), (&place.epoch, Type::INT8)];
        if !self.vods.is_empty() {
            let rows = list(self.vods);
            let values = [whose[0].clone(), whose[1].clone(), (&rows as &(dyn ToSql + Sync), Type::TEXT)];
            transaction.execute_typed(&upsert(), &values).await?;
        }
        if !self.gone.is_empty() {
            let (ids, revisions): (Vec<_>, Vec<_>) =
                self.gone.iter().map(|(id, revision)| (id.as_str(), claim::number(*revision))).unzip();
            let sql = "DELETE FROM aftercast.vod v USING unnest($3::text[], $4::bigint[]) AS r(vod_id, rev) \
                       WHERE v.node_id = $1::uuid AND v.vod_id = r.vod_id AND (v.epoch, v.rev) < ($2, r.rev)";
            let of_ids: (&(dyn ToSql + Sync), Type) = (&ids, Type::TEXT_ARRAY);
            let values = [whose[0].clone(), whose[1].clone(), of_ids, (&revisions, Type::INT8_ARRAY)];
            transaction.execute_typed(sql, &values).await?;
            objects::let_go(transaction, &place.node_id, &ids).await?;
        }
        if !self.events.is_empty() {
            let rows = list(self.events);
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
}

fn json(row: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(row)
}

fn list(rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.json.as_str()).collect();
    format!("[{}]", rows.join(","))
}

/// A record is written unless the row has a newer one, it lies in a root that another node has adopted, or another node has taken the work
/// on it to its end.
fn upsert() -> String {
    let set: Vec<_> = VOD_NAMES.split(", ").skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO aftercast.vod AS v (node_id, epoch, {VOD_NAMES}) \
         SELECT $1::uuid, $2, {VOD_NAMES} FROM json_to_recordset($3::json) AS r({VOD_COLUMNS}) \
         WHERE NOT EXISTS (SELECT FROM aftercast.root_former f WHERE f.node_id = $1::uuid AND f.url = r.root) \
           AND NOT EXISTS (SELECT FROM aftercast.vod_former f JOIN aftercast.vod o USING (vod_id) \
             WHERE f.node_id = $1::uuid AND f.vod_id = r.vod_id AND o.node_id <> $1::uuid) \
         ON CONFLICT (node_id, vod_id) DO UPDATE SET epoch = excluded.epoch, unknown_since = NULL, {} \
         WHERE (v.epoch, v.rev) < (excluded.epoch, excluded.rev)",
        set.join(", ")
    )
}

/// Writes a record within a transaction that somebody else commits, unless the row has a newer one.
pub(super) async fn write_vod(
    transaction: &Transaction<'_>,
    (node_id, epoch): (&str, i64),
    (vod, revision): (&VodRecord, u64),
) -> Result<(), FleetError> {
    let rows = format!("[{}]", VodRow::json_of(vod, revision).map_err(FleetError::Unreadable)?);
    let values: [(&(dyn ToSql + Sync), Type); 3] = [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&rows, Type::TEXT)];
    transaction.execute_typed(&upsert(), &values).await?;
    Ok(())
}

/// Every record was told again: what the database has beside them, this node does not know. What a store still has stays listed.
pub(super) async fn reconcile(client: &mut Client, place: &Place) -> Result<(), FleetError> {
    let Some((epoch, revision)) = place.resync else { return Ok(()) };
    let (mut removed, mut kept) = (0, 0);
    loop {
        match within(reconcile_slice(client, place, (epoch, claim::number(revision)))).await? {
            (0, 0) => break,
            (more_removed, more_kept) => (removed, kept) = (removed + more_removed, kept + more_kept),
        }
    }
    if removed + kept > 0 {
        warn!(
            removed,
            kept,
            "the fleet database listed VoDs that this node does not know; those with a copy in a store stay listed"
        );
    }
    Ok(())
}

/// Some of it in one transaction, which thus ends in time. Says how many rows were removed and how many stay.
async fn reconcile_slice(
    client: &mut Client,
    place: &Place,
    (epoch, revision): (i64, i64),
) -> Result<(u64, u64), FleetError> {
    let slice = |condition: &str| {
        format!(
            "WHERE node_id = $1::uuid AND vod_id IN (SELECT vod_id FROM aftercast.vod \
             WHERE node_id = $1::uuid AND unknown_since IS NULL AND (epoch, rev) <= ($2, $3) AND {condition} LIMIT {SLICE})"
        )
    };
    let transaction = Transaction::begin(client, GIVE_UP).await?;
    claim::fence(&transaction, &place.node_id, place.epoch, (0, 0)).await?;
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&place.node_id, Type::TEXT), (&epoch, Type::INT8), (&revision, Type::INT8)];
    let forgotten = format!("DELETE FROM aftercast.vod {}", slice("NOT is_delivered"));
    let removed = transaction.execute_typed(&forgotten, &values).await?;
    let delivered =
        format!("UPDATE aftercast.vod SET unknown_since = now(), is_local = false {}", slice("is_delivered"));
    let kept = transaction.execute_typed(&delivered, &values).await?;
    transaction.commit().await?;
    Ok((removed, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_divided_down_to_single_rows_each_of_which_is_kept() {
        let rows = |count: usize| -> Vec<Row> {
            (0..count).map(|n| Row { what: n.to_string(), json: String::new() }).collect()
        };
        for (vods, events, gone) in
            [(0, 1, 1), (1, 1, 0), (0, 3, 0), (0, 0, 2), (5, 4, 3), (1, 0, 1), (1, 1, 1), (0, 2, 1)]
        {
            let (some_vods, some_events) = (rows(vods), rows(events));
            let some_gone = vec![(String::new(), 0); gone];
            let mut parts = vec![Part { vods: &some_vods, events: &some_events, gone: &some_gone }];
            let mut single = 0;
            while let Some(part) = parts.pop() {
                assert!(!part.is_empty());
                match part.halves() {
                    Some(halves) => parts.extend(halves),
                    None => single += 1,
                }
            }
            assert_eq!(single, vods + events + gone);
        }
    }
}
