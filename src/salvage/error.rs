//! What stops a salvage. A recording in which nothing is found is no error: its report says so.

use std::io;

use crate::fault::{Class, Fault};
use crate::isobmff::IsoError;

/// Why a recording could not be looked through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// The reader failed.
    #[error("cannot read the media of the recording")]
    Read(#[source] io::Error),
    /// The boxes of the file could not be read, or the new tables not be built.
    #[error("cannot rebuild the sample tables")]
    Tables(#[from] IsoError),
    /// The file has no media box to look through.
    #[error("there is no media box in the first bytes of the file")]
    NoMedia,
}

impl Fault for SalvageError {
    fn class(&self) -> Class {
        match self {
            Self::Read(error) => Class::of_io(error),
            Self::Tables(error) => error.class(),
            Self::NoMedia => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("The recording is untouched.".into())
    }
}
