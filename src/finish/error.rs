//! What can go wrong while a recording is finished. Whatever it is, the source is where it was.

use std::error::Error;
use std::path::PathBuf;

use crate::durable::FileError;
use crate::fault::{Class, Fault};
use crate::isobmff::IsoError;
use crate::media::MediaError;
use crate::media::apart::ApartError;
use crate::recording::name::printable;
use crate::salvage::SalvageError;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// A file operation.
    #[error(transparent)]
    File(#[from] FileError),
    /// FFmpeg.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The process that decodes it.
    #[error("cannot decode `{}`", printable(path))]
    Decoder {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ApartError,
    },
    /// Reading or writing an ISO base media header.
    #[error("cannot read the header of `{}`", printable(path))]
    Header {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IsoError,
    },
    /// Looking through a recording without a header.
    #[error("cannot salvage `{}`", printable(path))]
    Salvage {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SalvageError,
    },
    /// The finished file does not hold what the source holds; it was thrown away.
    #[error("the file made from `{}` does not contain the same media: {detail}", printable(path))]
    NotTheSame {
        /// The source.
        path: PathBuf,
        /// Where they differ.
        detail: String,
    },
    /// The source changed while it was worked on: somebody writes it after all.
    #[error("`{}` changed while it was being finished", printable(path))]
    Changed {
        /// The source.
        path: PathBuf,
    },
    /// A splice in place was cut short and could not be taken back: the journal knows how to.
    #[error("finishing `{}` in place was interrupted", printable(path))]
    HalfDone {
        /// The source.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<FinishError>,
    },
    /// Not enough room for the finished file beside its source.
    #[error("finishing `{}` needs {needed_bytes} bytes, but only {free_bytes} are free", printable(path))]
    NoSpace {
        /// The source.
        path: PathBuf,
        /// What the finished file may need.
        needed_bytes: u64,
        /// What is there.
        free_bytes: u64,
    },
    /// The final name could not be chosen or reserved.
    #[error("cannot reserve a name for the finished file")]
    NoName {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What was about to be done could not be written into the journal; nothing was done.
    #[error("cannot write the next step to the journal")]
    NotJournalled {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Every numbered name is taken.
    #[error("every name for the finished file of `{}` is already in use", printable(path))]
    TooManyNames {
        /// The source.
        path: PathBuf,
    },
}

impl Fault for FinishError {
    fn class(&self) -> Class {
        match self {
            Self::File(e) => e.class(),
            Self::Media(e) => e.class(),
            Self::Decoder { source, .. } => source.class(),
            Self::Header { source, .. } => source.class(),
            Self::HalfDone { source, .. } => source.class(),
            Self::Salvage { source, .. } => source.class(),
            Self::Changed { .. } => Class::Transient,
            Self::NoSpace { .. } | Self::NoName { .. } | Self::NotJournalled { .. } => Class::Environment,
            Self::NotTheSame { .. } | Self::TooManyNames { .. } => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(e) => e.hint(),
            Self::Media(e) => e.hint(),
            Self::Header { source, .. } => source.hint(),
            Self::Salvage { source, .. } => source.hint(),
            Self::Changed { .. } => {
                Some("The recording is untouched; it is processed again when it no longer changes.".into())
            }
            Self::HalfDone { .. } => Some(
                "No byte of the recording is lost. It is completed or rolled back at the next attempt or start; do \
                 not change the state directory."
                    .into(),
            ),
            Self::NoSpace { .. } => Some(
                "The recording is safe where it is. Free space on its file system; it is retried automatically.".into(),
            ),
            Self::NotTheSame { path, .. } => Some(format!(
                "The recording is untouched and nothing was published; `aftercast inspect {}` shows its contents.",
                printable(path)
            )),
            Self::Decoder { .. } => {
                Some("The recording is untouched. `validate = \"packets\"` checks recordings without a decoder.".into())
            }
            Self::NoName { .. } | Self::NotJournalled { .. } | Self::TooManyNames { .. } => None,
        }
    }
}
