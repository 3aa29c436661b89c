//! Rows of shared roots that are of no use any more: neither the recording nor its finished file is there as the row has them.

use std::path::{Component, Path, PathBuf};

use deadpool_postgres::Client;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::claimed::Whose;
use super::{fingerprint_text, path_key};
use crate::durable;
use crate::fleet::connecting::ask;
use crate::fleet::error::FleetError;

/// Rows that are looked at together.
const SLICE: i64 = 500;
/// What nobody works on and nobody has changed for so long that whoever has seen the file has forgotten it.
const IS_OLD: &str = "i.state IN ('done', 'ready', 'quarantined') AND i.changed_at < now() - interval '7 days'";

/// Where a slice begins: behind the key and the fingerprint of a row.
pub(in crate::fleet) type RowPlace = (String, String);

/// A row that may go if its files are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fleet) struct OldRow {
    place: RowPlace,
    /// Paths below the root, each with the state that the row is about.
    files: Vec<(PathBuf, String)>,
}

/// Some rows in the order of their keys.
#[derive(Debug, Default)]
pub(in crate::fleet) struct RowSlice {
    pub old: Vec<OldRow>,
    /// Where the next one begins, if there is more.
    pub next: Option<RowPlace>,
}

/// Takes the turn to look at a root's rows; `false` if a node has done so within a day.
pub(in crate::fleet) async fn take_turn(
    client: &Client,
    (node_id, epoch): Whose<'_>,
    root_id: &str,
) -> Result<bool, FleetError> {
    let sql = "UPDATE aftercast.root r SET looked_at = now() FROM aftercast.node me WHERE me.node_id = $1::uuid AND me.epoch = $2 \
               AND r.root_id = $3 AND r.kind = 'shared' AND coalesce(r.looked_at, '-infinity') < now() - interval '1 day' \
               RETURNING r.root_id";
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&node_id, Type::TEXT), (&epoch, Type::INT8), (&root_id, Type::TEXT)];
    Ok(!ask(client, sql, &values).await?.is_empty())
}

/// The next rows.
pub(in crate::fleet) async fn slice(client: &Client, root_id: &str, after: &RowPlace) -> Result<RowSlice, FleetError> {
    let sql = format!(
        "SELECT i.item_key, i.fingerprint, i.item, i.result, i.result_key, i.result_fingerprint, {IS_OLD} FROM aftercast.shared_item i \
         WHERE i.root_id = $1 AND (i.item_key, i.fingerprint) > ($2, $3) ORDER BY i.item_key, i.fingerprint LIMIT $4"
    );
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&root_id, Type::TEXT), (&after.0, Type::TEXT), (&after.1, Type::TEXT), (&SLICE, Type::INT8)];
    let rows = ask(client, &sql, &values).await?;
    let is_more = i64::try_from(rows.len()).is_ok_and(|count| count == SLICE);
    Ok(RowSlice {
        old: rows.iter().filter(|row| row.get(6)).filter_map(OldRow::of).collect(),
        next: rows.last().filter(|_| is_more).map(place_of),
    })
}

fn place_of(row: &Row) -> RowPlace {
    (row.get(0), row.get(1))
}

/// Removes rows, unless somebody has changed them meanwhile. Says how many.
pub(in crate::fleet) async fn remove(client: &Client, root_id: &str, spent: &[OldRow]) -> Result<u64, FleetError> {
    let (keys, fingerprints): (Vec<&str>, Vec<&str>) =
        spent.iter().map(|row| (row.place.0.as_str(), row.place.1.as_str())).unzip();
    let sql = format!(
        "DELETE FROM aftercast.shared_item i USING unnest($2::text[], $3::text[]) AS s(item_key, fingerprint) \
         WHERE i.root_id = $1 AND i.item_key = s.item_key AND i.fingerprint = s.fingerprint AND {IS_OLD} RETURNING 1"
    );
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&root_id, Type::TEXT), (&keys, Type::TEXT_ARRAY), (&fingerprints, Type::TEXT_ARRAY)];
    Ok(ask(client, &sql, &values).await?.len() as u64)
}

impl OldRow {
    /// `None` if the text in a row is not the path itself: such a row stays.
    fn of(row: &Row) -> Option<Self> {
        let place = place_of(row);
        let mut files = vec![(exact(row.get(2), &place.0)?, place.1.clone())];
        if let (Some(result), Some(key), Some(fingerprint)) = (row.get(3), row.get(4), row.get(5)) {
            files.push((exact(result, key)?, fingerprint));
        }
        Some(Self { place, files })
    }

    /// Whether none of its files is there as it was. What cannot be looked at may be there.
    pub fn is_spent(&self, root: &Path) -> bool {
        self.files.iter().all(|(path, state)| match durable::fingerprint(&root.join(path)) {
            Ok(now) => fingerprint_text(&now) != *state,
            Err(error) => error.is_missing(),
        })
    }
}

/// A path below the root whose key this is.
fn exact(path: &str, key: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    let is_below = path.components().all(|component| matches!(component, Component::Normal(_)));
    (is_below && path_key(&path) == key).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_row_is_spent_when_none_of_its_files_is_there_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let state = |name: &str| fingerprint_text(&durable::fingerprint(&path(name)).unwrap());
        for name in ["x.flv", "x.mp4"] {
            fs::write(path(name), name).unwrap();
        }
        let files = ["x.flv", "x.mp4"].map(|name| (PathBuf::from(name), state(name))).to_vec();
        let row = OldRow { place: RowPlace::default(), files };
        assert!(!row.is_spent(dir.path()));
        fs::remove_file(path("x.flv")).unwrap();
        assert!(!row.is_spent(dir.path()), "the finished file would be taken for a recording");
        fs::write(path("x.mp4"), "another one").unwrap();
        assert!(row.is_spent(dir.path()));
        let below = OldRow { files: vec![("x.mp4/y".into(), String::new())], ..row };
        assert!(!below.is_spent(dir.path()), "it cannot be looked at");
    }

    #[test]
    fn a_path_whose_text_is_not_the_path_itself_is_not_looked_for() {
        let key = path_key(Path::new("a/x.flv"));
        assert_eq!(exact("a/x.flv", &key), Some("a/x.flv".into()));
        assert_eq!(exact("a/x\u{fffd}.flv", &key), None);
        for outside in ["../x.flv", "/etc/x.flv"] {
            assert_eq!(exact(outside, &path_key(Path::new(outside))), None);
        }
    }
}
