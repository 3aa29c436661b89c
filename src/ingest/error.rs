//! Why the configuration of an ingest server cannot be read. No message repeats a value of it.

use std::io;
use std::path::PathBuf;

use crate::fault::{Class, Fault};
use crate::printable::Printable;

/// A configuration of a server that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A file cannot be read.
    #[error("cannot read the server's configuration `{}`", Printable::path(path))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is none.
    #[error("no configuration of {server} was found: it is neither running here nor installed in its usual place")]
    NotFound {
        /// Whose.
        server: &'static str,
    },
    /// A file is not what it should be.
    #[error("`{}`, line {line}: {}", Printable::path(path), Printable(what))]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where, from 1 on.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A file, or what it includes, is more than is read.
    #[error("`{}`: {what}", Printable::path(path))]
    TooMuch {
        /// Which.
        path: PathBuf,
        /// What there is too much of.
        what: String,
    },
}

impl IngestError {
    /// For a place in a file.
    pub(super) fn syntax(path: &std::path::Path, line: usize, what: impl Into<String>) -> Self {
        Self::Syntax { path: path.to_owned(), line, what: what.into() }
    }

    /// For a limit.
    pub(super) fn too_much(path: &std::path::Path, what: impl Into<String>) -> Self {
        Self::TooMuch { path: path.to_owned(), what: what.into() }
    }
}

impl Fault for IngestError {
    fn class(&self) -> Class {
        Class::Permanent
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "Nothing was changed. Run the command as a user that may read the file.".into()
            }
            Self::NotFound { .. } => "Nothing was changed. Name the file of its configuration.".into(),
            Self::Unreadable { .. } => "Nothing was changed. Check the path of the server's configuration.".into(),
            Self::Syntax { .. } | Self::TooMuch { .. } => {
                "Nothing was changed. Correct the server's configuration, or write the settings for aftercast yourself: \
                 `config.toml.example` has every key."
                    .into()
            }
        })
    }
}
