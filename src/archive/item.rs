//! What is said of one object, and what all of them came to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::Class;
use crate::recording::Defect;

/// How an object is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ItemWay {
    /// A new header goes up; the store copies the media itself.
    InBucket,
    /// The store copies it to its final key.
    Rename,
    /// It comes down, is finished in scratch space, and goes up.
    Scratch,
}

impl ItemWay {
    /// The words for plans and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InBucket => "finish in the bucket",
            Self::Rename => "rename in the bucket",
            Self::Scratch => "download, finish, upload",
        }
    }
}

/// What goes over the line for an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transferred {
    /// Bytes that come down.
    pub read_bytes: u64,
    /// Bytes that go up.
    pub sent_bytes: u64,
    /// Requests, about.
    pub requests: u64,
}

impl std::ops::AddAssign for Transferred {
    fn add_assign(&mut self, other: Self) {
        self.read_bytes += other.read_bytes;
        self.sent_bytes += other.sent_bytes;
        self.requests += other.requests;
    }
}

/// What became of an object, or would become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ItemState {
    /// It is complete as it is.
    Complete,
    /// A dry run: this would be done.
    Planned {
        /// How.
        way: ItemWay,
    },
    /// It is finished.
    Finished {
        /// How.
        way: ItemWay,
    },
    /// An earlier run finished it.
    AlreadyFinished,
    /// It was written not long ago under a temporary name.
    Waiting {
        /// What is waited for.
        message: String,
    },
    /// It cannot be finished.
    Quarantined,
    /// It failed.
    Failed {
        /// Whether and when another try may help.
        class: Class,
        /// What happened.
        message: String,
        /// What is safe and what to do.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        hint: Option<String>,
    },
}

impl ItemState {
    /// The word for reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Planned { .. } => "planned",
            Self::Finished { .. } => "finished",
            Self::AlreadyFinished => "already finished",
            Self::Waiting { .. } => "waiting",
            Self::Quarantined => "quarantined",
            Self::Failed { .. } => "failed",
        }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveItem {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// The key of the finished object, if there is one or would be one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// What became of it.
    #[serde(flatten)]
    pub state: ItemState,
    /// What goes over the line for it. Of a dry run: what would.
    pub transferred: Transferred,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub defects: Vec<Defect>,
}

impl ArchiveItem {
    /// An object of which nothing is known yet.
    pub(super) fn of(key: &str, size_bytes: u64) -> Self {
        let (state, transferred) = (ItemState::Complete, Transferred::default());
        Self { key: key.to_owned(), size_bytes, to: None, state, transferred, defects: Vec::new() }
    }
}

/// What all objects came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveReport {
    /// Objects that were listed.
    pub listed: u64,
    /// Objects that are no recordings, and segments of playlists; nothing is done with them.
    pub left_alone: u64,
    /// Objects of other shards.
    pub of_other_shards: u64,
    /// What goes over the line for all of them.
    pub transferred: Transferred,
    /// Whether it was stopped before its end.
    pub is_interrupted: bool,
}
