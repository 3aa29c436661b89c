//! Roots in the database: registered, asked for, adopted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use deadpool_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::table::{FirstRight, FleetRoot, Holder};
use crate::fleet::alive::{alive, is_alive};
use crate::fleet::connecting::{GIVE_UP, ask, ask_soon, within};
use crate::fleet::error::FleetError;
use crate::fleet::objects;
use crate::fleet::rows::text;
use crate::fleet::transaction::Transaction;

/// VoDs that are moved in one transaction.
const SLICE: i64 = 2_000;

type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// Registers a root for this node unless it is registered: alone for this node, or shared. Only the holder of the identity can.
pub(in crate::fleet) async fn register(
    client: &Client,
    (node_id, epoch): (&str, i64),
    root: &FleetRoot,
    marked: Option<&str>,
) -> Result<(), FleetError> {
    let url = text(&root.path.to_string_lossy());
    let values: [Value<'_>; 4] =
        [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&root.root_id, Type::TEXT), (&url, Type::TEXT)];
    let me = "WITH me AS (SELECT node_id FROM aftercast.node WHERE node_id = $1::uuid AND epoch = $2)";
    if root.is_shared {
        // A root that one node had alone, this one or a dead one, can be shared.
        let sql = format!(
            "{me} INSERT INTO aftercast.root AS r (root_id, kind, url, owner) SELECT $3, 'shared', $4, NULL FROM me \
             ON CONFLICT (root_id) DO UPDATE SET kind = 'shared', owner = NULL \
             WHERE r.kind = 'local' AND (r.owner IS NULL OR r.owner = $1::uuid OR NOT EXISTS ({}))",
            alive("r.owner")
        );
        ask(client, &sql, &values).await?;
        return first_right(client, (node_id, epoch), root).await;
    }
    // A file that names another node is that of a root that is adopted first.
    if marked.is_none_or(|marked| marked == node_id) {
        let sql = format!(
            "{me} INSERT INTO aftercast.root AS r (root_id, kind, url, owner) SELECT $3, 'local', $4, node_id FROM me \
             ON CONFLICT (root_id) DO UPDATE SET owner = $1::uuid, url = $4, \
               owner_epoch = r.owner_epoch + CASE WHEN r.owner IS NULL THEN 1 ELSE 0 END \
             WHERE r.kind = 'local' AND (r.owner IS NULL OR r.owner = $1::uuid AND r.url <> $4)"
        );
        ask(client, &sql, &values).await?;
    }
    // What this node tells of this directory counts again, if another root was here before.
    let sql = "DELETE FROM aftercast.root_former WHERE node_id = $1::uuid AND url = $4 AND is_moved AND EXISTS ( \
               SELECT FROM aftercast.root r JOIN aftercast.node n ON n.node_id = r.owner \
               WHERE r.root_id = $3 AND n.node_id = $1::uuid AND n.epoch = $2)";
    ask(client, sql, &values).await.map(drop)
}

/// Takes or gives up the first right to a shared root.
async fn first_right(client: &Client, (node_id, epoch): (&str, i64), root: &FleetRoot) -> Result<(), FleetError> {
    let values: [Value<'_>; 3] = [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&root.root_id, Type::TEXT)];
    let sql = if root.first_right {
        format!(
            "UPDATE aftercast.root r SET first_node = $1::uuid FROM aftercast.node me \
             WHERE me.node_id = $1::uuid AND me.epoch = $2 AND r.root_id = $3 AND r.kind = 'shared' \
               AND r.first_node IS DISTINCT FROM $1::uuid AND NOT EXISTS ({})",
            alive("r.first_node")
        )
    } else {
        "UPDATE aftercast.root r SET first_node = NULL FROM aftercast.node me \
         WHERE me.node_id = $1::uuid AND me.epoch = $2 AND r.root_id = $3 AND r.first_node = $1::uuid"
            .to_owned()
    };
    ask(client, &sql, &values).await.map(drop)
}

/// Whose these roots are. A root that is registered for nobody is its file's, which names another node.
pub(in crate::fleet) async fn owned(
    client: &Client,
    node_id: &str,
    roots: &[FleetRoot],
) -> Result<BTreeMap<PathBuf, Holder>, FleetError> {
    let ids: Vec<&str> = roots.iter().map(|root| root.root_id.as_str()).collect();
    let sql = format!(
        "SELECT r.root_id, r.kind, r.owner = $1::uuid, r.owner_epoch, n.name, EXISTS ({}), r.url, r.first_node = $1::uuid, first.name \
         FROM aftercast.root r LEFT JOIN aftercast.node n ON n.node_id = r.owner \
           LEFT JOIN aftercast.node first ON first.node_id = r.first_node AND {} WHERE r.root_id = ANY($2)",
        alive("r.owner"),
        is_alive("first")
    );
    let rows = ask_soon(client, &sql, &[(&node_id, Type::TEXT), (&ids, Type::TEXT_ARRAY)]).await?;
    let holder = |root: &FleetRoot| {
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == root.root_id);
        row.map_or_else(unknown, |row| match (row.get(1), row.get::<_, Option<bool>>(2)) {
            ("shared", _) => Holder::Shared {
                first: match (row.get(7), row.get(8)) {
                    (Some(true), _) => FirstRight::Ours,
                    (_, Some(node)) => FirstRight::OfOther { node },
                    (_, None) => FirstRight::Free,
                },
            },
            (_, Some(true)) => Holder::Ours { epoch: row.get(3), url: row.get(6) },
            _ => match row.get::<_, Option<String>>(4) {
                Some(node) => Holder::Other { node, is_alive: row.get(5) },
                None => unknown(),
            },
        })
    };
    Ok(roots.iter().map(|root| (root.path.clone(), holder(root))).collect())
}

/// The holder of a root whose node is not in this database.
fn unknown() -> Holder {
    Holder::Other { node: "unknown".to_owned(), is_alive: false }
}

/// What an adoption has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fleet) struct Adoption {
    /// The new epoch of the root.
    pub epoch: i64,
    /// Name of the former node, if the database knows it.
    pub from: Option<String>,
}

/// The epoch of a root, 0 if the database does not know it, and the name of its node; an error if that is alive.
pub(in crate::fleet) async fn adoptable(
    client: &Client,
    node_id: &str,
    root_id: &str,
) -> Result<(i64, Option<String>), FleetError> {
    let sql = format!(
        "SELECT r.owner_epoch, r.kind, n.name, r.owner IS DISTINCT FROM $1::uuid AND EXISTS ({}) \
         FROM aftercast.root r LEFT JOIN aftercast.node n ON n.node_id = r.owner WHERE r.root_id = $2",
        alive("r.owner")
    );
    let rows = ask(client, &sql, &[(&node_id, Type::TEXT), (&root_id, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok((0, None)) };
    let node: Option<String> = row.get(2);
    if row.get::<_, &str>(1) == "shared" {
        return Err(FleetError::SharedRoot);
    }
    if row.get(3) {
        return Err(FleetError::OwnerAlive(node.unwrap_or_default()));
    }
    Ok((row.get(0), node))
}

/// Makes a root this node's whose node is dead. What that node tells of it from now on is not listed.
pub(in crate::fleet) async fn adopt(
    client: &mut Client,
    (node_id, epoch): (&str, i64),
    root: &FleetRoot,
) -> Result<Adoption, FleetError> {
    let url = text(&root.path.to_string_lossy());
    let whose: [Value<'_>; 4] =
        [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&root.root_id, Type::TEXT), (&url, Type::TEXT)];
    within(async {
        let transaction = Transaction::begin(client, GIVE_UP).await?;
        let sql = "SELECT r.owner::text, n.name, r.url FROM aftercast.root r LEFT JOIN aftercast.node n ON n.node_id = r.owner \
                   WHERE r.root_id = $1 FOR UPDATE OF r";
        let before = transaction.query_typed(sql, &[(&root.root_id, Type::TEXT)]).await?;
        let sql = format!(
            "INSERT INTO aftercast.root AS r (root_id, kind, url, owner) \
             SELECT $3, 'local', $4, node_id FROM aftercast.node WHERE node_id = $1::uuid AND epoch = $2 \
             ON CONFLICT (root_id) DO UPDATE SET owner = $1::uuid, url = $4, \
               owner_epoch = r.owner_epoch + CASE WHEN r.owner = $1::uuid THEN 0 ELSE 1 END \
             WHERE r.kind = 'local' AND (r.owner = $1::uuid OR NOT EXISTS ({})) RETURNING r.owner_epoch",
            alive("r.owner")
        );
        let taken = transaction.query_typed(&sql, &whose).await?;
        let Some(taken) = taken.first() else { return Err(FleetError::OwnerAlive(name_of(&before))) };
        let sql = "DELETE FROM aftercast.root_former WHERE node_id = $1::uuid AND (root_id = $2 OR url = $3)";
        transaction.execute_typed(sql, &[whose[0].clone(), whose[2].clone(), whose[3].clone()]).await?;
        let former = before.first().and_then(|row| Some((row.get::<_, Option<String>>(0)?, row.get::<_, String>(2))));
        if let Some((owner, url)) = former.filter(|(owner, _)| owner != node_id) {
            let sql = "INSERT INTO aftercast.root_former (node_id, url, root_id) VALUES ($1::uuid, $2, $3) \
                       ON CONFLICT (node_id, root_id) DO UPDATE SET url = excluded.url, is_moved = false";
            transaction
                .execute_typed(sql, &[(&owner, Type::TEXT), (&url, Type::TEXT), (&root.root_id, Type::TEXT)])
                .await?;
        }
        let epoch = taken.get(0);
        transaction.commit().await?;
        Ok::<_, FleetError>(Adoption { epoch, from: Some(name_of(&before)).filter(|name| !name.is_empty()) })
    })
    .await
}

fn name_of(rows: &[tokio_postgres::Row]) -> String {
    rows.first().and_then(|row| row.get::<_, Option<String>>(1)).unwrap_or_default()
}

/// Lists the VoDs of adopted roots for this node, a slice at a time; says how many. What this node has of them already stays as it
/// is; what it catalogues later replaces what was moved.
pub(in crate::fleet) async fn move_vods(client: &mut Client, node_id: &str, epoch: i64) -> Result<u64, FleetError> {
    let mut moved = 0;
    loop {
        let more = within(move_slice(client, node_id, epoch)).await?;
        if more == 0 {
            return Ok(moved);
        }
        moved += more;
    }
}

async fn move_slice(client: &mut Client, node_id: &str, epoch: i64) -> Result<u64, FleetError> {
    let transaction = Transaction::begin(client, GIVE_UP).await?;
    crate::fleet::claim::fence(&transaction, node_id, epoch, (0, 0)).await?;
    let former = "aftercast.root_former f JOIN aftercast.root r ON r.root_id = f.root_id \
                  WHERE r.owner = $1::uuid AND NOT f.is_moved";
    let whose: [Value<'_>; 2] = [(&node_id, Type::TEXT), (&SLICE, Type::INT8)];
    let own = "EXISTS (SELECT FROM aftercast.vod own WHERE own.node_id = $1::uuid AND own.vod_id = v.vod_id)";
    // Two former nodes may have a VoD where the first adoption was cut; one of them is moved first.
    let earlier = "EXISTS (SELECT FROM aftercast.root_former g JOIN aftercast.vod w ON w.node_id = g.node_id AND w.root = g.url \
                   WHERE g.root_id = f.root_id AND g.node_id < f.node_id AND NOT g.is_moved AND w.vod_id = v.vod_id)";
    let slice = format!(
        "SELECT v.node_id, v.vod_id, r.url FROM aftercast.vod v, {former} AND v.node_id = f.node_id AND v.root = f.url"
    );
    // Which rows a limit picks is not defined: each statement picks only what it is for.
    let known = format!(
        "WITH slice AS ({slice} AND {own} LIMIT $2) DELETE FROM aftercast.vod v USING slice s \
         WHERE v.node_id = s.node_id AND v.vod_id = s.vod_id"
    );
    let removed = transaction.execute_typed(&known, &whose).await?;
    let others = format!(
        "WITH slice AS ({slice} AND NOT {own} AND NOT {earlier} LIMIT $2) \
         UPDATE aftercast.vod v SET node_id = $1::uuid, epoch = 0, rev = 0, root = s.url FROM slice s \
         WHERE v.node_id = s.node_id AND v.vod_id = s.vod_id RETURNING v.vod_id"
    );
    let rows = transaction.query_typed(&others, &whose).await?;
    let moved = rows.len() as u64;
    if moved > 0 {
        let ids: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        objects::hand_over(&transaction, node_id, &ids, &format!("SELECT f.node_id FROM {former}")).await?;
    }
    if removed + moved == 0 {
        let sql = format!(
            "UPDATE aftercast.root_former SET is_moved = true WHERE (node_id, root_id) IN (SELECT f.node_id, f.root_id FROM {former})"
        );
        transaction.execute_typed(&sql, &whose[..1]).await?;
    }
    transaction.commit().await?;
    Ok(removed + moved)
}
