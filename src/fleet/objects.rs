//! Whose a key of a store is, among all nodes: rows of `aftercast.object`. A key is taken before the upload, so that no other asset gets
//! it, also in a store that ignores conditions; and it is noted when its object is proven.
//!
//! A place is endpoint, bucket and key. What is taken and never proven is free a day later if its node is away.
//!
//! Two nodes may have one object: the same recording, or what was uploaded while the database was away. The row is then the last one's,
//! and `aftercast.object_also` has the others: an object that another node has is not deleted (see [`super::object_removal`]).

use deadpool_postgres::Client;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::alive::alive;
use super::claim::number;
use super::connecting::{GIVE_UP_SOON, SOON, ask_soon, before, number_in};
use super::error::FleetError;
use super::object_removal::{DELETING, HAS_MARKED_VOD, UNMARKED, lock};
use super::rows::text;
use super::transaction::Transaction;
use crate::recording::Asset;

/// For how long what was taken is kept for a node that is away, and a row of a unit in any case.
const KEPT: &str = "interval '1 day'";
/// An object whose VoD the database does not know yet counts as its node's for so long.
const NEW: &str = "interval '1 hour'";

/// An object that a store has confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvenKey {
    /// Endpoint, bucket and key.
    pub place: String,
    /// Id of the asset.
    pub asset_id: String,
    /// Its size.
    pub size_bytes: u64,
    /// `algorithm:value`, if the store said one that could be compared.
    pub checksum: Option<String>,
}

/// Another node that has an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHolder {
    /// Endpoint, bucket and key.
    pub place: String,
    /// Name of the node.
    pub node: String,
    /// Id of its asset.
    pub asset_id: String,
}

impl ObjectHolder {
    /// Of a row of [`holders_sql`].
    pub(super) fn of(row: &Row) -> Self {
        Self { place: row.get(0), node: row.get(1), asset_id: row.get(2) }
    }
}

/// Takes places for an asset: all of them, or none if an asset of another node, or one of this id and another size there, has one. What
/// this node itself has is no obstacle: among its own assets, it knows who sends what, and the store says what is there. What it had
/// proven there of another asset is kept in `object_also`, like what another node has of this one.
pub(super) async fn take(
    client: &mut Client,
    (node_id, epoch): (&str, i64),
    places: &[(String, u64)],
    asset_id: &str,
) -> Result<bool, FleetError> {
    let mut places: Vec<_> = places.iter().map(|(place, size)| (text(place), number(*size))).collect();
    places.sort_unstable();
    places.dedup_by(|one, other| one.0 == other.0);
    let (places, sizes): (Vec<_>, Vec<_>) = places.into_iter().unzip();
    let sql = format!(
        "WITH wanted AS (SELECT * FROM unnest($1::text[], $5::bigint[]) AS w(place, size)), \
         also AS (INSERT INTO aftercast.object_also (place, node_id, asset_id) \
           SELECT o.place, o.node_id, o.asset_id FROM wanted JOIN aftercast.object o USING (place) JOIN aftercast.node n USING (node_id) \
           WHERE o.state = 'proven' AND o.asset_id NOT LIKE 'unit-%' \
             AND CASE WHEN o.node_id = $3::uuid THEN o.asset_id <> $2 ELSE o.asset_id = $2 AND o.size_bytes = wanted.size END \
           ON CONFLICT DO NOTHING) \
         INSERT INTO aftercast.object AS o (place, asset_id, node_id, epoch, size_bytes) \
         SELECT place, $2, $3::uuid, $4, size FROM wanted \
         ON CONFLICT (place) DO UPDATE SET asset_id = excluded.asset_id, node_id = excluded.node_id, epoch = excluded.epoch, \
           claimed_at = now(), size_bytes = excluded.size_bytes, \
           state = CASE WHEN o.asset_id = excluded.asset_id THEN o.state ELSE 'claimed' END \
         WHERE (o.node_id = excluded.node_id AND NOT starts_with(o.asset_id, '{DELETING}')) \
           OR (o.asset_id = excluded.asset_id AND o.size_bytes = excluded.size_bytes) \
           OR (o.state = 'claimed' AND NOT starts_with(o.asset_id, '{DELETING}') AND o.claimed_at < now() - {KEPT} AND NOT EXISTS ({}))",
        alive("o.node_id")
    );
    before(SOON, async {
        let transaction = Transaction::begin(client, GIVE_UP_SOON).await?;
        let asset_id = text(asset_id);
        lock(&transaction, (node_id, epoch), &places, &vec![asset_id.clone(); places.len()]).await?;
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&places, Type::TEXT_ARRAY),
            (&asset_id, Type::TEXT),
            (&node_id, Type::TEXT),
            (&epoch, Type::INT8),
            (&sizes, Type::INT8_ARRAY),
        ];
        let taken = transaction.execute_typed(&sql, &values).await?;
        let are_all = taken == places.len() as u64;
        if are_all {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok::<_, FleetError>(are_all)
    })
    .await
}

/// Gives back places that this life of the node has taken for an asset, unless their objects are proven.
pub(super) async fn release(
    client: &Client,
    (node_id, epoch): (&str, i64),
    places: &[String],
    asset_id: &str,
) -> Result<(), FleetError> {
    let sql = "DELETE FROM aftercast.object WHERE place = ANY($1) AND asset_id = $2 AND node_id = $3::uuid AND epoch = $4 \
               AND state = 'claimed'";
    let places: Vec<_> = places.iter().map(|place| text(place)).collect();
    let asset_id = text(asset_id);
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&places, Type::TEXT_ARRAY), (&asset_id, Type::TEXT), (&node_id, Type::TEXT), (&epoch, Type::INT8)];
    ask_soon(client, sql, &values).await.map(drop)
}

/// Notes objects that stores have confirmed. Says how many of them another asset has.
pub(super) async fn prove(
    client: &mut Client,
    (node_id, epoch): (&str, i64),
    proven: &[ProvenKey],
) -> Result<u64, FleetError> {
    let row = |key: &ProvenKey| ProvenKey { place: text(&key.place), asset_id: text(&key.asset_id), ..key.clone() };
    let mut rows: Vec<_> = proven.iter().map(row).collect();
    rows.sort_unstable_by(|one, other| one.place.cmp(&other.place));
    rows.dedup_by(|one, other| one.place == other.place);
    let count = rows.len() as u64;
    let (places, assets): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.place.clone(), row.asset_id.clone())).unzip();
    let json = serde_json::to_string(&rows).map_err(FleetError::Unreadable)?;
    let sql = format!(
        "WITH proven AS (SELECT *, \"assetId\" AS asset, \"sizeBytes\" AS size FROM json_to_recordset($3::json) \
                 AS r(place text, \"assetId\" text, \"sizeBytes\" bigint, checksum text)), \
               others AS (SELECT o.place, o.node_id, o.asset_id, p.asset, (o.asset_id = p.asset AND o.size_bytes = p.size) IS TRUE AS is_same \
                 FROM proven p JOIN aftercast.object o USING (place) JOIN aftercast.node n USING (node_id) \
                 WHERE o.node_id <> $1::uuid AND (o.state = 'proven' OR starts_with(o.asset_id, '{DELETING}')) \
                   AND o.asset_id NOT LIKE 'unit-%'), \
               also AS (INSERT INTO aftercast.object_also (place, node_id, asset_id) \
                 SELECT place, CASE WHEN is_same THEN node_id ELSE $1::uuid END, CASE WHEN is_same THEN asset_id ELSE asset END FROM others \
                 ON CONFLICT DO NOTHING) \
               INSERT INTO aftercast.object AS o (place, asset_id, node_id, epoch, state, size_bytes, checksum) \
               SELECT place, asset, $1::uuid, $2, 'proven', size, checksum FROM proven \
               ON CONFLICT (place) DO UPDATE SET state = 'proven', node_id = excluded.node_id, epoch = excluded.epoch, \
                 asset_id = excluded.asset_id, size_bytes = excluded.size_bytes, checksum = excluded.checksum \
               WHERE ((o.node_id = excluded.node_id OR o.state = 'claimed') AND NOT starts_with(o.asset_id, '{DELETING}')) \
                 OR (o.asset_id = excluded.asset_id AND o.size_bytes = excluded.size_bytes)"
    );
    before(SOON, async {
        let transaction = Transaction::begin(client, GIVE_UP_SOON).await?;
        lock(&transaction, (node_id, epoch), &places, &assets).await?;
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&json, Type::TEXT)];
        let noted = transaction.execute_typed(&sql, &values).await?;
        transaction.commit().await?;
        Ok::<_, FleetError>(count.saturating_sub(noted))
    })
    .await
}

/// Who else has objects, as far as the database knows: nodes whose VoDs these belong to, and nodes that may be about to have one.
pub(super) async fn holders(
    client: &Client,
    node_id: &str,
    places: &[String],
) -> Result<Vec<ObjectHolder>, FleetError> {
    let places: Vec<_> = places.iter().map(|place| text(place)).collect();
    let rows = ask_soon(client, &holders_sql(), &[(&node_id, Type::TEXT), (&places, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(ObjectHolder::of).collect())
}

/// Whether the database lists the VoD of a row `o` that says what a node has.
pub(super) const HAS_VOD: &str =
    "EXISTS (SELECT FROM aftercast.vod v WHERE v.node_id = o.node_id AND v.vod_id = split_part(o.asset_id, '.', 1))";

/// Place, node and asset of what nodes other than `$1` have of the places `$2`. What a node is about to delete, it does not have.
pub(super) fn holders_sql() -> String {
    format!(
        "SELECT o.place, n.name, o.asset_id FROM aftercast.object o JOIN aftercast.node n USING (node_id) \
         WHERE o.place = ANY($2) AND o.node_id <> $1::uuid AND NOT starts_with(o.asset_id, '{DELETING}') \
           AND (o.claimed_at > now() - {NEW} OR {HAS_VOD} OR (o.state = 'claimed' AND EXISTS ({}))) \
         UNION ALL SELECT o.place, n.name, o.asset_id FROM aftercast.object_also o JOIN aftercast.node n USING (node_id) \
         WHERE o.place = ANY($2) AND o.node_id <> $1::uuid AND NOT starts_with(o.asset_id, '{DELETING}') AND {HAS_VOD}",
        alive("o.node_id")
    )
}

/// The places of VoDs that are no more, or that are another node's now, are this node's no longer. Whether an object is still there, the
/// store says.
pub(super) async fn let_go(transaction: &Transaction<'_>, node_id: &str, vod_ids: &[&str]) -> Result<(), FleetError> {
    let assets = with_marks(assets_of(vod_ids));
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&node_id, Type::TEXT), (&assets, Type::TEXT_ARRAY)];
    // Nobody gives these keys to this node, or takes them from it, meanwhile.
    let own = "node_id = $1::uuid AND asset_id = ANY($2)";
    let lock = format!(
        "SELECT FROM aftercast.object WHERE place IN (SELECT place FROM aftercast.object WHERE {own} \
           UNION ALL SELECT place FROM aftercast.object_also WHERE {own}) ORDER BY place FOR UPDATE"
    );
    transaction.query_typed(&lock, &values).await?;
    for table in ["object", "object_also"] {
        let sql = format!("DELETE FROM aftercast.{table} WHERE node_id = $1::uuid AND asset_id = ANY($2)");
        transaction.execute_typed(&sql, &values).await?;
    }
    Ok(())
}

/// What nodes, given by a query about the node `$1`, have for VoDs that are now this node's, is this node's, too.
pub(super) async fn hand_over(
    transaction: &Transaction<'_>,
    node_id: &str,
    vod_ids: &[&str],
    former: &str,
) -> Result<(), FleetError> {
    let assets = with_marks(assets_of(vod_ids));
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&node_id, Type::TEXT), (&assets, Type::TEXT_ARRAY)];
    // What the former node was about to delete is there still.
    let of_former = format!("WHERE asset_id = ANY($2) AND node_id IN ({former})");
    let sql = format!(
        "UPDATE aftercast.object SET node_id = $1::uuid, asset_id = {UNMARKED}, \
           state = CASE WHEN asset_id = {UNMARKED} THEN state ELSE 'proven' END {of_former}"
    );
    transaction.execute_typed(&sql, &values).await?;
    let sql = format!(
        "WITH gone AS (DELETE FROM aftercast.object_also {of_former} RETURNING place, {UNMARKED} AS asset_id) \
         INSERT INTO aftercast.object_also (place, node_id, asset_id) SELECT place, $1::uuid, asset_id FROM gone ON CONFLICT DO NOTHING"
    );
    transaction.execute_typed(&sql, &values).await?;
    Ok(())
}

/// Removes some rows that are of no use any more; how many.
pub(super) async fn prune(client: &Client, most: i64) -> Result<i64, FleetError> {
    let is_spent = format!("claimed_at < now() - {KEPT}");
    let sql = format!(
        "WITH gone AS (DELETE FROM aftercast.object WHERE ctid = ANY (ARRAY( \
           (SELECT o.ctid FROM aftercast.object o WHERE o.asset_id LIKE 'unit-%' AND o.state = 'proven' AND o.{is_spent} LIMIT $1) \
           UNION ALL (SELECT o.ctid FROM aftercast.object o WHERE o.state = 'claimed' AND o.{is_spent} \
             AND (NOT EXISTS ({}) OR starts_with(o.asset_id, '{DELETING}')) \
             AND NOT (starts_with(o.asset_id, '{DELETING}') AND {HAS_MARKED_VOD}) LIMIT $1))) \
           AND {is_spent} RETURNING 1) \
         SELECT count(*) FROM gone",
        alive("o.node_id")
    );
    number_in(&ask_soon(client, &sql, &[(&most, Type::INT8)]).await?)
}

/// Assets, and those that say that these are about to be deleted.
fn with_marks(mut assets: Vec<String>) -> Vec<String> {
    let marks: Vec<_> = assets.iter().map(|asset| format!("{DELETING}{asset}")).collect();
    assets.extend(marks);
    assets
}

/// Ids of the assets that a VoD may have delivered.
fn assets_of(vod_ids: &[&str]) -> Vec<String> {
    let parts = [Asset::PREVIEW, Asset::SPRITE, Asset::ORIGINAL].into_iter().chain(Asset::SIDECARS);
    let of_one = |id: &&str| {
        let (id, parts) = ((*id).to_owned(), parts.clone());
        std::iter::once(id.clone()).chain(parts.map(move |part| Asset::id_of(&id, part)))
    };
    vod_ids.iter().flat_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vod_may_have_delivered_its_pictures_its_original_and_its_sidecars_too() {
        let assets = assets_of(&["a", "b"]);
        for id in ["a", "a.preview", "a.sprite", "a.original", "a.json", "a.xml", "a.vtt", "a.srt", "b", "b.original"] {
            assert!(assets.iter().any(|asset| asset == id), "{id}");
        }
    }
}
