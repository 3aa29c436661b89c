//! What to do about an error, not where it came from.
//!
//! Every room has one error enum of its own, by meaning, and says its [`Class`] through [`Fault`]. There is
//! no crate-wide error type: it would have to import every room and be imported by every room. A damaged
//! recording is not an error at all but a [`Defect`](crate::recording::Defect), data that travels with it.

use std::error::Error;
use std::io;

use crate::printable::Printable;

/// What the caller should do about an error.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The work was told to stop; nothing is wrong.
    Cancelled,
    /// Try again later by itself: the network, a busy store, a file that changed under the work.
    Transient,
    /// The surroundings must change first (disk full, permission, credentials); everything of the same kind
    /// would fail alike, so it is said once and tried again slowly.
    Environment,
    /// Trying again cannot help: this one recording or object needs a person.
    Permanent,
}

impl Class {
    /// Its name, as JSON and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Transient => "transient",
            Self::Environment => "environment",
            Self::Permanent => "permanent",
        }
    }

    /// Classifies an operating system error by what can be done about it.
    pub fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::PermissionDenied
            | K::StorageFull
            | K::QuotaExceeded
            | K::ReadOnlyFilesystem
            | K::FileTooLarge
            | K::CrossesDevices => Self::Environment,
            K::InvalidInput
            | K::InvalidFilename
            | K::InvalidData
            | K::Unsupported
            | K::IsADirectory
            | K::NotADirectory => Self::Permanent,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Self::Environment,
            _ => Self::Transient,
        }
    }
}

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// An error that knows what to do about it.
pub trait Fault: Error {
    /// What the caller should do.
    fn class(&self) -> Class;

    /// What the operator can do next and what is safe meanwhile, as full sentences; printed under the error.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Joins an error and its sources with colons, for a log field or a journal entry; safe to print.
pub fn chain(error: &dyn Error) -> String {
    Printable(raw_chain(error)).to_string()
}

/// The same with every character as it came, to look for something in it; not to be printed.
pub fn raw_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}

/// What lies under an error, the nearest first, without what was already said by the one above; not safe to print.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        if !said.ends_with(&words) {
            causes.push(words.clone());
        }
        said = words;
        next = source.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_surroundings_and_a_lost_connection_is_not() {
        assert_eq!(Class::of_io(&io::Error::from_raw_os_error(28)), Class::Environment);
        assert_eq!(Class::of_io(&io::Error::from_raw_os_error(104)), Class::Transient);
        assert_eq!(Class::of_io(&io::Error::from_raw_os_error(EMFILE)), Class::Environment);
        assert_eq!(Class::of_io(&io::ErrorKind::InvalidData.into()), Class::Permanent);
    }

    #[test]
    fn a_chain_does_not_say_the_same_thing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open `x`")]
        struct Outer(#[source] io::Error);
        let said = chain(&Outer(io::Error::other("gone")));
        assert_eq!(said, "cannot open `x`: gone");
        assert_eq!(chain(&io::Error::other("a\u{1b}[2J\nb\u{202e}")), "a\\u{1b}[2J\\u{a}b\\u{202e}");
    }
}
