//! What stops the reading or writing of a header.
//!
//! A damaged recording is data ([`Defect`]), not an error; [`IsoError::defect`] turns those errors that say something
//! about the recording into one. What remains are the reader's own input/output errors.

use std::io;

use crate::fault::{Class, Fault};
use crate::recording::Defect;

use super::boxes::FourCc;

/// Why a header could not be read, moved or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsoError {
    /// The reader failed.
    #[error("cannot read the media file at byte {offset}")]
    Io {
        /// Byte offset in the file.
        offset: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// There is no `moov` box (ISO/IEC 14496-12 §8.2.1).
    #[error("the file has no moov box")]
    NoMovieHeader,
    /// The structure contradicts itself so that nothing can be taken from it.
    #[error("malformed at byte {offset}: {detail}")]
    Malformed {
        /// Byte offset in the file.
        offset: u64,
        /// What the standard asks for, with its clause, and what is there.
        detail: String,
    },
    /// A bound that protects this process, not a rule of the standard.
    #[error("{what} is {found}; the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// The named limit.
        limit: u64,
    },
    /// A movie header that is compressed; it may expand to a thousand times its size, and what it holds to a thousand times that.
    #[error("the movie header at byte {offset} is compressed (`cmov`), which is not supported")]
    Compressed {
        /// Byte offset of the box at the top level that it is in.
        offset: u64,
    },
    /// Sound, but it cannot be moved without changing what it means.
    #[error("`{fourcc}` cannot be moved: {detail}")]
    Unmovable {
        /// The box.
        fourcc: FourCc,
        /// Why.
        detail: &'static str,
    },
}

impl IsoError {
    pub(super) fn io(offset: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { offset, source }
    }

    pub(super) fn malformed(offset: u64, detail: impl Into<String>) -> Self {
        Self::Malformed { offset, detail: detail.into() }
    }

    /// The defect that this says about the recording; `None` if it says something about the machine.
    pub fn defect(&self) -> Option<Defect> {
        match self {
            Self::Io { .. } => None,
            Self::NoMovieHeader => Some(Defect::NoMovieHeader),
            Self::Malformed { offset, detail } => {
                Some(Defect::Malformed { offset: Some(*offset), detail: detail.clone() })
            }
            Self::Limit { what, found, limit } => {
                Some(Defect::BeyondLimit { what: (*what).to_owned(), found: *found, limit: *limit })
            }
            Self::Compressed { .. } => Some(Defect::CompressedHeader),
            Self::Unmovable { .. } => Some(Defect::Malformed { offset: None, detail: self.to_string() }),
        }
    }
}

impl Fault for IsoError {
    fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } => Class::of_io(source),
            _ => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unmovable { .. } => Some(
                "The recording is safe and unchanged. Its header stays where it is; players can read it as it is."
                    .into(),
            ),
            Self::Compressed { .. } => Some(
                "The recording is safe and unchanged. `ffmpeg -i FILE -c copy NEW` writes it with a plain header, if you trust \
                 where it comes from."
                    .into(),
            ),
            Self::Malformed { .. } | Self::Limit { .. } | Self::NoMovieHeader => Some(
                "The recording is safe and unchanged. `aftercast recover FILE` tries to rebuild its sample tables."
                    .into(),
            ),
            Self::Io { .. } => None,
        }
    }
}

/// Most defects that one reading notes; a hostile file could cause one per byte.
pub(super) const MAX_NOTES: usize = 64;

/// Collects what is wrong while reading goes on with what is sound.
#[derive(Debug, Default)]
pub(super) struct DefectLog {
    defects: Vec<Defect>,
}

impl DefectLog {
    /// Notes a contradiction at a byte offset of the file.
    pub(super) fn malformed(&mut self, offset: u64, detail: impl Into<String>) {
        self.push(Defect::Malformed { offset: Some(offset), detail: detail.into() });
    }

    pub(super) fn push(&mut self, defect: Defect) {
        if self.defects.len() < MAX_NOTES {
            self.defects.push(defect);
        }
    }

    pub(super) fn into_defects(self) -> Vec<Defect> {
        self.defects
    }
}
