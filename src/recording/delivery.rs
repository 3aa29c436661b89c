//! What waits to be delivered where, and how far it has come.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fingerprint, Kind, RemoteObject};
use crate::fault::Class;

/// Version of [`Delivery`] as stored; the first is not written.
pub const DELIVERY_VERSION: u32 = 1;

/// One asset that goes to one target: the unit of the delivery queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// `<asset id>@<target>`: the same asset goes to the same target once.
    pub id: String,
    /// What is delivered.
    pub asset: Asset,
    /// Name of the target in the configuration.
    pub target: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// Attempts begun so far.
    pub attempts: u32,
    /// When it was queued, milliseconds since the Unix epoch.
    pub queued_ms: i64,
}

/// Something that is delivered as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Asset {
    /// Id of the VoD, or a stable id made from the unit's playlist path and content.
    pub id: String,
    /// Which bit of the mask it falls under.
    pub kind: Kind,
    /// The VoD it belongs to, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vod_id: Option<String>,
    /// Stream id, for keys and metadata.
    pub stream_id: String,
    /// The root that holds the files.
    pub root: PathBuf,
    /// Start, milliseconds since the Unix epoch, for `{date}` in keys.
    pub start_ms: i64,
    /// Duration of a finished recording in milliseconds, for the objects' metadata.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<i64>,
    /// Whether a finished recording's tables were rebuilt from media data, for the objects' metadata.
    #[serde(default)]
    pub salvaged: bool,
    /// The files in the order in which they must appear in the store: of an HLS unit the playlist last.
    pub files: Vec<AssetFile>,
}

impl Asset {
    /// What the poster or preview of a VoD is called as its asset.
    pub const PREVIEW: &str = "preview";
    /// What its sprite sheet is called, with the `WebVTT` that belongs to it.
    pub const SPRITE: &str = "sprite";

    /// What its kept original is called.
    pub const ORIGINAL: &str = "original";
    /// What its sidecars are called: by their extensions.
    pub const SIDECARS: [&str; 4] = ["json", "xml", "vtt", "srt"];

    /// The id of what belongs to a VoD.
    pub fn id_of(vod_id: &str, what: &str) -> String {
        format!("{vod_id}.{what}")
    }
}

/// One file of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Its fingerprint when it was queued; a file that changed is not what was promised.
    pub fingerprint: Fingerprint,
    /// What its object has behind the bytes of the file: the `#EXT-X-ENDLIST` that a crashed server could not write.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub ending: String,
    /// What is uploaded in place of it while an attempt is made: a progressive copy of kept fragments.
    #[serde(skip)]
    pub stand_in: Option<SubstituteFile>,
}

/// A file of ours with the same packets as another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubstituteFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

impl AssetFile {
    /// A file that is delivered as it is.
    pub const fn new(path: PathBuf, fingerprint: Fingerprint) -> Self {
        Self { path, fingerprint, ending: String::new(), stand_in: None }
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum DeliveryState {
    /// It waits for its time.
    Waiting {
        /// When it is due, milliseconds since the Unix epoch.
        due_ms: i64,
        /// What went wrong the last time: class and words for the operator.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        last_fault: Option<(Class, String)>,
    },
    /// It cannot succeed without a person.
    Stuck {
        /// What went wrong, for the operator.
        message: String,
    },
    /// Every file is in the store, and the store confirmed each.
    Delivered {
        /// What the store said, one per file, in order.
        objects: Vec<RemoteObject>,
    },
}

impl DeliveryState {
    /// When it is due, milliseconds since the Unix epoch, if it waits for that.
    pub const fn due_ms(&self) -> Option<i64> {
        match self {
            Self::Waiting { due_ms, .. } => Some(*due_ms),
            Self::Stuck { .. } | Self::Delivered { .. } => None,
        }
    }
}

impl Delivery {
    /// The queue's id of an asset in a target.
    pub fn id_of(asset_id: &str, target: &str) -> String {
        format!("{asset_id}@{target}")
    }

    /// Whether it still has to be uploaded.
    pub const fn is_pending(&self) -> bool {
        !matches!(self.state, DeliveryState::Delivered { .. })
    }
}
