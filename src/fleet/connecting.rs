//! Connections to the database: a small pool, made anew after each failure, so that a password or a certificate that was replaced
//! is used. Every wait has an end.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime as PoolRuntime};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};

use super::error::FleetError;
use super::options::FleetOptions;
use super::{schema, tls};
use crate::catalog::known_node_id;
use crate::runtime::Runtime;
use crate::secret;

/// Connections at once: one for the heartbeat, one that replicates, one for commands; six for people's questions and two for those who
/// follow events; the others for work that is shared, which never waits for people.
const MOST_CONNECTIONS: usize = 12;
/// How long a connection may take to be made, with all hosts of the URL.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one host may take.
const ONE_HOST: Duration = Duration::from_secs(5);
/// How long a request may take for which no person waits.
const ANSWER: Duration = Duration::from_secs(15);
/// Within a transaction: the server gives up before [`ANSWER`] has passed. It would otherwise go on, or wait for a lock, although
/// the connection is closed, and the next attempt would wait behind it. It also ends what a process has begun that is suspended:
/// nobody else could change the same rows.
pub(super) const GIVE_UP: &str =
    "SET LOCAL statement_timeout = '12s'; SET LOCAL idle_in_transaction_session_timeout = '20s'";
/// How long a count of a whole batch may take.
const AT_LENGTH: Duration = Duration::from_secs(120);
/// The same of the server.
const GIVE_UP_AT_LENGTH: &str =
    "SET LOCAL statement_timeout = '110s'; SET LOCAL idle_in_transaction_session_timeout = '20s'";
/// How long a person waits, with the time for a connection.
pub(super) const SOON: Duration = Duration::from_secs(5);
/// The same of the server for a question of a person.
pub(super) const GIVE_UP_SOON: &str =
    "SET LOCAL statement_timeout = '3s'; SET LOCAL idle_in_transaction_session_timeout = '20s'";

/// A pool, of which no connection is made yet.
pub(super) fn pool(options: &FleetOptions) -> Result<Pool, FleetError> {
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config(options)?, tls::connector(options.ca_file.as_deref())?, manager_config);
    let pool = Pool::builder(manager)
        .max_size(MOST_CONNECTIONS)
        .wait_timeout(Some(CONNECT))
        .create_timeout(Some(CONNECT))
        .recycle_timeout(Some(ONE_HOST))
        .runtime(PoolRuntime::Tokio1);
    pool.build().map_err(|error| FleetError::Address(error.to_string()))
}

fn config(options: &FleetOptions) -> Result<Config, FleetError> {
    let url = options.database.as_deref().unwrap_or_default();
    let mut config = Config::from_str(url).map_err(|error| FleetError::Address(crate::fault::chain(&error)))?;
    // Of several hosts, the one that takes writes.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.connect_timeout(ONE_HOST).tcp_user_timeout(ANSWER).keepalives_idle(ANSWER);
    if is_tls_required(&config, url, options.ca_file.is_some()) {
        config.ssl_mode(SslMode::Require);
    }
    if config.get_application_name().is_none() {
        config.application_name("aftercast");
    }
    if let Some(from) = &options.password_file {
        let read = secret::read(from).map_err(|source| FleetError::Password { from: from.clone(), source })?;
        config.password(read.lines().next().unwrap_or_default());
    }
    Ok(config)
}

/// Whether a server that does not offer TLS is refused. Otherwise whoever is between could take TLS away, and read everything. What
/// the URL says counts.
fn is_tls_required(config: &Config, url: &str, has_ca_file: bool) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    if query.split('&').any(|parameter| parameter.starts_with("sslmode=")) {
        return false;
    }
    let is_remote = |host: &Host| match host {
        Host::Tcp(name) => has_ca_file || !is_loopback(name),
        Host::Unix(_) => false,
    };
    match config.get_hostaddrs() {
        [] => config.get_hosts().iter().any(is_remote),
        addresses => has_ca_file || addresses.iter().any(|address| !address.is_loopback()),
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| name.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// A connection of the pool.
pub(super) async fn client(pool: &Pool) -> Result<Client, FleetError> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => FleetError::Database(error),
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => FleetError::Busy,
        PoolError::Closed => FleetError::Away("the connection was closed".to_owned()),
        _ => FleetError::TimedOut(CONNECT),
    })
}

/// Does something with a connection. One that did not answer in time is not used again: the answer may still come, and is not that of
/// the next question.
pub(super) async fn with<T>(
    mut client: Client,
    ask: impl AsyncFnOnce(&mut Client) -> Result<T, FleetError>,
) -> Result<T, FleetError> {
    let answered = ask(&mut client).await;
    if matches!(answered, Err(FleetError::TimedOut(_))) {
        drop(Client::take(client));
    }
    answered
}

/// The number that a statement answers with.
pub(super) fn number_in(rows: &[Row]) -> Result<i64, FleetError> {
    rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(FleetError::Database)
}

/// Asks one thing in a transaction of its own, at most as long as [`GIVE_UP`] says. All of it is sent at once.
pub(super) async fn ask(
    client: &Client,
    sql: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, FleetError> {
    within(asked(client, GIVE_UP, sql, values)).await
}

/// The same where much has to be read and nothing depends on the answer.
pub(super) async fn ask_at_length(
    client: &Client,
    sql: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, FleetError> {
    before(AT_LENGTH, asked(client, GIVE_UP_AT_LENGTH, sql, values)).await
}

/// The same for a person, who does not wait as long.
pub(super) async fn ask_soon(
    client: &Client,
    sql: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, FleetError> {
    before(SOON, asked(client, GIVE_UP_SOON, sql, values)).await
}

async fn asked(
    client: &Client,
    give_up: &str,
    sql: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let bounded = format!("BEGIN; {give_up}");
    let answer = client.query_typed(sql, values);
    let ((), rows, ()) = tokio::try_join!(client.batch_execute(&bounded), answer, client.batch_execute("COMMIT"))?;
    Ok(rows)
}

/// Waits for an answer, but not for ever. A connection whose answer did not come must not be used again.
pub(super) async fn within<T, E: Into<FleetError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, FleetError> {
    before(ANSWER, answer).await
}

/// The same with a patience of one's own.
pub(super) async fn before<T, E: Into<FleetError>>(
    patience: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, FleetError> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answered) => answered.map_err(|error| match error.into() {
            error if error.is_given_up() => FleetError::TimedOut(patience),
            error => error,
        }),
        Err(_) => Err(FleetError::TimedOut(patience)),
    }
}

/// What `doctor` finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseCheck {
    /// Version of the server.
    pub server: String,
    /// Schema version of the tables; 0 if there are none yet.
    pub schema: i32,
}

/// Connects and looks. Nothing is changed. Blocks.
pub fn check(options: &FleetOptions, state_dir: &Path, runtime: &Runtime) -> Result<DatabaseCheck, FleetError> {
    known_node_id(state_dir)?;
    runtime.block_on(async {
        let pool = pool(options)?;
        let client = client(&pool).await?;
        let server = within(schema::require_server(&**client)).await?;
        let schema = within(schema::found(&**client)).await?;
        pool.close();
        Ok(DatabaseCheck { server, schema })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_the_network_must_offer_tls_unless_the_url_says_otherwise() {
        let mode = |url: &str, ca_file: Option<&str>| {
            let options = FleetOptions {
                database: Some(url.to_owned()),
                ca_file: ca_file.map(Into::into),
                ..FleetOptions::default()
            };
            config(&options).unwrap().get_ssl_mode()
        };
        for (url, ca_file, expected) in [
            ("postgres://a@db.example/x", None, SslMode::Require),
            ("postgres://a@127.0.0.1,10.0.0.2/x", None, SslMode::Require),
            ("postgres://a@db.example/x?sslmode=prefer", None, SslMode::Prefer),
            ("postgres://a@db.example/x?connect_timeout=3&sslmode=disable", Some("/ca.pem"), SslMode::Disable),
            ("postgres://a@localhost/x", None, SslMode::Prefer),
            ("postgres://a@127.0.0.1/x", None, SslMode::Prefer),
            ("postgres://a@[::1]/x", None, SslMode::Prefer),
            ("postgres://a@localhost/x", Some("/ca.pem"), SslMode::Require),
            ("postgres://a@localhost/x?hostaddr=10.0.0.2", None, SslMode::Require),
            ("postgres:///x?host=/run/postgresql&user=a", Some("/ca.pem"), SslMode::Prefer),
        ] {
            assert_eq!(mode(url, ca_file), expected, "{url}");
        }
    }
}
