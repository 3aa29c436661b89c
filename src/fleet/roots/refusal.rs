//! Why this node does not work on a root, in words.

use std::path::PathBuf;

use crate::durable::ROOT_FILE;
use crate::fault::{Class, Fault};
use crate::printable::Printable;
use crate::recording::name::printable;

/// A root that this node must leave alone, for good or for now. Nothing in it is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootRefusal {
    /// Another node works on it.
    #[error("the root `{}` belongs to the node `{}`, which is running", printable(root), Printable(node))]
    OfLiveNode {
        /// The root.
        root: PathBuf,
        /// Name of the node.
        node: String,
    },
    /// It is that of a node that is not alive.
    #[error("the root `{}` belongs to the node `{}`, which is not running", printable(root), Printable(node))]
    OfDeadNode {
        /// The root.
        root: PathBuf,
        /// Name of the node.
        node: String,
    },
    /// The file in it names another node, and the database cannot be asked.
    #[error("`{}` names another node, and the fleet database cannot be asked", printable(&root.join(ROOT_FILE)))]
    OfAnother {
        /// The root.
        root: PathBuf,
    },
    /// The file in it does not say that it is this node's, and the database cannot be asked.
    #[error(
        "`{}` does not confirm that the root belongs to this node, and the fleet database cannot be asked",
        printable(&root.join(ROOT_FILE))
    )]
    Unmarked {
        /// The root.
        root: PathBuf,
    },
    /// The file in it is a copy of that of another root of this node.
    #[error("`{}` belongs to the root `{}`", printable(&root.join(ROOT_FILE)), printable(other))]
    Duplicate {
        /// The root.
        root: PathBuf,
        /// The root whose file it is.
        other: PathBuf,
    },
    /// Other nodes share it, and this one was not told so.
    #[error("the root `{}` is shared by several nodes", printable(root))]
    Shared {
        /// The root.
        root: PathBuf,
    },
    /// It is to be shared, and another node works on it alone.
    #[error("the root `{}` cannot be shared: the node `{}` works on it alone", printable(root), Printable(node))]
    NotShared {
        /// The root.
        root: PathBuf,
        /// Name of the node.
        node: String,
    },
    /// Whether it is still this node's is being asked.
    #[error("the fleet database has not yet confirmed that the root `{}` belongs to this node", printable(root))]
    Unconfirmed {
        /// The root.
        root: PathBuf,
    },
    /// It is shared, and the database cannot be asked.
    #[error("the shared root `{}` is paused: the fleet database cannot be asked", printable(root))]
    Paused {
        /// The root.
        root: PathBuf,
    },
}

impl RootRefusal {
    /// The root.
    pub const fn root(&self) -> &PathBuf {
        match self {
            Self::OfLiveNode { root, .. }
            | Self::OfDeadNode { root, .. }
            | Self::OfAnother { root }
            | Self::Duplicate { root, .. }
            | Self::Unmarked { root }
            | Self::Shared { root }
            | Self::NotShared { root, .. }
            | Self::Unconfirmed { root }
            | Self::Paused { root } => root,
        }
    }

    /// Whether it is over by itself, soon after the database answers.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unconfirmed { .. } | Self::Paused { .. })
    }
}

impl Fault for RootRefusal {
    fn class(&self) -> Class {
        Class::Environment
    }

    fn hint(&self) -> Option<String> {
        let root = printable(self.root());
        let file = printable(&self.root().join(ROOT_FILE));
        Some(match self {
            Self::OfLiveNode { node, .. } => format!(
                "Nothing was changed. Let only `{}` watch this root, or set `shared = true` for it on both nodes. If the directory \
                 is a copy of the root of that node, delete `{file}`: it becomes a root of its own.",
                Printable(node)
            ),
            Self::OfDeadNode { .. } => format!(
                "Nothing was changed. If that node will not work on it again, run `aftercast adopt {root}`; otherwise start that \
                 node. If the directory is a copy of its root, delete `{file}`."
            ),
            Self::OfAnother { .. } => {
                "Nothing was changed. Start the fleet database; then `aftercast doctor` says whose root it is.".to_owned()
            }
            Self::Duplicate { .. } => {
                format!("Nothing was changed. Delete `{file}` and restart aftercast: the directory becomes a root of its own.")
            }
            Self::Unmarked { .. } => {
                "Nothing is deleted there; recordings are finished and delivered. It is deleted when the fleet database answers."
                    .to_owned()
            }
            Self::Shared { .. } => {
                "Nothing was changed. Set `shared = true` for this root in `[[watch.root]]`.".to_owned()
            }
            Self::NotShared { node, .. } => format!(
                "Nothing was changed. Set `shared = true` for this root on `{}`, too, and restart it.",
                Printable(node)
            ),
            Self::Unconfirmed { .. } => "Nothing was changed. Work resumes when the fleet database answers.".to_owned(),
            Self::Paused { .. } => {
                "Nothing is changed there; recordings stay where they are. Work resumes when the fleet database answers."
                    .to_owned()
            }
        })
    }
}
