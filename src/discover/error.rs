//! What can go wrong while looking for recordings, and what the operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::fault::{Class, Fault};
use crate::recording::name::printable;

use super::preset::TemplateError;

/// Something that keeps recordings from being found. None of these loses one.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A directory or file whose contents or state cannot be read.
    #[error("cannot read `{}`", printable(path))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A playlist or manifest that asks for more than a limit (`docs/limits.md`).
    #[error("{} not read: more than {limit} {what}", refused(path, *others))]
    PlaylistRefused {
        /// The first that is refused in its directory.
        path: PathBuf,
        /// What it has too many of.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Whether others in the same directory are refused, too.
        others: bool,
    },
    /// A recording whose path is not UTF-8.
    #[error("the name of `{}` is not UTF-8", printable(path))]
    NotUtf8 {
        /// Which.
        path: PathBuf,
    },
    /// A symbolic link with a recording's name, or to a directory, that leads out of the root.
    #[error("`{}` is a symbolic link that leads out of the root, to `{}`", printable(path), printable(target))]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A limit of the kernel on notifications is reached.
    #[error("cannot watch `{}` for changes: the limit `{sysctl}` is reached", printable(path))]
    WatchLimit {
        /// The root, or the directory in it, that is not watched.
        path: PathBuf,
        /// The setting that limits it.
        sysctl: &'static str,
    },
    /// Notifications cannot be had for another reason.
    #[error("cannot watch `{}` for changes", printable(path))]
    NotWatched {
        /// The root, or the directory in it, that is not watched.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A root that was there has been removed or renamed.
    #[error("the root `{}` was removed or renamed", printable(path))]
    RootGone {
        /// The root.
        path: PathBuf,
    },
    /// A directory below the root that another aftercast owns.
    #[error("`{}` is in use by another aftercast (state directory `{}`)", printable(path), printable(state_dir))]
    Owned {
        /// The directory.
        path: PathBuf,
        /// The state directory of its owner.
        state_dir: PathBuf,
    },
    /// A name template that means nothing.
    #[error("the name template of `{}` is not valid", printable(path))]
    Template {
        /// The root it was given for.
        path: PathBuf,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// The thread that watches cannot be started.
    #[error("cannot start watching")]
    Thread(#[source] io::Error),
}

fn refused(path: &Path, others: bool) -> String {
    let path = printable(path);
    let others = if others { " and others in its directory" } else { "" };
    format!("playlist `{path}`{others}")
}

/// A problem that a scan met and went on from.
pub type Problem = DiscoverError;

impl Fault for DiscoverError {
    fn class(&self) -> Class {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::Environment,
            Self::Unreadable { source, .. } => Class::of_io(source),
            Self::NotUtf8 { .. } | Self::LeadsOut { .. } | Self::Template { .. } | Self::PlaylistRefused { .. } => {
                Class::Permanent
            }
            Self::WatchLimit { .. }
            | Self::NotWatched { .. }
            | Self::RootGone { .. }
            | Self::Owned { .. }
            | Self::Thread(_) => Class::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, source } if source.kind() == io::ErrorKind::PermissionDenied => format!(
                "Nothing was changed. Give the user that runs aftercast access: `usermod -aG GROUP USER` with the \
                 group of `{path}`, or `setfacl -R -m u:USER:rwX {path}`. The other directories are scanned.",
                path = printable(path)
            ),
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "Create the directory or correct the path; it is checked again at every scan.".into()
            }
            Self::Unreadable { .. } => "Nothing was changed; it is retried at the next scan.".into(),
            Self::PlaylistRefused { .. } => {
                "Nothing was changed. While it exists, the .ts files in its directory and below are not processed \
                 as recordings, because it may list them; other recordings are. Remove or correct it."
                    .into()
            }
            Self::NotUtf8 { .. } => {
                "The file is unchanged. Rename it to a UTF-8 name; it is then processed at the next scan.".into()
            }
            Self::LeadsOut { target, .. } => {
                format!(
                    "It is not followed. Configure `{}` as a separate root if it contains recordings.",
                    printable(target)
                )
            }
            Self::WatchLimit { sysctl, .. } => format!(
                "Nothing is lost: this root is scanned periodically instead. Raise the limit with \
                 `sysctl -w {sysctl}={}` (and a line in /etc/sysctl.d), then restart.",
                if sysctl.ends_with("watches") { 524_288 } else { 1024 }
            ),
            Self::NotWatched { .. } => "Nothing is lost: this root is scanned periodically instead.".into(),
            Self::RootGone { .. } => {
                "Recordings that are finished and delivered are safe. It is watched again as soon as it is available."
                    .into()
            }
            Self::Owned { state_dir, .. } => format!(
                "Files there are left to that instance. To process them, run the command with `--state-dir {}`.",
                printable(state_dir)
            ),
            Self::Template { .. } | Self::Thread(_) => return None,
        })
    }
}
