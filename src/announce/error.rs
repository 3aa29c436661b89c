//! Why an endpoint did not take an event.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::catalog::CatalogError;
use crate::fault::{Class, Fault};
use crate::printable::Printable;
use crate::recording::name::printable;

/// Why an endpoint did not take an event; it is tried again in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The secret cannot be read.
    #[error("cannot read the secret `{}`", printable(from))]
    Secret {
        /// File, or `env:NAME`.
        from: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret is not what the signature needs.
    #[error("the secret `{}` is {what}", printable(from))]
    BadSecret {
        /// File, or `env:NAME`.
        from: PathBuf,
        /// What is wrong, to follow "is".
        what: &'static str,
    },
    /// The request could not be sent, or was not answered.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// It was answered by something other than 2xx.
    #[error("answered with HTTP status {0}")]
    Status(u16),
    /// The answer or the end of the command did not come in time.
    #[error("not done within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The command cannot be run.
    #[error("cannot run `{}`", Printable(program))]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The command failed.
    #[error("the command ended with {0}")]
    Ended(ExitStatus),
    /// The program is to end.
    #[error("stopped")]
    Stopped,
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The attempt panicked.
    #[error("the program failed; please report it with the lines of the log")]
    Panicked,
    /// No endpoint has this name.
    #[error("no endpoint is called `{}`", Printable(.0))]
    NoSuchEndpoint(String),
}

impl Fault for AnnounceError {
    fn class(&self) -> Class {
        match self {
            Self::Secret { .. } | Self::BadSecret { .. } | Self::Spawn { .. } => Class::Environment,
            Self::Request(_) | Self::Status(_) | Self::TimedOut(_) | Self::Ended(_) => Class::Transient,
            Self::Stopped => Class::Cancelled,
            Self::Catalog(error) => error.class(),
            Self::Panicked | Self::NoSuchEndpoint(_) => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Secret { .. } => Some("Correct `secret_file`, or let this user read the file.".to_owned()),
            Self::NoSuchEndpoint(_) => {
                Some("Name one of the configuration: `webhook/NAME`, `command/NAME` or NAME.".to_owned())
            }
            Self::Catalog(error) => error.hint(),
            _ => None,
        }
    }
}
