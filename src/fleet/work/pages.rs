//! Listing what a batch is to work on is work itself, a page at a time: the page's items and the next page appear together, once.

use tokio_postgres::types::Type;

use super::super::connecting::{GIVE_UP, within};
use super::super::error::FleetError;
use super::super::transaction::Transaction;
use super::SharedWork;
use super::ending::{WorkResult, end_as_done};
use super::enqueuing::insert;
use super::item::{NewWork, WorkItem};

/// The kind of a page.
pub const LIST: &str = "list";
/// Pages come first.
const PAGE_PRIORITY: i32 = 0;

/// The page of a batch that begins there; empty: the first one.
pub(super) fn page(batch_id: i64, root: &str, begins: &str) -> NewWork {
    NewWork {
        kind: LIST.to_owned(),
        root: root.to_owned(),
        item: begins.to_owned(),
        fingerprint: format!("batch {batch_id}"),
        batch_id: Some(batch_id),
        priority: PAGE_PRIORITY,
        ..NewWork::default()
    }
}

/// Work that is known from an earlier batch belongs to this one from now on, never that of a later one. It is done again unless it is done and that is to count.
fn taken_over(repeats: bool) -> String {
    let stays = if repeats { "w.state = 'leased'" } else { "w.state IN ('leased', 'done')" };
    let of_new = |column: &str, value: &str| format!("{column} = CASE WHEN {stays} THEN w.{column} ELSE {value} END");
    let set = [
        of_new("state", "'ready'"),
        of_new("attempt", "0"),
        of_new("given_back", "0"),
        of_new("deaths", "0"),
        of_new("due_at", "excluded.due_at"),
        of_new("error_class", "NULL"),
        of_new("reason", "NULL"),
        of_new("error", "NULL"),
        of_new("intent", "NULL"),
        of_new("result", "NULL"),
        of_new("ended_at", "NULL"),
    ];
    format!(
        "UPDATE SET batch_id = excluded.batch_id, args = excluded.args, priority = excluded.priority, {} \
         WHERE w.batch_id IS NULL OR w.batch_id < excluded.batch_id",
        set.join(", ")
    )
}

/// What an item was published as before that: it is no recording of its own. Its holder said so before the file was there.
const IS_NO_RESULT: &str = "NOT EXISTS (SELECT FROM aftercast.work p WHERE p.intent IS NOT NULL \
    AND hashtextextended(p.intent->>'path', 0) = hashtextextended(r.item, 0) AND p.intent->>'path' = r.item \
    AND p.root = r.root AND p.item <> r.item)";

/// What is made of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRules {
    /// Whether what an earlier batch has done is done again.
    pub repeats: bool,
    /// Whether what was made of other items is left out.
    pub skips_results: bool,
}

impl SharedWork {
    /// A page is listed: what was found there, and where the next page begins if there is one. `false`: another node has the page by now;
    /// nothing of it is kept. Of a batch that has ended meanwhile nothing is added.
    pub fn finish_page(
        &self,
        item: &WorkItem,
        found: &[NewWork],
        next: Option<&str>,
        rules: PageRules,
    ) -> Result<bool, FleetError> {
        let Some(batch_id) = item.batch_id else { return Ok(false) };
        let details = serde_json::json!({ "found": found.len() });
        let result = WorkResult { outcome: "listed".to_owned(), details, vod: None };
        self.0.with_client(async |client| {
            within(async {
                let transaction = Transaction::begin(client, GIVE_UP).await?;
                if end_as_done(&transaction, &[(item, &result)]).await?.is_empty() {
                    return Ok(false);
                }
                if !is_active(&transaction, batch_id).await? {
                    transaction.commit().await?;
                    return Ok(true);
                }
                let condition = if rules.skips_results { IS_NO_RESULT } else { "true" };
                insert(&transaction, found, condition, &taken_over(rules.repeats)).await?;
                if let Some(next) = next {
                    insert(&transaction, &[page(batch_id, &item.root, next)], "true", "NOTHING").await?;
                }
                transaction.commit().await?;
                Ok::<_, FleetError>(true)
            })
            .await
        })
    }
}

/// Whether a batch has not ended, which is then so until the end of the transaction.
async fn is_active(transaction: &Transaction<'_>, batch_id: i64) -> Result<bool, FleetError> {
    let sql = "SELECT FROM aftercast.batch WHERE batch_id = $1 AND state IN ('running', 'paused') FOR SHARE";
    Ok(!transaction.query_typed(sql, &[(&batch_id, Type::INT8)]).await?.is_empty())
}
