//! Why the database of the fleet did not do what it was asked for. Local recordings are finished, catalogued, delivered and freed
//! in every case.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::catalog::{CatalogError, NODE_ID_FILE};
use crate::durable::{FileError, ROOT_FILE};
use crate::fault::{Class, Fault};
use crate::printable::Printable;
use crate::recording::name::printable;

/// Something that the fleet's database was to do did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// The URL cannot be used.
    #[error("`fleet.database` cannot be used: {0}")]
    Address(String),
    /// The password cannot be read.
    #[error("cannot read the database password `{}`", printable(from))]
    Password {
        /// File, or `env:NAME`.
        from: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificates cannot be read.
    #[error("cannot read the certificates `{}`: {reason}", printable(from))]
    Certificates {
        /// The file.
        from: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for the database: {0}")]
    Tls(String),
    /// The database refused, or the connection to it failed.
    #[error("the fleet database failed")]
    Database(#[from] tokio_postgres::Error),
    /// It did not answer in time.
    #[error("the fleet database did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// This node is not connected to it.
    #[error("the fleet database cannot be asked: {0}")]
    Away(String),
    /// Every connection is in use.
    #[error("all connections to the fleet database are in use")]
    Busy,
    /// A newer version of this program has changed the tables.
    #[error("the fleet database has schema {found}, this version reads up to {known}")]
    Newer {
        /// Its schema version.
        found: i32,
        /// The newest schema version this program knows.
        known: i32,
    },
    /// The tables are not there, and this command does not make them.
    #[error("the fleet database has no tables of aftercast yet")]
    NoTables,
    /// The server is too old.
    #[error("the fleet database runs PostgreSQL {found}, which is older than {known}")]
    Old {
        /// Its major version.
        found: i32,
        /// The oldest that is supported.
        known: i32,
    },
    /// Its text is not Unicode.
    #[error("the fleet database has the encoding {}, not UTF8", Printable(.0))]
    Encoding(String),
    /// Another process uses this node's identity.
    #[error(
        "another process uses the identity of this node (host `{}`, last heartbeat {age_s} s ago)",
        Printable(host)
    )]
    IdentityInUse {
        /// Where it runs.
        host: String,
        /// How long ago it was heard of, seconds.
        age_s: i64,
    },
    /// Another process has taken this node's identity after this one was silent.
    #[error("another process has taken the identity of this node")]
    Superseded,
    /// A directory that is to be adopted is no root.
    #[error("`{}` is not a root of aftercast: it has no readable `.aftercast-root`", printable(.0))]
    NotARoot(PathBuf),
    /// A root that is to be adopted is shared.
    #[error("the root is shared by several nodes and belongs to none of them")]
    SharedRoot,
    /// A root that is to be adopted is that of a node that is alive.
    #[error("the root belongs to the node `{}`, which is running", Printable(.0))]
    OwnerAlive(String),
    /// The file in a root cannot be written.
    #[error(transparent)]
    Marker(FileError),
    /// No node has this name.
    #[error("no node is called `{}`", Printable(.0))]
    NoSuchNode(String),
    /// No batch has this number.
    #[error("no batch has the id {0}")]
    NoSuchBatch(i64),
    /// A batch of the same kind works on the same root.
    #[error("batch {batch_id} is already working on `{}`", Printable(root))]
    BatchActive {
        /// Its number.
        batch_id: i64,
        /// The root.
        root: String,
    },
    /// The batch has ended.
    #[error("batch {batch_id} is {state}")]
    BatchEnded {
        /// Its number.
        batch_id: i64,
        /// How it ended.
        state: &'static str,
    },
    /// A cursor of another listing.
    #[error("`after` takes the `next` value of the previous page")]
    Cursor,
    /// A row that this version does not understand.
    #[error("a record in the fleet database cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The local catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl FleetError {
    fn is(&self, states: &[SqlState]) -> bool {
        matches!(self, Self::Database(error) if error.code().is_some_and(|code| states.contains(code)))
    }

    /// Whether the server gave up because it took too long.
    pub(super) fn is_given_up(&self) -> bool {
        self.is(&[SqlState::QUERY_CANCELED])
    }

    /// Whether the database does not take a value: a data exception, or a limit of the server.
    pub(super) fn is_refused_value(&self) -> bool {
        let Self::Database(error) = self else { return false };
        error.code().is_some_and(|state| state.code().starts_with("22") || state.code().starts_with("54"))
    }

    fn is_refused_login(&self) -> bool {
        self.is(&[SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION])
    }

    fn is_not_allowed(&self) -> bool {
        self.is(&[SqlState::INSUFFICIENT_PRIVILEGE])
    }
}

impl Fault for FleetError {
    fn class(&self) -> Class {
        match self {
            Self::Address(_)
            | Self::NoSuchNode(_)
            | Self::NoSuchBatch(_)
            | Self::BatchActive { .. }
            | Self::BatchEnded { .. }
            | Self::Cursor
            | Self::Unreadable(_)
            | Self::NotARoot(_)
            | Self::SharedRoot
            | Self::OwnerAlive(_) => Class::Permanent,
            Self::Password { .. }
            | Self::Certificates { .. }
            | Self::Tls(_)
            | Self::Newer { .. }
            | Self::Old { .. }
            | Self::Encoding(_)
            | Self::IdentityInUse { .. }
            | Self::Superseded => Class::Environment,
            Self::Database(_) if self.is_refused_login() || self.is_not_allowed() => Class::Environment,
            Self::Database(_) if self.is(&[SqlState::INVALID_CATALOG_NAME]) => Class::Environment,
            Self::Database(_) | Self::TimedOut(_) | Self::Away(_) | Self::Busy | Self::NoTables => Class::Transient,
            Self::Catalog(error) => error.class(),
            Self::Marker(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Address(_) => "Correct `fleet.database`, for example \"postgres://aftercast@db.example/aftercast\".".to_owned(),
            Self::Password { .. } => "Correct `fleet.password_file`, or let this user read the file.".to_owned(),
            Self::Certificates { .. } => "Correct `fleet.ca_file`: certificates in PEM form.".to_owned(),
            Self::Database(_) if self.is_refused_login() => {
                "Check the user in `fleet.database` and the password in `fleet.password_file`; the server's log and `pg_hba.conf` say more. \
                 Local recordings are processed as usual."
                    .to_owned()
            }
            Self::Database(_) if self.is_not_allowed() => {
                "Run `GRANT CREATE ON DATABASE … TO …` for this user, or let an administrator start aftercast once. \
                 Local recordings are processed as usual."
                    .to_owned()
            }
            Self::Database(_) if self.is(&[SqlState::INVALID_CATALOG_NAME]) => {
                "Create the database with `createdb`, or correct its name in `fleet.database`.".to_owned()
            }
            Self::Newer { .. } => {
                "Update aftercast on this node to the version of the other nodes. Local recordings are processed as usual.".to_owned()
            }
            Self::Encoding(_) => "Create another one with `createdb --encoding=UTF8 --template=template0 NAME`, and name it in `fleet.database`. \
                 Nothing was changed. Local recordings are processed as usual."
                .to_owned(),
            Self::Old { known, .. } => format!("Use PostgreSQL {known} or later."),
            Self::IdentityInUse { .. } => format!(
                "If this machine or its state directory is a copy of another, stop aftercast here, delete `{NODE_ID_FILE}` in this state directory and \
                 start it again: it becomes a node of its own. If this host has just restarted, no action is needed: the identity is free after 30 s. \
                 Local recordings are processed as usual."
            ),
            Self::Superseded => format!(
                "If two machines have copies of one state directory, delete `{NODE_ID_FILE}` in one of them and restart aftercast there. \
                 Local recordings are processed as usual."
            ),
            Self::NoSuchBatch(_) => "`aftercast batch status` lists the batches.".to_owned(),
            Self::BatchActive { batch_id, .. } => format!(
                "Nothing was started. Wait until it is done, or end it with `aftercast batch cancel {batch_id}`."
            ),
            Self::BatchEnded { .. } => "Nothing was changed. Start another one with `aftercast batch start`.".to_owned(),
            Self::NoSuchNode(_) => "The names of the nodes are in the NODE column of `aftercast vod list`.".to_owned(),
            Self::Tls(_) | Self::TimedOut(_) | Self::Away(_) | Self::Busy | Self::Database(_) | Self::NoTables => {
                "Local recordings are processed as usual; the database is told about them when it answers again.".to_owned()
            }
            Self::NotARoot(_) => {
                "Nothing was changed. Name the directory that the other node had in `watch.roots`. A directory that never was a root \
                 needs no adoption: add it to `watch.roots` here."
                    .to_owned()
            }
            Self::SharedRoot => "Nothing was changed. Set `shared = true` for it in `[[watch.root]]`: every node may work on it.".to_owned(),
            Self::OwnerAlive(node) => format!(
                "Nothing was changed. Stop aftercast on `{}`; a node that was not stopped properly counts as running for 30 s. If the \
                 directory is a copy of that node's, delete `{ROOT_FILE}` in it: it becomes a root of its own.",
                Printable(node)
            ),
            Self::Cursor | Self::Unreadable(_) => return None,
            Self::Catalog(error) => return error.hint(),
            Self::Marker(error) => return error.hint(),
        })
    }
}
