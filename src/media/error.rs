//! What can go wrong between a recording and FFmpeg. A damaged recording is a [`Defect`], not an error; only a
//! recording that cannot be finished at all comes back as [`MediaError::Unfinishable`] with its defects.

use std::io;
use std::path::{Path, PathBuf};

use crate::fault::{Class, Fault};
use crate::recording::name::printable;
use crate::recording::{Container, Defect};

/// An error of this room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The file cannot be opened.
    #[error("cannot open `{}`", printable(path))]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read on.
    #[error("cannot read `{}` at byte {offset}", printable(path))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write `{}`", printable(path))]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The demuxer finds nothing it understands.
    #[error("`{}` cannot be read as {}: {detail}", printable(path), container.extension())]
    NotReadable {
        /// Which file.
        path: PathBuf,
        /// What it was taken for.
        container: Container,
        /// FFmpeg's words.
        detail: String,
    },
    /// The recording cannot be finished; it belongs into quarantine with these defects.
    #[error("`{}` cannot be finished: {}", printable(path), in_words(defects))]
    Unfinishable {
        /// Which file.
        path: PathBuf,
        /// Why, at least one.
        defects: Vec<Defect>,
    },
    /// A track whose codec this FFmpeg cannot read out of this container.
    #[error("`{}`, track {track}: {codec} in {} cannot be read by this FFmpeg", printable(path), container.extension())]
    UnreadableTrack {
        /// Which file.
        path: PathBuf,
        /// Track number, starting at 1.
        track: u32,
        /// What it is.
        codec: String,
        /// Where it lies.
        container: Container,
    },
    /// A sound or picture track that the wanted container cannot carry.
    #[error("`{}`, track {track}: {} cannot carry {codec}", printable(path), container.extension())]
    DoesNotFit {
        /// Which file.
        path: PathBuf,
        /// Track number, starting at 1.
        track: u32,
        /// Its codec.
        codec: String,
        /// The wanted container.
        container: Container,
    },
    /// FFmpeg refuses a step, for a reason that is neither the disk nor a known defect.
    #[error("FFmpeg cannot {action} `{}`: {detail}", printable(path))]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// FFmpeg's words.
        detail: String,
    },
    /// This FFmpeg lacks a part.
    #[error("this FFmpeg has no {part}")]
    Missing {
        /// The demuxer, muxer, encoder or decoder.
        part: String,
    },
    /// FFmpeg's libraries are not there, or not those that this program was built for.
    #[error("FFmpeg cannot be loaded: {detail}")]
    NotLoaded {
        /// Which library or function is missing, in the loader's words.
        detail: String,
    },
    /// The work was told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl MediaError {
    pub(super) fn open(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Open { path: path.to_owned(), source }
    }

    /// A recording that goes into quarantine for this one defect.
    pub fn unfinishable(path: &Path, defect: Defect) -> Self {
        Self::Unfinishable { path: path.to_owned(), defects: vec![defect] }
    }

    /// The defects that a recording goes into quarantine with, if this error says that it should.
    pub fn defects(&self) -> &[Defect] {
        if let Self::Unfinishable { defects, .. } = self { defects } else { &[] }
    }
}

fn in_words(defects: &[Defect]) -> String {
    defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Fault for MediaError {
    fn class(&self) -> Class {
        match self {
            Self::Cancelled => Class::Cancelled,
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => Class::of_io(source),
            Self::Missing { .. } | Self::NotLoaded { .. } => Class::Environment,
            _ => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "The original is untouched. Free space on that file system; the recording is retried automatically."
                    .into()
            }
            Self::UnreadableTrack { .. } => {
                "The original is untouched. A newer FFmpeg may read it; nothing is left out silently.".into()
            }
            Self::NotReadable { .. } | Self::Unfinishable { .. } => {
                "The original is untouched and stays where it is.".into()
            }
            Self::Missing { .. } => "Install a complete FFmpeg; `aftercast doctor` lists what is missing.".into(),
            Self::NotLoaded { .. } => {
                "No recording was touched. Install the FFmpeg libraries that aftercast was built with, or rebuild \
                 it with the installed ones; `aftercast doctor` tries to load them."
                    .into()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_under_the_muxer_is_the_surroundings() {
        let error = MediaError::Write { path: "o.mp4".into(), source: io::Error::from_raw_os_error(28) };
        assert_eq!(error.class(), Class::Environment);
        assert!(error.hint().unwrap().contains("Free space"));
        assert_eq!(MediaError::Cancelled.class(), Class::Cancelled);
    }
}
