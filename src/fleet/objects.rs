//! Whose a key of a store is, among all nodes: rows of `aftercast.object`. A key is taken before the upload, so that no other asset gets
//! it, also in a store that ignores conditions; and it is noted when its object is proven.
//!
//! A place is endpoint, bucket and key. What is taken and never proven is free a day later if its node is away.

use deadpool_postgres::Client;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};

use super::claim::{ALIVE, number};
use super::connecting::{GIVE_UP_SOON, SOON, ask_soon, before};
use super::error::FleetError;
use super::rows::text;
use crate::recording::Asset;

/// For how long what was taken is kept for a node that is away.
const KEPT: &str = "interval '1 day'";

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

/// Takes places for an asset: all of them, or none if an asset of another node, or one of this id and another size there, has one. What
/// this node itself has is no obstacle: among its own assets, it knows who sends what, and the store says what is there.
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
        "INSERT INTO aftercast.object AS o (place, asset_id, node_id, epoch, size_bytes) \
         SELECT place, $2, $3::uuid, $4, size FROM unnest($1::text[], $5::bigint[]) AS wanted(place, size) \
         ON CONFLICT (place) DO UPDATE SET asset_id = excluded.asset_id, node_id = excluded.node_id, epoch = excluded.epoch, \
           claimed_at = now(), size_bytes = excluded.size_bytes, \
           state = CASE WHEN o.asset_id = excluded.asset_id THEN o.state ELSE 'claimed' END \
         WHERE o.node_id = excluded.node_id OR (o.asset_id = excluded.asset_id AND o.size_bytes = excluded.size_bytes) \
           OR (o.state = 'claimed' AND o.claimed_at < now() - {KEPT} AND NOT EXISTS \
             (SELECT FROM aftercast.node n WHERE n.node_id = o.node_id AND n.seen_at > now() - {ALIVE}))"
    );
    before(SOON, async {
        let transaction = client.transaction().await?;
        transaction.batch_execute(GIVE_UP_SOON).await?;
        let asset_id = text(asset_id);
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
    let json = serde_json::to_string(&rows).map_err(FleetError::Unreadable)?;
    let sql = "INSERT INTO aftercast.object AS o (place, asset_id, node_id, epoch, state, size_bytes, checksum) \
               SELECT place, \"assetId\", $1::uuid, $2, 'proven', \"sizeBytes\", checksum FROM json_to_recordset($3::json) \
                 AS r(place text, \"assetId\" text, \"sizeBytes\" bigint, checksum text) \
               ON CONFLICT (place) DO UPDATE SET state = 'proven', node_id = excluded.node_id, epoch = excluded.epoch, \
                 asset_id = excluded.asset_id, size_bytes = excluded.size_bytes, checksum = excluded.checksum \
               WHERE o.node_id = excluded.node_id OR o.state = 'claimed' \
                 OR (o.asset_id = excluded.asset_id AND o.size_bytes = excluded.size_bytes)";
    before(SOON, async {
        let transaction = client.transaction().await?;
        transaction.batch_execute(GIVE_UP_SOON).await?;
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&json, Type::TEXT)];
        let noted = transaction.execute_typed(sql, &values).await?;
        transaction.commit().await?;
        Ok::<_, FleetError>(count.saturating_sub(noted))
    })
    .await
}

/// Ids of the assets that a VoD may have delivered.
pub(super) fn assets_of(vod_ids: &[&str]) -> Vec<String> {
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
