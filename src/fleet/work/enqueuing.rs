//! Adds work, the same only once.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::super::connecting::{GIVE_UP, within};
use super::super::error::FleetError;
use super::super::transaction::Transaction;
use super::SharedWork;
use super::item::NewWork;

/// Rows of one statement at most.
const SLICE: usize = 1_000;
/// What stands in a row of JSON.
const COLUMNS: &str = "once text, kind text, root text, item text, fingerprint text, args jsonb, batch_id bigint, priority integer, \
                       delay_ms bigint";

impl SharedWork {
    /// Adds work that is not there yet, whatever came of it. Says how much that is.
    pub fn enqueue(&self, work: &[NewWork]) -> Result<u64, FleetError> {
        self.0.with_client(async |client| {
            within(async {
                let transaction = Transaction::begin(client, GIVE_UP).await?;
                let added = insert(&transaction, work, "true", "NOTHING").await?;
                transaction.commit().await?;
                Ok::<_, FleetError>(added)
            })
            .await
        })
    }
}

/// Adds work `r` that fulfils a condition; what is there already is dealt with as said. Says how many rows were written.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    work: &[NewWork],
    condition: &str,
    on_conflict: &str,
) -> Result<u64, FleetError> {
    let sql = format!(
        "INSERT INTO aftercast.work AS w (once, kind, root, item, fingerprint, args, batch_id, priority, due_at) \
         SELECT DISTINCT ON (once) decode(once, 'hex'), kind, root, item, fingerprint, args, batch_id, priority, \
           now() + delay_ms * interval '1 millisecond' \
         FROM json_to_recordset($1::json) AS r({COLUMNS}) WHERE {condition} \
         ON CONFLICT (once) DO {on_conflict}"
    );
    let mut written = 0;
    for slice in work.chunks(SLICE) {
        let rows = Value::Array(slice.iter().map(NewWork::row).collect()).to_string();
        let values: [(&(dyn ToSql + Sync), Type); 1] = [(&rows, Type::TEXT)];
        written += transaction.execute_typed(&sql, &values).await?;
    }
    Ok(written)
}
