//! Connections to the database: a small pool, made anew after each failure, so that a password or a certificate that was replaced
//! is used. Every wait has an end.

use std::future::Future;
use std::str::FromStr as _;
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime as PoolRuntime};
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use super::error::FleetError;
use super::options::FleetOptions;
use super::{schema, tls};
use crate::runtime::Runtime;
use crate::secret;

/// Connections at once: one for the heartbeat, one that replicates, the others for lists.
const MOST_CONNECTIONS: usize = 5;
/// How long a connection may take to be made, with all hosts of the URL.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one host may take.
const ONE_HOST: Duration = Duration::from_secs(5);
/// How long a request may take.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

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
    if config.get_application_name().is_none() {
        config.application_name("aftercast");
    }
    if let Some(from) = &options.password_file {
        let read = secret::read(from).map_err(|source| FleetError::Password { from: from.clone(), source })?;
        config.password(read.lines().next().unwrap_or_default());
    }
    Ok(config)
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

/// Waits for an answer, but not for ever. A connection whose answer did not come must not be used again.
pub(super) async fn within<T, E: Into<FleetError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, FleetError> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(FleetError::TimedOut(ANSWER)),
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
pub fn check(options: &FleetOptions, runtime: &Runtime) -> Result<DatabaseCheck, FleetError> {
    runtime.block_on(async {
        let pool = pool(options)?;
        let client = client(&pool).await?;
        let server = within(schema::require_server(&**client)).await?;
        let schema = within(schema::found(&**client)).await?;
        pool.close();
        Ok(DatabaseCheck { server, schema })
    })
}
