//! What can go wrong with one object, by meaning.

use crate::deliver::DeliverError;
use crate::durable::FileError;
use crate::fault::{Class, Fault};
use crate::finish::FinishError;
use crate::human;
use crate::recording::name::printable_text;

/// An object that could not be finished. It is unchanged in every case.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store.
    #[error(transparent)]
    Store(#[from] DeliverError),
    /// The recording could not be finished in scratch space.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// A file in scratch space.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was written while it was worked on.
    #[error("`{}` changed while it was processed", printable_text(key))]
    Changed {
        /// Its key.
        key: String,
    },
    /// It does not fit.
    #[error("needs {} of scratch space, and {} are available", human::size(*needed_bytes), human::size(*available_bytes))]
    NoRoom {
        /// Bytes that it needs: the object, and what is made of it.
        needed_bytes: u64,
        /// Bytes that there are.
        available_bytes: u64,
        /// Whether the setting is what is in the way, not the disk.
        is_by_setting: bool,
    },
    /// The object that was made is not what it was to be.
    #[error("the new object `{}` differs from what was planned: {what}; it was removed", printable_text(key))]
    Differs {
        /// Its key.
        key: String,
        /// What differs.
        what: String,
    },
    /// Its key cannot be named in a request.
    #[error("the key `{}` cannot be used: it has an empty part, `.` or `..` between slashes", printable_text(key))]
    Unnameable {
        /// Its key.
        key: String,
    },
    /// Every numbered key is taken.
    #[error("`{}` and {tried} numbered keys are already in use", printable_text(key))]
    NoFreeKey {
        /// The first key that was tried.
        key: String,
        /// How many numbers were tried.
        tried: u32,
    },
    /// Somebody else works on it by now.
    #[error("another node works on `{}` by now", printable_text(key))]
    NotOurs {
        /// Its key.
        key: String,
    },
    /// The work was told to stop.
    #[error("stopped")]
    Stopped,
}

/// Result of work on an object.
pub type Result<T> = std::result::Result<T, ArchiveError>;

const UNCHANGED: &str = "The object is unchanged.";

impl Fault for ArchiveError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Finish(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Changed { .. } | Self::NotOurs { .. } => Class::Transient,
            Self::NoRoom { .. } => Class::Environment,
            Self::Differs { .. } | Self::Unnameable { .. } | Self::NoFreeKey { .. } => Class::Permanent,
            Self::Stopped => Class::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        let next = match self {
            Self::Store(error) => match error.cause() {
                Some(cause) => cause.advice(),
                None => return error.hint(),
            },
            Self::Finish(error) => return error.hint().or_else(|| Some(UNCHANGED.to_owned())),
            Self::File(error) => return error.hint(),
            Self::Changed { .. } => "Run the command again when nothing writes it any more.".to_owned(),
            Self::NoRoom { is_by_setting: true, .. } => "Raise `archive.scratch_size`.".to_owned(),
            Self::NoRoom { is_by_setting: false, .. } => {
                "Free disk space, or set `archive.scratch_dir` to a larger disk.".to_owned()
            }
            Self::Differs { .. } => {
                "The store's copies of ranges cannot be trusted; please report it with the name of the store."
                    .to_owned()
            }
            Self::Unnameable { .. } => {
                "Copy it to another key with a tool of the store, and run the command again.".to_owned()
            }
            Self::NoFreeKey { .. } => "Remove what was made of it earlier, if it is not needed.".to_owned(),
            Self::NotOurs { .. } => "Nothing has to be done: the other node finishes it.".to_owned(),
            Self::Stopped => "Run the command again to go on.".to_owned(),
        };
        Some(format!("{UNCHANGED} {next}"))
    }
}
