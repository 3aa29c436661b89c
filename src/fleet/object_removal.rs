//! Objects of stores that a node is about to delete. Whether another node has one, too, is asked and settled in one transaction: a key
//! that nobody else has is marked, so that no other node takes it before the object is gone; one that another node has is that
//! node's alone from then on, so that the last one of them deletes the object, also if all of them do it at the same moment.
//!
//! A mark is a row of `aftercast.object` that is claimed for `deleting.ASSET`. It goes with the VoD, or a day later.

use deadpool_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::connecting::{GIVE_UP_SOON, SOON, ask_soon, before};
use super::error::FleetError;
use super::objects::{HAS_VOD, ObjectHolder, holders_sql};
use super::rows::text;
use super::transaction::Transaction;

/// What the asset of a mark begins with.
pub(super) const DELETING: &str = "deleting.";

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
    let (places, assets): (Vec<_>, Vec<_>) = objects.into_iter().unzip();
    // Every row is locked, always in the same order; one that is missing is made, so that there is one to be locked.
    let lock = format!(
        "INSERT INTO aftercast.object AS o (place, asset_id, node_id, epoch) \
         SELECT place, '{DELETING}' || asset, $1::uuid, $2 FROM unnest($3::text[], $4::text[]) AS w(place, asset) ORDER BY place \
         ON CONFLICT (place) DO UPDATE SET place = o.place"
    );
    let mark = format!(
        "UPDATE aftercast.object o SET asset_id = '{DELETING}' || w.asset, node_id = $1::uuid, epoch = $2, state = 'claimed', \
           claimed_at = now(), checksum = NULL \
         FROM unnest($3::text[], $4::text[]) AS w(place, asset) WHERE o.place = w.place AND o.place <> ALL ($5)"
    );
    // What this node has of a place that another one has, too: its row there, if it had the key, is the other's now.
    let leave = format!(
        "WITH heir AS (SELECT DISTINCT ON (o.place) o.place, o.node_id, o.asset_id FROM aftercast.object_also o \
           WHERE o.place = ANY ($2) AND o.node_id <> $1::uuid AND {HAS_VOD} ORDER BY o.place, o.node_id), \
         gone AS (DELETE FROM aftercast.object_also o USING heir \
           WHERE o.place = heir.place AND o.node_id = heir.node_id AND o.asset_id = heir.asset_id \
             AND EXISTS (SELECT FROM aftercast.object k WHERE k.place = o.place AND k.node_id = $1::uuid)) \
         UPDATE aftercast.object o SET node_id = heir.node_id, asset_id = heir.asset_id, state = 'proven' \
         FROM heir WHERE o.place = heir.place AND o.node_id = $1::uuid"
    );
    let leave_also = "DELETE FROM aftercast.object_also WHERE place = ANY ($2) AND node_id = $1::uuid";
    before(SOON, async {
        let transaction = Transaction::begin(client, GIVE_UP_SOON).await?;
        let node: (&(dyn ToSql + Sync), Type) = (&node_id, Type::TEXT);
        let wanted: [(&(dyn ToSql + Sync), Type); 3] =
            [(&epoch, Type::INT8), (&places, Type::TEXT_ARRAY), (&assets, Type::TEXT_ARRAY)];
        let [epoch, in_places, of_assets] = wanted;
        let all = [node.clone(), epoch, in_places.clone(), of_assets];
        transaction.execute_typed(&lock, &all).await?;
        let rows = transaction.query_typed(&holders_sql(), &[node.clone(), in_places.clone()]).await?;
        let holders: Vec<_> = rows.iter().map(ObjectHolder::of).collect();
        let held: Vec<_> = holders.iter().map(|holder| holder.place.as_str()).collect();
        let held: (&(dyn ToSql + Sync), Type) = (&held, Type::TEXT_ARRAY);
        let marked = [all.as_slice(), std::slice::from_ref(&held)].concat();
        transaction.execute_typed(&mark, &marked).await?;
        transaction.execute_typed(&leave, &[node.clone(), held]).await?;
        transaction.execute_typed(leave_also, &[node, in_places]).await?;
        transaction.commit().await?;
        Ok::<_, FleetError>(holders)
    })
    .await
}

/// The keys of objects that are deleted are free.
pub(super) async fn end(client: &Client, node_id: &str, places: &[String]) -> Result<(), FleetError> {
    let sql = format!(
        "DELETE FROM aftercast.object WHERE place = ANY ($2) AND node_id = $1::uuid AND state = 'claimed' \
         AND starts_with(asset_id, '{DELETING}')"
    );
    let places: Vec<_> = places.iter().map(|place| text(place)).collect();
    ask_soon(client, &sql, &[(&node_id, Type::TEXT), (&places, Type::TEXT_ARRAY)]).await.map(drop)
}
