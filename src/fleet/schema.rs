//! The tables: numbered migrations, forward only, one node at a time. A database that a newer version has changed is refused.

use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;
use tracing::{debug, info};

use super::connecting::{self, GIVE_UP, before, within};
use super::error::FleetError;
use super::transaction::Transaction;
use crate::fault::chain;

/// Each brings the tables from the version before to the next one. What was released is never changed.
const MIGRATIONS: [&str; 5] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
];
/// The version that this program knows.
pub(super) const KNOWN: i32 = 5;
/// How long a migration may take: tables with millions of rows are rewritten.
const MIGRATION: Duration = Duration::from_secs(30 * 60);
/// Within a migration: it takes its time, and does not wait longer for others than for a question.
const GIVE_UP_LOCKS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '12s'; \
                             SET LOCAL idle_in_transaction_session_timeout = '20s'";
/// Held while the tables are changed; any number that no other program is likely to use.
const LOCK: i64 = 0x6166_7465_7263_6173;
/// `gen_random_uuid` and trusted extensions.
const OLDEST_SERVER: i32 = 13;
/// Makes the search for text fast. Not every database lets this user create the extension; search works without it.
const TRIGRAMS: &str = "CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA aftercast";

/// The version of the server, in words; an error if it is too old, or the database cannot hold every name.
pub(super) async fn require_server(client: &impl GenericClient) -> Result<String, FleetError> {
    let sql = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'), \
               current_setting('server_encoding')";
    let rows = client.query_typed(sql, &[]).await?;
    let said = rows.first().map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1), row.get::<_, String>(2)));
    let (found, words, encoding) = said.unwrap_or_default();
    if found < OLDEST_SERVER {
        return Err(FleetError::Old { found, known: OLDEST_SERVER });
    }
    if encoding == "UTF8" { Ok(words) } else { Err(FleetError::Encoding(encoding)) }
}

/// The version of the tables, 0 if there are none; an error if it is newer than this program.
pub(super) async fn found(client: &impl GenericClient) -> Result<i32, FleetError> {
    if !exists(client, "meta").await? {
        return Ok(0);
    }
    let rows = client.query_typed("SELECT version FROM aftercast.meta", &[]).await?;
    let found = rows.first().map_or(0, |row| row.get(0));
    require_known(found).map(|()| found)
}

/// Whether there is a table or an index. Not `to_regclass`: it may answer from the cache of the connection, and would not see what
/// another node has made while this one waited for the lock.
async fn exists(client: &impl GenericClient, relation: &str) -> Result<bool, FleetError> {
    let sql = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'aftercast' AND c.relname = $1";
    Ok(!client.query_typed(sql, &[(&relation, Type::TEXT)]).await?.is_empty())
}

/// An error if a version is newer than this program.
pub(super) fn require_known(found: i32) -> Result<(), FleetError> {
    if found > KNOWN { Err(FleetError::Newer { found, known: KNOWN }) } else { Ok(()) }
}

/// Brings the tables up to the version of this program. Says the connection, to be used further.
pub(super) async fn prepare(pool: &Pool) -> Result<Client, FleetError> {
    let mut client = connecting::client(pool).await?;
    within(require_server(&**client)).await?;
    if within(found(&**client)).await? < KNOWN {
        before(MIGRATION, migrate(&mut client)).await?;
    }
    search_fast(client, pool).await
}

async fn migrate(client: &mut Client) -> Result<(), FleetError> {
    let transaction = Transaction::begin(client, GIVE_UP_LOCKS).await?;
    // Released with the transaction, also behind a pooler of transactions.
    transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    // Another node may have been faster.
    let found_before = found(&*transaction).await?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found_before).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    transaction.execute_typed("UPDATE aftercast.meta SET version = $1", &[(&KNOWN, Type::INT4)]).await?;
    transaction.commit().await?;
    if found_before < KNOWN {
        info!(from = found_before, to = KNOWN, "tables of the fleet database updated");
    }
    Ok(())
}

/// Creates the index for searching, where that is possible.
async fn search_fast(mut client: Client, pool: &Pool) -> Result<Client, FleetError> {
    if within(exists(&**client, "vod_search")).await? {
        return Ok(client);
    }
    let Err(error) = within(index(&mut client)).await else { return Ok(client) };
    debug!(error = chain(&error), "no trigram index in the fleet database; searching for text reads all records");
    if !matches!(error, FleetError::TimedOut(_)) {
        return Ok(client);
    }
    // The answer may still come, and is not that of the next question.
    drop(Client::take(client));
    connecting::client(pool).await
}

async fn index(client: &mut Client) -> Result<(), FleetError> {
    // While it is made, no node can write.
    let transaction = Transaction::begin(client, GIVE_UP).await?;
    transaction.batch_execute(TRIGRAMS).await?;
    let sql = "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'";
    let rows = transaction.query_typed(sql, &[]).await?;
    let schema: String = rows.first().map_or_else(|| "public".to_owned(), |row| row.get(0));
    let schema = schema.replace('"', "\"\"");
    let sql =
        format!("CREATE INDEX IF NOT EXISTS vod_search ON aftercast.vod USING gin (search \"{schema}\".gin_trgm_ops)");
    transaction.batch_execute(&sql).await?;
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_migration_for_each_version() {
        assert_eq!(usize::try_from(KNOWN).unwrap(), MIGRATIONS.len());
        assert!(matches!(require_known(KNOWN + 1), Err(FleetError::Newer { .. })));
    }
}
