//! What can stop a stage: the error of the room that was asked, handed on as it is.

use std::path::PathBuf;

use crate::catalog::CatalogError;
use crate::deliver::DeliverError;
use crate::discover::DiscoverError;
use crate::durable::{FileError, RootError};
use crate::fault::{Class, Fault};
use crate::finish::FinishError;
use crate::fleet::{FleetError, RootRefusal};
use crate::recording::name::printable;

/// An error of this room. The rooms' own errors keep their words, classes and hints.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The catalogue, the journal or the state directory.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A root's names or its watch.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// A recording that could not be finished.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// A file operation.
    #[error(transparent)]
    File(#[from] FileError),
    /// A root that cannot be owned.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A root that another node has.
    #[error(transparent)]
    Refused(#[from] RootRefusal),
    /// The database of the fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A target.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// The runtime of asynchronous work cannot be started.
    #[error("cannot start the network runtime")]
    Runtime(#[source] std::io::Error),
    /// The threads cannot be started.
    #[error("cannot start the threads that finish recordings")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The threads that deliver cannot be started.
    #[error("cannot start the threads that upload")]
    Couriers(#[source] std::io::Error),
    /// A stop was requested while a recording was worked on.
    #[error("stopped")]
    Stopped,
    /// The program failed on a recording.
    #[error("internal error while processing this recording; please report it with the preceding log lines")]
    Panicked,
    /// A root is not mounted, or another directory stands under its path.
    #[error("the root `{}` is not available", printable(root))]
    RootUnavailable {
        /// The root.
        root: PathBuf,
    },
    /// A root is to be shared without a database.
    #[error("the root `{}` is shared, but `[fleet] database` is not set", printable(root))]
    NoFleet {
        /// The root.
        root: PathBuf,
    },
    /// A command without a daemon is to work on a shared root.
    #[error("the root `{}` is shared by several nodes: only a running daemon works on it", printable(root))]
    SharedNeedsDaemon {
        /// The root.
        root: PathBuf,
    },
    /// Another node works on the recording by now, or the database does not say that it is this one's.
    #[error("`{}` is not this node's to change: {why}", printable(path))]
    NotOurs {
        /// The recording.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing is to be watched.
    #[error("no directory to watch is configured")]
    NoRoots,
}

impl PipelineError {
    fn of_room(&self) -> Option<&dyn Fault> {
        match self {
            Self::Catalog(error) => Some(error),
            Self::Discover(error) => Some(error),
            Self::Finish(error) => Some(error),
            Self::File(error) => Some(error),
            Self::Root(error) => Some(error),
            Self::Deliver(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::Fleet(error) => Some(error),
            Self::Runtime(_)
            | Self::Threads(_)
            | Self::Couriers(_)
            | Self::Stopped
            | Self::Panicked
            | Self::NoRoots
            | Self::NoFleet { .. }
            | Self::SharedNeedsDaemon { .. }
            | Self::NotOurs { .. }
            | Self::RootUnavailable { .. } => None,
        }
    }
}

impl Fault for PipelineError {
    fn class(&self) -> Class {
        match self {
            Self::NoRoots | Self::NoFleet { .. } | Self::Panicked => Class::Permanent,
            Self::Stopped => Class::Cancelled,
            Self::NotOurs { .. } => Class::Transient,
            _ => self.of_room().map_or(Class::Environment, Fault::class),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRoots => Some("Set `roots` in the section `[watch]`.".into()),
            Self::NoFleet { .. } => {
                Some("Nothing was changed. Set `database` in the section `[fleet]`, the same on every node.".into())
            }
            Self::SharedNeedsDaemon { .. } => Some(
                "Nothing was changed. Start `aftercast watch`; then run the command again with the same configuration."
                    .into(),
            ),
            Self::RootUnavailable { .. } => Some(
                "Nothing there is changed. Mount it, or correct the path; work resumes when it is available again."
                    .into(),
            ),
            Self::NotOurs { .. } => Some("Nothing there is changed; the node whose it is finishes it.".into()),
            Self::Runtime(_) | Self::Threads(_) | Self::Couriers(_) => Some(
                "Raise the limit on threads (`TasksMax=` of the unit, `ulimit -u`), or set fewer `jobs` and a lower \
                 `concurrency`."
                    .into(),
            ),
            Self::Panicked => Some("The recording is untouched; other recordings are processed.".into()),
            _ => self.of_room().and_then(Fault::hint),
        }
    }
}
