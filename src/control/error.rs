//! Why an ingest server did not answer, or not as asked.

use std::io;
use std::path::PathBuf;

use crate::fault::{Class, Fault};
use crate::printable::Printable;
use crate::recording::name::printable;

/// Why an ingest server did not answer, or not as asked. What it records goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The credentials cannot be read.
    #[error("cannot read the credentials `{}`", printable(from))]
    Credentials {
        /// File, or `env:NAME`.
        from: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credentials are no text for a header.
    #[error("the credentials `{}` are empty or contain a control character", printable(.0))]
    BadCredentials(PathBuf),
    /// The request could not be sent, or was not answered in time.
    #[error("the ingest server did not answer")]
    Request(#[source] reqwest::Error),
    /// The answer is longer than any that is expected.
    #[error("the answer of the ingest server is longer than {} KiB", .0 >> 10)]
    TooLong(usize),
    /// The answer is none of that server's.
    #[error("the ingest server's answer is not understood: {0}")]
    NotUnderstood(&'static str),
    /// The server refused.
    #[error("the ingest server refused: HTTP status {status}{}", said(message))]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said, if anything.
        message: String,
    },
    /// The server answered that it did not do it.
    #[error("the ingest server did not do it{}", said(.0))]
    NotDone(String),
    /// The stream's settings are shared with other streams.
    #[error("MediaMTX has no path `{}` of its own in its configuration", Printable(.0))]
    SharedPath(String),
    /// The program or the request is to end.
    #[error("stopped")]
    Stopped,
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", Printable(message)) }
}

impl Fault for ControlError {
    fn class(&self) -> Class {
        match self {
            Self::Credentials { .. } | Self::BadCredentials(_) | Self::Refused { status: 401 | 403, .. } => {
                Class::Environment
            }
            Self::Request(_) | Self::Refused { status: 408 | 429 | 500..=599, .. } => Class::Transient,
            Self::TooLong(_)
            | Self::NotUnderstood(_)
            | Self::Refused { .. }
            | Self::NotDone(_)
            | Self::SharedPath(_) => Class::Permanent,
            Self::Stopped => Class::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Credentials { .. } | Self::BadCredentials(_) => {
                "Correct `control_credentials_file`, or let this user read the file."
            }
            Self::Request(_) => "Check that the server runs and that `control` in [[watch.root]] is its address.",
            Self::Refused { status: 401 | 403, .. } => {
                "Set `control_credentials_file`, and let the server accept requests from this machine."
            }
            Self::Refused { status: 300..=399, .. } => {
                "Redirects are not followed; set `control` to the address that the server redirects to."
            }
            Self::TooLong(_) | Self::NotUnderstood(_) | Self::Refused { status: 404 | 405, .. } => {
                "Check `control`, `server` and `app` in [[watch.root]]: another program or application may answer there."
            }
            Self::SharedPath(_) => {
                "Add the path under `paths` in mediamtx.yml or through MediaMTX's API; a setting of `all_others` or of a pattern \
                 would switch other streams, too."
            }
            Self::Refused { .. } | Self::NotDone(_) | Self::Stopped => return None,
        };
        Some(hint.to_owned())
    }
}
