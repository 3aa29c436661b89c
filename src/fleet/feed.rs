//! What happened on all nodes, in the order in which the database has it.
//!
//! The place in the feed is the transaction that wrote an event and its number. Only events behind which no transaction is still open
//! are read: a reader that goes on from its place misses none that is committed later.

use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::connecting::{ask, ask_soon};
use super::error::FleetError;
use super::listing::require_node;
use super::rows::text;
use crate::catalog::LoggedEvent;
use crate::fault::chain;
use crate::recording::Event;

/// Events that are read at once at most.
const MOST: usize = 1_000;
const CURSOR: &str = "fleet";
/// The transaction that counts for events of another server: before all.
const RESTORED: &str = "0";

/// Which events to read, and from where on.
#[derive(Debug, Clone, Default)]
pub struct FeedQuery {
    /// Only those of this node, by name or identity.
    pub node: Option<String>,
    /// The `next` of the page before; without: from the oldest.
    pub after: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// An event of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Its place in the feed.
    pub cursor: String,
    /// Identity of the node.
    pub node_id: String,
    /// Its name.
    pub node_name: String,
    /// The event as the node's own log has it.
    pub logged: LoggedEvent,
}

/// A part of the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedPage {
    /// The events in order.
    pub events: Vec<FeedEvent>,
    /// Where to go on; the same as before where there is nothing new.
    pub next: String,
    /// Whether there is no more now.
    pub is_end: bool,
    /// Events that this version cannot read, in words.
    pub unreadable: Vec<String>,
}

/// Reads a part.
pub(super) async fn page(client: &Client, query: &FeedQuery) -> Result<FeedPage, FleetError> {
    if let Some(node) = &query.node {
        require_node(client, node).await?;
    }
    let (tx, id) = match query.after.as_deref().map(place_of).transpose()? {
        Some((tx, id)) => (known_transaction(client, tx).await?, id),
        None => (RESTORED.to_owned(), 0),
    };
    let limit = query.limit.clamp(1, MOST);
    let mut values: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&tx, Type::TEXT), (&id, Type::INT8)];
    let (most, node) = (i64::try_from(limit).unwrap_or(i64::MAX), query.node.as_deref().map(text));
    values.push((&most, Type::INT8));
    let of_node = node.as_ref().map_or("", |node| {
        values.push((node, Type::TEXT));
        " AND e.node_id IN (SELECT node_id FROM aftercast.node WHERE name = $4 OR node_id::text = $4)"
    });
    let sql = format!(
        "SELECT e.tx::text, e.id, e.node_id::text, n.name, e.seq, e.at_ms, e.body::text \
         FROM aftercast.event e JOIN aftercast.node n USING (node_id) \
         WHERE (e.tx, e.id) > ($1::xid8, $2) AND e.tx < pg_snapshot_xmin(pg_current_snapshot()){of_node} \
         ORDER BY e.tx, e.id LIMIT $3"
    );
    let rows = ask_soon(client, &sql, &values).await?;
    let mut page = FeedPage { next: cursor(&tx, id), is_end: rows.len() < limit, ..FeedPage::default() };
    for row in &rows {
        let cursor = cursor(row.get(0), row.get(1));
        page.next.clone_from(&cursor);
        match event(row, cursor) {
            Ok(event) => page.events.push(event),
            Err(error) => page.unreadable.push(chain(&error)),
        }
    }
    Ok(page)
}

/// A transaction of this server. One that is not yet given out is that of the server from which the tables were restored: the place is
/// among what [`take_in_restored`] has moved to the beginning.
async fn known_transaction(client: &Client, tx: String) -> Result<String, FleetError> {
    let sql = "SELECT $1::xid8 >= pg_snapshot_xmax(pg_current_snapshot())";
    let rows = ask_soon(client, sql, &[(&tx, Type::TEXT)]).await?;
    let is_unknown = rows.first().is_some_and(|row| row.get(0));
    Ok(if is_unknown { RESTORED.to_owned() } else { tx })
}

/// Moves events to the beginning whose transactions this server has not given out yet: the tables were restored from another one, and
/// nobody would see them before it had given out as many. Some at once; what a statement sees was written by earlier transactions.
pub(super) async fn take_in_restored(client: &Client) -> Result<(), FleetError> {
    let sql = "UPDATE aftercast.event SET tx = $1::xid8 WHERE ctid = ANY (ARRAY(SELECT ctid FROM aftercast.event \
               WHERE tx >= pg_snapshot_xmax(pg_current_snapshot()) ORDER BY tx, id LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1";
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&RESTORED, Type::TEXT), (&most, Type::INT8)];
    while !ask(client, sql, &values).await?.is_empty() {}
    Ok(())
}

/// Where the feed ends now.
pub(super) async fn end(client: &Client) -> Result<String, FleetError> {
    let sql = "SELECT tx::text, id FROM aftercast.event WHERE tx < pg_snapshot_xmin(pg_current_snapshot()) \
               ORDER BY tx DESC, id DESC LIMIT 1";
    let rows = ask_soon(client, sql, &[]).await?;
    Ok(rows.first().map_or_else(|| cursor(RESTORED, 0), |row| cursor(row.get(0), row.get(1))))
}

fn event(row: &Row, cursor: String) -> Result<FeedEvent, FleetError> {
    let event: Event = serde_json::from_str(row.get(6)).map_err(FleetError::Unreadable)?;
    let sequence = u64::try_from(row.get::<_, i64>(4)).unwrap_or(0);
    let logged = LoggedEvent { sequence, at_ms: row.get(5), event };
    Ok(FeedEvent { cursor, node_id: row.get(2), node_name: row.get(3), logged })
}

fn cursor(tx: &str, id: i64) -> String {
    format!("{CURSOR}.{tx}.{id}")
}

fn place_of(cursor: &str) -> Result<(String, i64), FleetError> {
    let parts: Vec<_> = cursor.split('.').collect();
    match parts.as_slice() {
        [CURSOR, tx, id] => {
            let tx: u64 = tx.parse().map_err(|_| FleetError::Cursor)?;
            Ok((tx.to_string(), id.parse().map_err(|_| FleetError::Cursor)?))
        }
        _ => Err(FleetError::Cursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_feed_is_taken_back_and_others_are_refused() {
        assert_eq!(place_of("fleet.17.4").unwrap(), ("17".to_owned(), 4));
        for bad in ["", "17", "fleet.17", "fleet.-1.4", "fleet.x.4", "fleet.1.y", "fleet.1.2.3"] {
            assert!(matches!(place_of(bad), Err(FleetError::Cursor)), "{bad}");
        }
    }
}
