//! All nodes' VoDs, read from the database a page at a time: each page begins behind a key, so that a deep one costs what the first
//! does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::alive::is_alive;
use super::connecting::{ask, ask_soon};
use super::error::FleetError;
use super::options::http_address;
use super::rows::text;
use crate::catalog::is_node_id;
use crate::fault::chain;
use crate::recording::{Outcome, VodRecord};

/// What a VoD is or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VodFlag {
    /// Its file is on its node's disk.
    Local,
    /// Its local file was freed.
    Freed,
    /// A store holds a proven copy.
    Delivered,
    /// Something is wrong with it or was repaired.
    Defective,
}

/// In which order VoDs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FleetOrder {
    /// By creation date.
    #[default]
    Created,
    /// By the time at which their recording began.
    Start,
    /// By name.
    Name,
}

impl FleetOrder {
    const fn column(self) -> &'static str {
        match self {
            Self::Created => "v.created_ms",
            Self::Start => "v.start_ms",
            Self::Name => "v.vod_name",
        }
    }
}

/// Which VoDs to list, and from where on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetQuery {
    /// Only those of this node, by name or identity.
    pub node: Option<String>,
    /// Only those of this application, on whatever node.
    pub app: Option<String>,
    /// Only this stream.
    pub stream: Option<String>,
    /// How they are ordered. A page behind a cursor is never ordered by name.
    pub order: FleetOrder,
    /// How many are left out before the first; not with `after`. What is left out is read all the same.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// The newest first instead of the oldest.
    pub newest_first: bool,
    /// Only those that were made this way.
    pub outcome: Option<Outcome>,
    /// Only those that are or have this.
    pub flag: Option<VodFlag>,
    /// Only those that were still being recorded at this time or later, milliseconds since the Unix epoch.
    pub from_ms: Option<i64>,
    /// Only those whose recording began before this time, milliseconds since the Unix epoch.
    pub to_ms: Option<i64>,
    /// Only those with this text, in any case.
    pub text: Option<String>,
}

impl FleetQuery {
    /// The same without what makes no difference to how many VoDs there are.
    pub(super) fn without_place(&self) -> Self {
        let Self { offset, limit, after, .. } = Self::default();
        Self { offset, limit, after, order: FleetOrder::default(), newest_first: false, ..self.clone() }
    }
}

/// A VoD of any node.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetVod {
    /// The node's record.
    pub record: VodRecord,
    /// The node.
    pub node: NodeOfVod,
}

/// Whose a VoD is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOfVod {
    /// Identity of the node.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// Where its API is, if it says so.
    pub api_url: Option<String>,
    /// Whether it is alive, as the database sees it.
    pub is_alive: bool,
    /// When it was heard of last, milliseconds since the Unix epoch by the database's clock.
    pub seen_ms: i64,
    /// The application that the VoD's root is on that node.
    pub app: Option<String>,
    /// Since when the node does not know the VoD any more, which was not deleted: milliseconds since the Unix epoch.
    pub unknown_since_ms: Option<i64>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FleetPage {
    /// The VoDs in order.
    pub items: Vec<FleetVod>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
    /// Records that this version cannot read, in words.
    pub unreadable: Vec<String>,
}

const FROM: &str = "FROM aftercast.vod v JOIN aftercast.node n USING (node_id) WHERE true";

/// A statement in the making.
struct Statement {
    sql: String,
    values: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Statement {
    fn new() -> Self {
        let sql = format!(
            "SELECT v.record::text, v.node_id::text, n.name, n.api_url, {}, \
             (extract(epoch FROM v.unknown_since) * 1000)::bigint, v.created_ms, v.start_ms, v.vod_id, \
             (extract(epoch FROM n.seen_at) * 1000)::bigint, n.apps ->> v.root {FROM}",
            is_alive("n")
        );
        Self { sql, values: Vec::new() }
    }

    /// One that asks something else about the same.
    fn of(columns: &str) -> Self {
        Self { sql: format!("SELECT {columns} {FROM}"), values: Vec::new() }
    }

    /// Adds a value; says its placeholder.
    fn value(&mut self, value: impl ToSql + Sync + Send + 'static, of: Type) -> String {
        self.values.push((Box::new(value), of));
        format!("${}", self.values.len())
    }

    fn and(&mut self, condition: &str) {
        let _ = write!(self.sql, " AND {condition}");
    }

    async fn ask(&self, client: &Client) -> Result<Vec<Row>, FleetError> {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            self.values.iter().map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone())).collect();
        ask_soon(client, &self.sql, &values).await
    }
}

/// A page of VoDs.
pub(super) async fn page(client: &Client, query: &FleetQuery) -> Result<FleetPage, FleetError> {
    if let Some(node) = &query.node {
        require_node(client, node).await?;
    }
    let mut rows = statement(query)?.ask(client).await?;
    let is_more = rows.len() > query.limit;
    rows.truncate(query.limit);
    let last = rows.last().filter(|_| is_more);
    let mut page = FleetPage { next: last.map(|row| cursor(row, query)), ..FleetPage::default() };
    for row in &rows {
        match vod(row) {
            Ok(vod) => page.items.push(vod),
            Err(error) => page.unreadable.push(chain(&error)),
        }
    }
    Ok(page)
}

/// A VoD by its id.
pub(super) async fn one(client: &Client, id: &str) -> Result<Option<FleetVod>, FleetError> {
    let mut statement = Statement::new();
    let id = statement.value(text(id), Type::TEXT);
    statement.and(&format!("v.vod_id = {id} ORDER BY 5 DESC, v.is_delivered DESC, v.node_id LIMIT 1"));
    statement.ask(client).await?.first().map(vod).transpose()
}

/// VoDs of an application whose paths below their roots are among these.
pub(super) async fn at_paths(client: &Client, app: &str, paths: &[String]) -> Result<Vec<FleetVod>, FleetError> {
    let mut statement = Statement::new();
    let paths = statement.value(paths.iter().map(|path| text(path)).collect::<Vec<_>>(), Type::TEXT_ARRAY);
    let app = statement.value(text(app), Type::TEXT);
    statement.and(&format!("v.rel_path = ANY({paths}) AND n.apps ->> v.root = {app}"));
    statement.and("true ORDER BY 5 DESC, v.is_delivered DESC, v.created_ms DESC LIMIT 20");
    statement.ask(client).await?.iter().map(vod).collect()
}

/// VoDs that are counted at most: counting all of a large fleet's takes longer than a person waits.
const MOST_COUNTED: i64 = 100_000;

/// How many VoDs there are, 100,000 at most; where a page begins makes no difference.
pub(super) async fn count(client: &Client, query: &FleetQuery) -> Result<u64, FleetError> {
    if let Some(node) = &query.node {
        require_node(client, node).await?;
    }
    let mut statement = Statement::of("1");
    filter(&mut statement, query);
    statement.sql = format!("SELECT count(*) FROM ({} LIMIT {MOST_COUNTED}) AS counted", statement.sql);
    let rows = statement.ask(client).await?;
    Ok(rows.first().map_or(0, |row| u64::try_from(row.get::<_, i64>(0)).unwrap_or(0)))
}

/// How many VoDs began in each span of a calendar, by a pattern of the database and a time zone.
pub(super) async fn histogram(
    client: &Client,
    query: &FleetQuery,
    (pattern, zone): (&str, &str),
) -> Result<BTreeMap<String, u64>, FleetError> {
    if let Some(node) = &query.node {
        require_node(client, node).await?;
    }
    // The first two values, before the filter has its own.
    let mut statement = Statement::of("to_char(to_timestamp(v.start_ms / 1000.0) AT TIME ZONE $2, $1), count(*)");
    statement.value(pattern.to_owned(), Type::TEXT);
    statement.value(zone.to_owned(), Type::TEXT);
    filter(&mut statement, query);
    statement.sql.push_str(" GROUP BY 1");
    let rows = statement.ask(client).await?;
    Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect())
}

/// An error if there is no such node.
pub(super) async fn require_node(client: &Client, node: &str) -> Result<(), FleetError> {
    let sql = "SELECT 1 FROM aftercast.node WHERE name = $1 OR node_id::text = $1";
    let rows = ask_soon(client, sql, &[(&text(node), Type::TEXT)]).await?;
    if rows.is_empty() { Err(FleetError::NoSuchNode(node.to_owned())) } else { Ok(()) }
}

fn statement(query: &FleetQuery) -> Result<Statement, FleetError> {
    let mut statement = Statement::new();
    filter(&mut statement, query);
    let key = query.order.column();
    let (direction, compares) = if query.newest_first { ("DESC", '<') } else { ("ASC", '>') };
    if let Some(after) = &query.after {
        let (ms, vod_id, node_id) = place_of(after)?;
        let ms = statement.value(ms, Type::INT8);
        let vod_id = statement.value(vod_id, Type::TEXT);
        let node_id = statement.value(node_id, Type::TEXT);
        statement.and(&format!("({key}, v.vod_id, v.node_id) {compares} ({ms}, {vod_id}, {node_id}::uuid)"));
    }
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let limit = statement.value(limit, Type::INT8);
    let offset = statement.value(i64::try_from(query.offset).unwrap_or(i64::MAX), Type::INT8);
    let order = format!("{key} {direction}, v.vod_id {direction}, v.node_id {direction}");
    let _ = write!(statement.sql, " ORDER BY {order} LIMIT {limit} OFFSET {offset}");
    Ok(statement)
}

fn filter(statement: &mut Statement, query: &FleetQuery) {
    if let Some(node) = &query.node {
        let node = statement.value(text(node), Type::TEXT);
        let of = format!("SELECT node_id FROM aftercast.node WHERE name = {node} OR node_id::text = {node}");
        statement.and(&format!("v.node_id IN ({of})"));
    }
    if let Some(app) = &query.app {
        let app = statement.value(text(app), Type::TEXT);
        statement.and(&format!("n.apps ->> v.root = {app}"));
    }
    if let Some(stream) = &query.stream {
        let stream = statement.value(text(stream), Type::TEXT);
        statement.and(&format!("v.stream_id = {stream}"));
    }
    if let Some(outcome) = query.outcome {
        let outcome = statement.value(outcome.name(), Type::TEXT);
        statement.and(&format!("v.outcome = {outcome}"));
    }
    match query.flag {
        None => {}
        Some(VodFlag::Local) => statement.and("v.is_local"),
        Some(VodFlag::Freed) => statement.and("NOT v.is_local"),
        Some(VodFlag::Delivered) => statement.and("v.is_delivered"),
        Some(VodFlag::Defective) => statement.and("v.is_defective"),
    }
    if let Some(from_ms) = query.from_ms {
        let from_ms = statement.value(from_ms, Type::INT8);
        statement.and(&format!("v.start_ms + v.duration_ms >= {from_ms}"));
    }
    if let Some(to_ms) = query.to_ms {
        let to_ms = statement.value(to_ms, Type::INT8);
        statement.and(&format!("v.start_ms < {to_ms}"));
    }
    if let Some(wanted) = &query.text {
        let pattern = statement.value(pattern(wanted), Type::TEXT);
        statement.and(&format!("v.search LIKE {pattern}"));
    }
}

/// What a text is searched with: its own wildcards are letters.
fn pattern(wanted: &str) -> String {
    let wanted = text(wanted).to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{wanted}%")
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetNode {
    /// Its identity.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// The version that it runs.
    pub version: String,
    /// Where its API is, if it says so.
    pub api_url: Option<String>,
    /// Whether it is alive, as the database sees it.
    pub is_alive: bool,
    /// When it was heard of last, milliseconds since the Unix epoch by the database's clock.
    pub seen_ms: i64,
}

/// Members that are listed at most.
const MOST_NODES: i64 = 10_000;

/// All members, by name.
pub(super) async fn nodes(client: &Client) -> Result<Vec<FleetNode>, FleetError> {
    let sql = format!(
        "SELECT n.node_id::text, n.name, n.version, n.api_url, {}, \
         (extract(epoch FROM n.seen_at) * 1000)::bigint FROM aftercast.node n ORDER BY n.name, n.node_id LIMIT {MOST_NODES}",
        is_alive("n")
    );
    let node = |row: &Row| FleetNode {
        node_id: row.get(0),
        name: row.get(1),
        version: row.get(2),
        api_url: row.get::<_, Option<&str>>(3).and_then(http_address),
        is_alive: row.get(4),
        seen_ms: row.get(5),
    };
    Ok(ask_soon(client, &sql, &[]).await?.iter().map(node).collect())
}

/// Addresses that are read at most.
const MOST_ADDRESSES: usize = 1_000;

/// Where nodes that are alive say that their APIs are.
pub(super) async fn addresses(client: &Client) -> Result<Vec<String>, FleetError> {
    let sql = format!(
        "SELECT DISTINCT n.api_url FROM aftercast.node n WHERE n.api_url IS NOT NULL AND {} ORDER BY 1 LIMIT {MOST_ADDRESSES}",
        is_alive("n")
    );
    Ok(ask(client, &sql, &[]).await?.iter().filter_map(|row| http_address(row.get(0))).collect())
}

const CURSOR: &str = "fleet";

fn cursor(row: &Row, query: &FleetQuery) -> String {
    let ms: i64 = row.get(if query.order == FleetOrder::Start { 7 } else { 6 });
    let (vod_id, node_id): (String, String) = (row.get(8), row.get(1));
    format!("{CURSOR}.{ms}.{vod_id}.{node_id}")
}

fn place_of(cursor: &str) -> Result<(i64, String, String), FleetError> {
    let parts: Vec<_> = cursor.split('.').collect();
    match parts.as_slice() {
        [CURSOR, ms, vod_id, node_id] if is_node_id(node_id) => {
            let ms = ms.parse().map_err(|_| FleetError::Cursor)?;
            Ok((ms, (*vod_id).to_owned(), (*node_id).to_owned()))
        }
        _ => Err(FleetError::Cursor),
    }
}

fn vod(row: &Row) -> Result<FleetVod, FleetError> {
    let record = serde_json::from_str(row.get(0)).map_err(FleetError::Unreadable)?;
    let node = NodeOfVod {
        node_id: row.get(1),
        name: row.get(2),
        api_url: row.get::<_, Option<&str>>(3).and_then(http_address),
        is_alive: row.get(4),
        seen_ms: row.get(9),
        app: row.get(10),
        unknown_since_ms: row.get(5),
    };
    Ok(FleetVod { record, node })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_taken_back_and_others_are_refused() {
        let node = "8e3bd5f6-2c7e-4d5a-9f65-0c7d1f4b8a11";
        let place = place_of(&format!("fleet.-5.abc.{node}")).unwrap();
        assert_eq!(place, (-5, "abc".to_owned(), node.to_owned()));
        for bad in ["", "00ff", "fleet.x.abc.y", "fleet.1.abc.not-a-node", &format!("fleet.1.a.b.{node}")] {
            assert!(matches!(place_of(bad), Err(FleetError::Cursor)), "{bad}");
        }
    }

    #[test]
    fn a_searched_text_has_no_wildcards() {
        assert_eq!(pattern("Room_1 100%"), "%room\\_1 100\\%%");
    }
}
