//! Claims on recordings in shared roots, as rows of the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{SharedClaim, SharedItem, SharedLease, SharedResult, fingerprint_text, path_key};
use crate::fleet::alive::{alive, is_alive};
use crate::fleet::claim::number;
use crate::fleet::connecting::ask;
use crate::fleet::error::FleetError;
use crate::fleet::rows::text;
use crate::recording::Fingerprint;

/// Lives of nodes that may end with a recording before it is given to nobody any more.
const MOST_HOLDERS: i32 = 2;

/// Whether another node has the file as a VoD: it had the root alone before it was shared.
const OF_ANOTHER: &str = "SELECT FROM aftercast.vod v WHERE v.rel_path = $6 AND v.root = r.url AND v.size_bytes = $7 \
                          AND v.is_local AND v.node_id <> $1::uuid";

type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// Who asks: identity and epoch.
pub(in crate::fleet) type Whose<'a> = (&'a str, i64);

/// Whether the life in which a row was claimed goes on, as far as is known; silence is no end.
fn lives(row: &str) -> String {
    format!(
        "EXISTS (SELECT FROM aftercast.node h WHERE h.node_id = {row}.lease_node AND h.epoch = {row}.lease_epoch \
         AND h.stopped_at IS NULL)"
    )
}

/// Whether the holder of a row still has it.
fn is_held(row: &str) -> String {
    format!(
        "EXISTS (SELECT FROM aftercast.node h WHERE h.node_id = {row}.lease_node AND h.epoch = {row}.lease_epoch \
         AND {})",
        is_alive("h")
    )
}

/// The row of a recording that is the result of row `i`, if a node has taken it for a recording.
const RESULT_OF: &str = "aftercast.shared_item t WHERE t.root_id = i.root_id AND t.item_key = i.result_key \
         AND t.fingerprint = i.result_fingerprint AND t.token <> i.token AND t.state IN ('leased', 'publishing', 'done')";

/// Asks for a recording. Only who was connected for as long as a lease, and `sees_others` therefore, may tell that another is silent.
pub(in crate::fleet) async fn claim(
    client: &Client,
    (node_id, epoch): Whose<'_>,
    item: &SharedItem,
    sees_others: bool,
) -> Result<SharedClaim, FleetError> {
    let (key, fingerprint) = (path_key(&item.path), fingerprint_text(&item.fingerprint));
    let name = text(&item.path.to_string_lossy());
    let size_bytes = number(item.fingerprint.size_bytes);
    let values: [Value<'_>; 7] = [
        (&node_id, Type::TEXT),
        (&epoch, Type::INT8),
        (&item.root_id, Type::TEXT),
        (&key, Type::TEXT),
        (&fingerprint, Type::TEXT),
        (&name, Type::TEXT),
        (&size_bytes, Type::INT8),
    ];
    let mut asked = values.to_vec();
    asked.push((&sees_others, Type::BOOL));
    let rows = ask(client, &claiming(), &asked).await?;
    match rows.first() {
        Some(row) if row.get::<_, &str>(0) == "quarantined" => Ok(SharedClaim::Quarantined),
        Some(row) => Ok(SharedClaim::Ours(lease(item, row))),
        None => why_not(client, item, &values).await,
    }
}

/// The statement of a claim. Of several nodes that ask at once, one inserts or updates the row, and the others find it held.
fn claiming() -> String {
    let first = alive("r.first_node");
    let is_own = "(i.lease_node = $1::uuid AND i.lease_epoch = $2)";
    let has_ended = format!("NOT {}", lives("i"));
    let is_left = format!("(i.state IN ('leased', 'publishing') AND NOT {} AND ({has_ended} OR $8))", is_held("i"));
    let is_death = format!("({is_left} AND NOT {is_own} AND i.is_begun AND {has_ended})");
    let is_hopeless = format!("({is_death} AND i.attempt >= {MOST_HOLDERS})");
    // What was replaced where it stands, and not catalogued, is found as a recording by others.
    let is_result = format!(
        "EXISTS (SELECT FROM aftercast.shared_item o WHERE o.root_id = $3 AND o.result_key = $4 AND o.result_fingerprint = $5 \
         AND (o.item_key, o.fingerprint) <> ($4, $5) \
         AND (o.state = 'done' OR o.state IN ('leased', 'publishing') AND (o.result_key <> o.item_key OR {})))",
        is_held("o")
    );
    format!(
        "INSERT INTO aftercast.shared_item AS i \
           (root_id, item_key, fingerprint, item, state, attempt, lease_node, lease_epoch, token) \
         SELECT r.root_id, $4, $5, $6, 'leased', 1, me.node_id, me.epoch, nextval('aftercast.token') \
         FROM aftercast.node me, aftercast.root r \
         WHERE me.node_id = $1::uuid AND me.epoch = $2 AND r.root_id = $3 AND r.kind = 'shared' \
           AND (r.first_node IS NULL OR r.first_node = $1::uuid OR NOT EXISTS ({first}) \
             OR EXISTS (SELECT FROM aftercast.shared_item w WHERE w.root_id = $3 AND w.item_key = $4 \
               AND w.fingerprint = $5 AND w.lease_node = $1::uuid AND w.state IN ('leased', 'publishing'))) \
           AND NOT {is_result} \
           AND NOT EXISTS ({OF_ANOTHER}) \
         ON CONFLICT (root_id, item_key, fingerprint) DO UPDATE SET \
           state = CASE WHEN {is_hopeless} THEN 'quarantined' ELSE 'leased' END, \
           attempt = i.attempt + CASE WHEN {is_death} THEN 1 ELSE 0 END, is_begun = false, \
           lease_node = $1::uuid, lease_epoch = $2, token = nextval('aftercast.token'), \
           former_token = CASE WHEN i.is_begun OR i.former_token IS NULL THEN i.token ELSE i.former_token END, \
           error = CASE WHEN {is_hopeless} THEN 'two nodes ended while they worked on it' END, changed_at = now() \
         WHERE ((i.state = 'ready' AND i.due_at <= now()) OR {is_left} \
           OR (i.state IN ('leased', 'publishing') AND {is_own})) \
           AND NOT (i.state <> 'ready' AND EXISTS (SELECT FROM {RESULT_OF})) \
         RETURNING i.state, i.token, i.attempt, i.former_token, i.result, i.digest"
    )
}

fn lease(item: &SharedItem, row: &Row) -> SharedLease {
    let result: (Option<String>, Option<String>) = (row.get(4), row.get(5));
    let published = match result {
        (Some(path), Some(digest)) => Some(SharedResult { path: PathBuf::from(path), digest }),
        _ => None,
    };
    SharedLease { item: item.clone(), token: row.get(1), attempt: row.get(2), former_token: row.get(3), published }
}

/// Why a recording was not given.
async fn why_not(client: &Client, item: &SharedItem, values: &[Value<'_>]) -> Result<SharedClaim, FleetError> {
    let sql = format!(
        "SELECT i.state, i.token, i.attempt, i.former_token, i.result, i.digest, \
                 i.lease_node = $1::uuid AND EXISTS (SELECT FROM aftercast.node me WHERE me.node_id = $1::uuid AND me.epoch = $2) \
               FROM aftercast.shared_item i WHERE i.root_id = $3 AND i.item_key = $4 AND i.fingerprint = $5 \
               UNION ALL SELECT i.state, i.token, i.attempt, i.former_token, i.result, i.digest, false \
               FROM aftercast.shared_item i \
               WHERE i.root_id = $3 AND i.result_key = $4 AND i.result_fingerprint = $5 AND i.state = 'done' \
               UNION ALL SELECT t.state, t.token, t.attempt, t.former_token, t.result, t.digest, false \
               FROM aftercast.shared_item i, {RESULT_OF} \
               AND i.root_id = $3 AND i.item_key = $4 AND i.fingerprint = $5 AND t.state = 'done' \
               UNION ALL SELECT 'done', 0, 0, NULL, NULL, NULL, false FROM aftercast.root r \
               WHERE r.root_id = $3 AND EXISTS ({OF_ANOTHER})"
    );
    let rows = ask(client, &sql, values).await?;
    let has = |wanted: &str| rows.iter().any(|row| row.get::<_, &str>(0) == wanted);
    let own = rows.iter().find(|row| row.get::<_, &str>(0) == "done" && row.get::<_, Option<bool>>(6) == Some(true));
    Ok(if let Some(row) = own {
        SharedClaim::DoneHere(lease(item, row))
    } else if has("done") {
        SharedClaim::Done
    } else if has("quarantined") {
        SharedClaim::Quarantined
    } else {
        SharedClaim::Later
    })
}

/// Notes the finished file before it gets its name; `false` if the token does not hold the recording any more.
pub(in crate::fleet) async fn publishing(
    client: &Client,
    whose: Whose<'_>,
    lease: &SharedLease,
    (result, fingerprint, digest): (&Path, &Fingerprint, &str),
) -> Result<bool, FleetError> {
    let (path, key) = (text(&result.to_string_lossy()), path_key(result));
    let fingerprint = fingerprint_text(fingerprint);
    let set = "state = 'publishing', result = $7, result_key = $8, result_fingerprint = $9, digest = $10";
    let more: [Value<'_>; 4] =
        [(&path, Type::TEXT), (&key, Type::TEXT), (&fingerprint, Type::TEXT), (&digest, Type::TEXT)];
    // Another node may have taken the file for a recording of its own, which this one had replaced where it stood.
    let and = "AND i.state <> 'done' AND NOT EXISTS (SELECT FROM aftercast.shared_item t WHERE t.root_id = i.root_id \
               AND t.item_key = $8 AND t.fingerprint = $9 AND t.token <> i.token AND t.state IN ('leased', 'publishing', 'done'))";
    by_token(client, whose, lease, set, and, &more).await
}

/// Notes that a recording is being worked on from now on: the end of this life may be its fault.
pub(in crate::fleet) async fn begun(
    client: &Client,
    whose: Whose<'_>,
    lease: &SharedLease,
) -> Result<bool, FleetError> {
    by_token(client, whose, lease, "is_begun = true", "AND i.state <> 'done'", &[]).await
}

/// Notes that nothing is to be done about a recording: its finished file is another node's, or is found as it stands.
pub(in crate::fleet) async fn done_elsewhere(
    client: &Client,
    whose: Whose<'_>,
    lease: &SharedLease,
) -> Result<bool, FleetError> {
    let set = "state = 'done', vod_id = '', error = NULL, result_key = NULL, result_fingerprint = NULL";
    by_token(client, whose, lease, set, "", &[]).await
}

/// Notes that the finished file has its name and everything of the recording is in it; `false` if another node has taken over. Once
/// true it stays true: nobody else is given the recording.
pub(in crate::fleet) async fn done(
    client: &Client,
    whose: Whose<'_>,
    lease: &SharedLease,
    vod_id: &str,
) -> Result<bool, FleetError> {
    by_token(client, whose, lease, "state = 'done', vod_id = $7, error = NULL", "", &[(&vod_id, Type::TEXT)]).await
}

/// Lets others try, not before some time has passed.
pub(in crate::fleet) async fn give_back(
    client: &Client,
    whose: Whose<'_>,
    lease: &SharedLease,
    (after, error): (Duration, &str),
) -> Result<bool, FleetError> {
    let set = "state = 'ready', error = $7, due_at = now() + make_interval(secs => $8)";
    let (error, after_s) = (text(error), after.as_secs_f64());
    let more: [Value<'_>; 2] = [(&error, Type::TEXT), (&after_s, Type::FLOAT8)];
    by_token(client, whose, lease, set, "AND i.state <> 'done'", &more).await
}

/// Keeps every node from a recording that cannot be finished.
pub(in crate::fleet) async fn quarantine(
    client: &Client,
    whose: Whose<'_>,
    lease: &SharedLease,
    reason: &str,
) -> Result<bool, FleetError> {
    let reason = text(reason);
    by_token(
        client,
        whose,
        lease,
        "state = 'quarantined', error = $7",
        "AND i.state <> 'done'",
        &[(&reason, Type::TEXT)],
    )
    .await
}

/// Lets all nodes try a quarantined recording again, as if nobody had worked on it; `false` if it is not quarantined.
pub(in crate::fleet) async fn reopen(
    client: &Client,
    (node_id, epoch): Whose<'_>,
    item: &SharedItem,
) -> Result<bool, FleetError> {
    // What was made of it may have become a recording of another node meanwhile.
    let sql = format!(
        "UPDATE aftercast.shared_item i SET state = 'ready', attempt = 1, is_begun = false, due_at = now(), error = NULL, \
           changed_at = now() FROM aftercast.node me \
         WHERE me.node_id = $1::uuid AND me.epoch = $2 AND i.root_id = $3 AND i.item_key = $4 AND i.fingerprint = $5 \
           AND i.state = 'quarantined' AND NOT EXISTS (SELECT FROM {RESULT_OF}) RETURNING i.token"
    );
    let (key, fingerprint) = (path_key(&item.path), fingerprint_text(&item.fingerprint));
    let values: [Value<'_>; 5] = [
        (&node_id, Type::TEXT),
        (&epoch, Type::INT8),
        (&item.root_id, Type::TEXT),
        (&key, Type::TEXT),
        (&fingerprint, Type::TEXT),
    ];
    Ok(!ask(client, &sql, &values).await?.is_empty())
}

/// Changes the row of a recording as long as the token holds it. The identity is checked with it: of two processes that use one, only the
/// later can change anything. So is the recording: a standby that lacks the last tokens gives them out again, for others.
async fn by_token(
    client: &Client,
    (node_id, epoch): Whose<'_>,
    lease: &SharedLease,
    set: &str,
    and: &str,
    more: &[Value<'_>],
) -> Result<bool, FleetError> {
    let sql = format!(
        "UPDATE aftercast.shared_item i SET {set}, changed_at = now() FROM aftercast.node me \
         WHERE me.node_id = $1::uuid AND me.epoch = $2 AND i.lease_node = me.node_id AND i.token = $3 \
           AND i.root_id = $4 AND i.item_key = $5 AND i.fingerprint = $6 \
           AND i.state IN ('leased', 'publishing', 'done') {and} RETURNING i.token"
    );
    let SharedLease { item, token, .. } = lease;
    let (key, fingerprint) = (path_key(&item.path), fingerprint_text(&item.fingerprint));
    let mut values: Vec<Value<'_>> = vec![
        (&node_id, Type::TEXT),
        (&epoch, Type::INT8),
        (token, Type::INT8),
        (&item.root_id, Type::TEXT),
        (&key, Type::TEXT),
        (&fingerprint, Type::TEXT),
    ];
    values.extend(more.iter().cloned());
    Ok(!ask(client, &sql, &values).await?.is_empty())
}

/// At the end of a node: what it has not begun to publish is free for others at once, and no attempt is counted.
pub(in crate::fleet) async fn give_back_all(client: &Client, (node_id, epoch): Whose<'_>) -> Result<(), FleetError> {
    let sql = "UPDATE aftercast.shared_item SET state = 'ready', due_at = now(), changed_at = now() \
               WHERE lease_node = $1::uuid AND lease_epoch = $2 AND state = 'leased'";
    ask(client, sql, &[(&node_id, Type::TEXT), (&epoch, Type::INT8)]).await.map(drop)
}
