//! Objects of stores that a node is about to delete. Whether another node has one, too, is asked and settled in one transaction: a key
//! that nobody else has is marked, so that no other node takes it before the object is gone; one that another node has is that
//! node's alone from then on, so that the last one of them deletes the object, also if all of them do it at the same moment.
//!
//! A mark is a row of `aftercast.object` or `aftercast.object_also` of the asset `deleting.ASSET`: what a node has and is about to give
//! up. It goes with the VoD. If the deletion comes to nothing it is taken back: at once, or, if nobody could do that, when the node starts.

use deadpool_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::connecting::{GIVE_UP_SOON, SOON, ask, ask_soon, before};
use super::error::FleetError;
use super::objects::{HAS_VOD, ObjectHolder, holders_sql};
use super::rows::text;
use super::transaction::Transaction;

/// What the asset of a mark begins with.
pub(super) const DELETING: &str = "deleting.";

/// The asset of a row, also of a mark.
pub(super) const UNMARKED: &str = "regexp_replace(asset_id, '^deleting[.]', '')";
/// Whether the database lists the VoD of a mark `o`.
pub(super) const HAS_MARKED_VOD: &str =
    "EXISTS (SELECT FROM aftercast.vod v WHERE v.node_id = o.node_id AND v.vod_id = split_part(o.asset_id, '.', 2))";

/// Begins the deletion of objects, given with their assets: answers which of them other nodes have, who must not lose them. The others
/// are marked.
pub(super) async fn begin(
    client: &mut Client,
    (node_id, epoch): (&str, i64),
    objects: &[(String, String)],
) -> Result<Vec<ObjectHolder>, FleetError> {
    let mut objects: Vec<_> = objects.iter().map(|(place, asset)| (text(place), text(asset))).collect();
    objects.sort_unstable();
    objects.dedup_by(|one, other| one.0 == other.0);
    let (places, marks): (Vec<_>, Vec<_>) =
        objects.into_iter().map(|(place, asset)| (place, format!("{DELETING}{asset}"))).unzip();
    before(SOON, async {
        let transaction = Transaction::begin(client, GIVE_UP_SOON).await?;
        lock(&transaction, (node_id, epoch), &places, &marks).await?;
        let node: (&(dyn ToSql + Sync), Type) = (&node_id, Type::TEXT);
        let rows = transaction.query_typed(&holders_sql(), &[node.clone(), (&places, Type::TEXT_ARRAY)]).await?;
        let holders: Vec<_> = rows.iter().map(ObjectHolder::of).collect();
        let held: Vec<_> = holders.iter().map(|holder| holder.place.as_str()).collect();
        transaction.execute_typed(&heir(), &[node.clone(), (&held, Type::TEXT_ARRAY)]).await?;
        transaction.execute_typed(&marks_of_others(), &[node.clone(), (&places, Type::TEXT_ARRAY)]).await?;
        let wanted: [(&(dyn ToSql + Sync), Type); 3] = [node, (&places, Type::TEXT_ARRAY), (&marks, Type::TEXT_ARRAY)];
        transaction.execute_typed(MARK_ALSO, &wanted).await?;
        let others: [(&(dyn ToSql + Sync), Type); 2] = [(&held, Type::TEXT_ARRAY), (&epoch, Type::INT8)];
        transaction.execute_typed(MARK, &[wanted.as_slice(), others.as_slice()].concat()).await?;
        transaction.commit().await?;
        Ok::<_, FleetError>(holders)
    })
    .await
}

/// Locks the rows of places, always in the same order, for whoever decides by what other nodes have there: what they write at the same
/// time is seen by the next statement. A row that is missing is made, so that there is one to be locked.
pub(super) async fn lock(
    transaction: &Transaction<'_>,
    (node_id, epoch): (&str, i64),
    places: &[String],
    assets: &[String],
) -> Result<(), FleetError> {
    let sql = "INSERT INTO aftercast.object AS o (place, asset_id, node_id, epoch) \
               SELECT place, asset, $1::uuid, $2 FROM unnest($3::text[], $4::text[]) AS w(place, asset) ORDER BY place COLLATE \"C\" \
               ON CONFLICT (place) DO UPDATE SET place = o.place";
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&places, Type::TEXT_ARRAY), (&assets, Type::TEXT_ARRAY)];
    transaction.execute_typed(sql, &values).await?;
    Ok(())
}

/// A place that another node has, too: the row of its key, if it is this node's, is the other's from now on.
fn heir() -> String {
    format!(
        "WITH heir AS (SELECT DISTINCT ON (o.place) o.place, o.node_id, o.asset_id FROM aftercast.object_also o \
           JOIN aftercast.object k USING (place) \
           WHERE o.place = ANY ($2) AND k.node_id = $1::uuid AND o.node_id <> $1::uuid \
             AND NOT starts_with(o.asset_id, '{DELETING}') AND {HAS_VOD} ORDER BY o.place, o.node_id), \
         gone AS (DELETE FROM aftercast.object_also o USING heir \
           WHERE (o.place, o.node_id, o.asset_id) = (heir.place, heir.node_id, heir.asset_id) \
           RETURNING o.place, o.node_id, o.asset_id), \
         kept AS (INSERT INTO aftercast.object_also (place, node_id, asset_id) \
           SELECT k.place, k.node_id, k.asset_id FROM aftercast.object k JOIN gone USING (place) WHERE k.state = 'proven' \
           ON CONFLICT DO NOTHING) \
         UPDATE aftercast.object k SET node_id = gone.node_id, asset_id = gone.asset_id, state = 'proven' \
         FROM gone WHERE k.place = gone.place"
    )
}

/// What another node is about to delete, too, and has again if that comes to nothing.
fn marks_of_others() -> String {
    format!(
        "INSERT INTO aftercast.object_also (place, node_id, asset_id) SELECT place, node_id, asset_id FROM aftercast.object \
         WHERE place = ANY ($2) AND node_id <> $1::uuid AND starts_with(asset_id, '{DELETING}') ON CONFLICT DO NOTHING"
    )
}

/// Places that no other node has.
const MARK: &str = "UPDATE aftercast.object o SET asset_id = w.mark, node_id = $1::uuid, epoch = $5, state = 'claimed', claimed_at = now() \
                    FROM unnest($2::text[], $3::text[]) AS w(place, mark) \
                    WHERE o.place = w.place AND (o.node_id = $1::uuid OR o.place <> ALL ($4))";
/// What this node has besides.
const MARK_ALSO: &str = "WITH gone AS (DELETE FROM aftercast.object_also o USING unnest($2::text[], $3::text[]) AS w(place, mark) \
                           WHERE o.place = w.place AND o.node_id = $1::uuid RETURNING o.place, w.mark) \
                         INSERT INTO aftercast.object_also (place, node_id, asset_id) SELECT place, $1::uuid, mark FROM gone \
                         ON CONFLICT DO NOTHING";

/// The keys of objects that are deleted are free.
pub(super) async fn end(client: &Client, node_id: &str, places: &[String]) -> Result<(), FleetError> {
    let is_mark = format!("place = ANY ($2) AND node_id = $1::uuid AND starts_with(asset_id, '{DELETING}')");
    let sql = format!(
        "WITH also AS (DELETE FROM aftercast.object_also WHERE {is_mark}) DELETE FROM aftercast.object WHERE {is_mark}"
    );
    let places: Vec<_> = places.iter().map(|place| text(place)).collect();
    ask_soon(client, &sql, &[(&node_id, Type::TEXT), (&places, Type::TEXT_ARRAY)]).await.map(drop)
}

/// Takes marks back: those of places whose objects are not deleted after all.
pub(super) async fn take_back(client: &Client, node_id: &str, places: &[String]) -> Result<(), FleetError> {
    let places: Vec<_> = places.iter().map(|place| text(place)).collect();
    let sql = taken_back("o.place = ANY ($2)");
    ask_soon(client, &sql, &[(&node_id, Type::TEXT), (&places, Type::TEXT_ARRAY)]).await.map(drop)
}

/// The same for everything that an earlier life of the node has left, whose VoDs it still has.
pub(super) async fn take_all_back(client: &Client, node_id: &str) -> Result<(), FleetError> {
    ask(client, &taken_back(HAS_MARKED_VOD), &[(&node_id, Type::TEXT)]).await.map(drop)
}

fn taken_back(which: &str) -> String {
    let is_mark = format!("o.node_id = $1::uuid AND starts_with(o.asset_id, '{DELETING}') AND {which}");
    // Rows that are claimed are few, and have an index: the table has a row for every object.
    format!(
        "WITH gone AS (DELETE FROM aftercast.object_also o WHERE {is_mark} RETURNING o.place, o.node_id, {UNMARKED} AS asset), \
         also AS (INSERT INTO aftercast.object_also (place, node_id, asset_id) SELECT place, node_id, asset FROM gone ON CONFLICT DO NOTHING) \
         UPDATE aftercast.object o SET asset_id = {UNMARKED}, state = 'proven' WHERE o.state = 'claimed' AND {is_mark}"
    )
}
