//! What can go wrong in a delivery, by meaning.
//!
//! The outside crates' errors are kept only as boxed sources; no message carries a credential.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnose::{Cause, Provider, Verb};
use crate::durable::FileError;
use crate::fault::{Class, Fault};
use crate::recording::name::{printable, printable_text};

/// A delivery that did not succeed. The local recording is untouched in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// A target that cannot work as it is configured.
    #[error("target `{target}`: {problem}")]
    Configuration {
        /// Name of the target.
        target: String,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        advice: String,
    },
    /// A name that no target has.
    #[error("there is no target `{0}`")]
    UnknownTarget(String),
    /// The work was told to stop.
    #[error("the upload was stopped")]
    Cancelled,
    /// The local file cannot be read.
    #[error("the recording cannot be uploaded")]
    Source(#[source] FileError),
    /// The local file is not the one that was queued, or changed while it was read.
    #[error("`{}` changed since it was queued", printable(path))]
    SourceChanged {
        /// Which file.
        path: PathBuf,
    },
    /// The store refused or could not be reached.
    #[error("target `{target}`: cannot {} `{}`: {cause}", verb.words(), printable_text(key))]
    Store {
        /// Name of the target.
        target: String,
        /// What was tried.
        verb: Verb,
        /// On which key.
        key: String,
        /// Which family of stores it is.
        provider: Provider,
        /// Why.
        cause: Cause,
        /// How long the store asks to be left alone.
        ask_again_after: Option<Duration>,
        /// What the store or the network said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store reports something else than what was sent.
    #[error("target `{target}`: `{}` does not match: {what} is {theirs}, expected {ours}", printable_text(key))]
    Mismatch {
        /// Name of the target.
        target: String,
        /// On which key.
        key: String,
        /// What was compared.
        what: &'static str,
        /// What was read from disk.
        ours: String,
        /// What the store reports.
        theirs: String,
    },
    /// The directory of a `file://` target is not there.
    #[error("target `{target}`: the directory `{}` does not exist", printable(path))]
    DirectoryMissing {
        /// Name of the target.
        target: String,
        /// Which directory.
        path: PathBuf,
    },
    /// A `file://` target cannot be written.
    #[error("target `{target}` cannot be written")]
    Disk {
        /// Name of the target.
        target: String,
        /// What the operating system said.
        #[source]
        source: FileError,
    },
    /// Every numbered key is taken by other content.
    #[error(
        "target `{target}`: `{}` and {tried} numbered names are already in use by other content",
        printable_text(key)
    )]
    NoFreeName {
        /// Name of the target.
        target: String,
        /// The first key tried.
        key: String,
        /// How many numbers were tried.
        tried: u32,
    },
    /// The same content was stored again and again, and the store never reported it as what was sent.
    #[error(
        "target `{target}`: the store's checksums cannot be trusted: {stored} copies of one recording, up to `{}`, \
         do not match the data that was sent",
        printable_text(key)
    )]
    Untrusted {
        /// Name of the target.
        target: String,
        /// The last key.
        key: String,
        /// How many objects were stored.
        stored: u32,
    },
    /// The state of an upload cannot be remembered.
    #[error("cannot save the state of the upload")]
    Ledger(#[source] Box<dyn Error + Send + Sync>),
    /// The system has no memory for what is read.
    #[error("not enough memory to read the recording")]
    Memory(#[source] std::io::Error),
}

/// Result of a delivery.
pub type Result<T> = std::result::Result<T, DeliverError>;

impl DeliverError {
    /// Whether the configuration has to change first.
    #[cfg(test)]
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Configuration { .. } | Self::UnknownTarget(_))
    }

    /// Whether it would meet every other file on its way to the same target as well.
    pub fn is_of_the_target(&self) -> bool {
        let is_elsewhere = matches!(
            self,
            Self::Source(_)
                | Self::SourceChanged { .. }
                | Self::NoFreeName { .. }
                | Self::Ledger(_)
                | Self::Memory(_)
                | Self::Cancelled
        );
        !is_elsewhere && self.class() == Class::Environment
    }

    /// Whether it was given up without a word from the store.
    pub const fn is_silence(&self) -> bool {
        matches!(self.cause(), Some(Cause::Dns | Cause::Refused | Cause::Timeout | Cause::ConnectionLost))
    }

    /// Whether the store reported an error of its own or is busy: that tells nothing of the recording.
    pub const fn is_of_the_store(&self) -> bool {
        matches!(self.cause(), Some(Cause::Throttled | Cause::ServerError))
    }

    /// How long the store asks to be left alone, if it does.
    pub const fn ask_again_after(&self) -> Option<Duration> {
        match self {
            Self::Store { ask_again_after, .. } => *ask_again_after,
            _ => None,
        }
    }

    /// Why the store refused, if it did.
    pub const fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Store { cause, .. } => Some(cause),
            _ => None,
        }
    }

    pub(super) fn configuration(target: &str, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Configuration { target: target.to_owned(), problem: problem.into(), advice: advice.into() }
    }

    pub(crate) fn changed(path: &Path) -> Self {
        Self::SourceChanged { path: path.to_owned() }
    }

    pub(super) fn disk(target: &str) -> impl FnOnce(FileError) -> Self {
        let target = target.to_owned();
        move |source| Self::Disk { target, source }
    }
}

impl Fault for DeliverError {
    fn class(&self) -> Class {
        match self {
            Self::Configuration { .. }
            | Self::UnknownTarget(_)
            | Self::DirectoryMissing { .. }
            | Self::Untrusted { .. } => Class::Environment,
            Self::Cancelled => Class::Cancelled,
            Self::Source(file) if file.is_missing() => Class::Permanent,
            Self::Source(source) | Self::Disk { source, .. } => source.class(),
            Self::SourceChanged { .. } | Self::Mismatch { .. } | Self::Ledger(_) | Self::Memory(_) => Class::Transient,
            Self::Store { cause, .. } => cause.class(),
            Self::NoFreeName { .. } => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Configuration { advice, .. } => advice.clone(),
            Self::UnknownTarget(_) => {
                "Use the name of a `[[deliver.target]]`; deliveries to an unknown target stay queued.".into()
            }
            Self::Cancelled => return None,
            Self::Ledger(_) => {
                "The recording is safe on the local disk; run `aftercast catalog check` for details.".into()
            }
            Self::Memory(_) => "The recording is safe on the local disk; the upload is retried automatically.".into(),
            Self::Source(source) | Self::Disk { source, .. } => return source.hint(),
            Self::SourceChanged { .. } => {
                "Nothing counts as delivered. The file is processed again when it is no longer being written.".into()
            }
            Self::Store { cause, .. } => format!("The recording is safe on the local disk. {}", cause.advice()),
            Self::Mismatch { .. } => {
                "The recording is safe on the local disk and is uploaded again; nothing is freed without proof.".into()
            }
            Self::DirectoryMissing { path, .. } => format!(
                "Mount the disk or create `{}`; it is not created automatically, because without the mount, data \
                 would fill the file system below the mount point. The recording is safe where it is.",
                printable(path)
            ),
            Self::Untrusted { .. } => {
                "The recording is safe on the local disk. Check `endpoint` and any gateway or cache in front of \
                 the store: size and checksum of an object must match the data that was sent. Then remove the \
                 numbered copies and run `aftercast queue retry`."
                    .into()
            }
            Self::NoFreeName { .. } => "Check the object under this key in the store, and the key pattern.".into(),
        })
    }
}
