//! Why a clip cannot be made.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::catalog::CatalogError;
use crate::deliver::{Cause, DeliverError};
use crate::durable::FileError;
use crate::fault::{Class, Fault};
use crate::isobmff::IsoError;
use crate::recording::Container;
use crate::recording::name::{printable, printable_text};

/// Why a clip cannot be made. Nothing was begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// It would have no length.
    #[error("the clip ends ({}) at or before its start ({})", at(*end_ms), at(*start_ms))]
    Reversed {
        /// Milliseconds since the Unix epoch.
        start_ms: i64,
        /// Milliseconds since the Unix epoch.
        end_ms: i64,
    },
    /// It would be longer than clips can be.
    #[error("the clip is longer than {limit_hours} hours")]
    TooLong {
        /// The limit.
        limit_hours: i64,
    },
    /// The stream has no recordings.
    #[error("no recording of the stream `{}`", printable_text(stream))]
    NoStream {
        /// Its id.
        stream: String,
    },
    /// No recording covers the span.
    #[error("no recording of `{}` between {} and {}{}", printable_text(stream), at(*start_ms), at(*end_ms), last(*before_ms))]
    Gap {
        /// Id of the stream.
        stream: String,
        /// Milliseconds since the Unix epoch.
        start_ms: i64,
        /// Milliseconds since the Unix epoch.
        end_ms: i64,
        /// Where the last recording before it ends.
        before_ms: Option<i64>,
    },
    /// A recording is in a container that clips are not made of.
    #[error("the recording `{}` is {}; clips are made of MP4 and MOV only", printable(path), container.extension())]
    Container {
        /// Its file.
        path: PathBuf,
        /// What it is.
        container: Container,
    },
    /// The file of a recording was removed, and no store has a copy that is as it was proven.
    #[error("`{}` is not on the local disk, and no target has a proven copy of it", printable(path))]
    NotLocal {
        /// Where it was.
        path: PathBuf,
        /// Where copies were, without secrets.
        urls: Vec<String>,
    },
    /// A store cannot be read.
    #[error("cannot read the copy of `{}`, which is not on the local disk", printable(path))]
    Store {
        /// The file of the recording.
        path: PathBuf,
        /// What the store said.
        source: Box<DeliverError>,
    },
    /// An object is not the one that was proven.
    #[error("{} is not the copy that was proven: {words}", printable_text(url))]
    Replaced {
        /// The object, without secrets.
        url: String,
        /// What differs.
        words: String,
    },
    /// Stores took too long.
    #[error("the copy of `{}`, which is not on the local disk, was not read within {seconds} s", printable(path))]
    Late {
        /// The file of the recording.
        path: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// The header of an object takes too many requests.
    #[error("the header of the copy of `{}` was not read after {pieces} requests", printable(path))]
    Scattered {
        /// The file of the recording.
        path: PathBuf,
        /// Requests so far.
        pieces: u32,
    },
    /// Too many clips are being made from stores.
    #[error("too many clips are being made from object stores")]
    Busy,
    /// A recording is of a form that cannot be cut.
    #[error("cannot cut `{}`: {reason}", printable(path))]
    Uncut {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// One track would change its codec.
    #[error("the codec changes from {was} to {is} at {}", at(*at_ms))]
    Codec {
        /// Codec of the first recording.
        was: String,
        /// Codec from there on.
        is: String,
        /// Start of the recording that differs, milliseconds since the Unix epoch.
        at_ms: i64,
    },
    /// One track would change its parameters in a format whose fragments players decode with the first ones only.
    #[error("the parameters of the {codec} track change at {}; players do not follow that in `fmp4`", at(*at_ms))]
    Parameters {
        /// Codec of the track.
        codec: String,
        /// When the first sample with other parameters is presented, milliseconds since the Unix epoch.
        at_ms: i64,
    },
    /// More than this process cuts at once, or than a file can hold.
    #[error("the clip has too many {what}: {found}, limit {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many can be.
        limit: u64,
    },
    /// A file was replaced or changed meanwhile.
    #[error("`{}` changed while the clip was made", printable(path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be opened or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The header of a file cannot be read, or that of the clip not be written.
    #[error("cannot read the header of `{}`", printable(path))]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: IsoError,
    },
    /// The header of the clip cannot be written.
    #[error("cannot write the header of the clip")]
    Written(#[source] IsoError),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A time for people, in UTC.
fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| at.to_string())
}

fn last(before_ms: Option<i64>) -> String {
    before_ms.map_or_else(String::new, |ms| format!("; the last recording before ends at {}", at(ms)))
}

impl Fault for ClipError {
    fn class(&self) -> Class {
        match self {
            Self::File(error) => error.class(),
            Self::Header { source, .. } => source.class(),
            Self::Catalog(error) => error.class(),
            Self::Store { source, .. } => source.class(),
            Self::Changed { .. } | Self::Busy | Self::Late { .. } => Class::Transient,
            _ => Class::Permanent,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Reversed { .. } => Some("The end must be after the start.".into()),
            Self::Gap { .. } => Some("The timeline of the stream lists what is recorded.".into()),
            Self::Container { .. } => Some("Download the whole VoD instead.".into()),
            Self::NotLocal { urls, .. } if urls.is_empty() => None,
            Self::NotLocal { urls, .. } => {
                Some(format!("Run `aftercast vod verify`; the copy at {} was found to differ.", urls.join(" and ")))
            }
            Self::Store { source, .. } => source.cause().map(Cause::advice).or_else(|| source.hint()),
            Self::Replaced { .. } => {
                Some("Run `aftercast vod verify` to compare the catalogue with the targets.".into())
            }
            Self::Scattered { .. } => {
                Some("Download the whole VoD instead: a fragmented file has its header in many places.".into())
            }
            Self::Codec { at_ms, .. } => {
                Some(format!("Make one clip that ends at {0} and one that starts there.", at(*at_ms)))
            }
            Self::Parameters { .. } => Some("Use format=mp4, which holds both parameters.".into()),
            Self::TooLong { .. } | Self::Limit { .. } => Some("Make a shorter clip.".into()),
            Self::Changed { .. } => Some("Try again.".into()),
            Self::Busy => Some("Try again later.".into()),
            Self::Late { .. } => Some("Make a shorter clip, or try again later.".into()),
            Self::File(error) => error.hint(),
            Self::Header { source, .. } => source.hint(),
            Self::Catalog(error) => error.hint(),
            Self::NoStream { .. } | Self::Uncut { .. } | Self::Written(_) => None,
        }
    }
}
