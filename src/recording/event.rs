//! What happened to a recording, its VoD, its deliveries and the targets: the vocabulary of the event log.
//!
//! An event is written in the transaction of the transition it tells of, so it holds what a consumer needs afterwards, when
//! the record may be gone. Its JSON is stable: a `type` and camel-case fields, times and durations in milliseconds with the
//! unit in the name, sizes in bytes. A new field or type raises [`EVENT_VERSION`].

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journey::Candidate;
use super::{Defect, Delivery, Kind, Outcome, RemoteObject, VodRecord};
use crate::fault::Class;

/// Version of [`Event`] as stored.
pub const EVENT_VERSION: u32 = 3;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Event {
    /// The journal has taken up a recording that no process writes any more.
    #[serde(rename = "recording.seen")]
    Seen {
        /// Which one.
        recording: RecordingFacts,
        /// Its size in bytes.
        size_bytes: u64,
        /// The preset that read its name.
        server: String,
    },
    /// An attempt to finish it has begun.
    #[serde(rename = "recording.begun")]
    Begun {
        /// Which one.
        recording: RecordingFacts,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// It is finished: the file has its final name.
    #[serde(rename = "recording.finished")]
    Finished {
        /// Which one.
        recording: RecordingFacts,
        /// The VoD it became.
        vod: VodFacts,
        /// How.
        outcome: Outcome,
        /// What is wrong with it or was repaired.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        defects: Vec<Defect>,
    },
    /// It is finished, and its sample tables had to be rebuilt from the media.
    #[serde(rename = "recording.salvaged")]
    Salvaged {
        /// Which one.
        recording: RecordingFacts,
        /// The VoD it became.
        vod: VodFacts,
        /// What is wrong with it or was repaired.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        defects: Vec<Defect>,
    },
    /// It cannot be finished and stays where it is.
    #[serde(rename = "recording.quarantined")]
    Quarantined {
        /// Which one.
        recording: RecordingFacts,
        /// Why.
        defects: Vec<Defect>,
    },
    /// An attempt failed; the recording stays as it is.
    #[serde(rename = "recording.failed")]
    Failed {
        /// Which one.
        recording: RecordingFacts,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// What can be done about it.
        class: Class,
        /// What went wrong.
        message: String,
        /// When it is tried again; never by itself if absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        due_ms: Option<i64>,
    },
    /// A splice in place was undone: the file is what it was, and the VoD is no more.
    #[serde(rename = "recording.undone")]
    Undone {
        /// What the VoD was.
        vod: VodFacts,
    },
    /// A VoD is in the catalogue that was not there before.
    #[serde(rename = "vod.catalogued")]
    Catalogued {
        /// Which one.
        vod: VodFacts,
    },
    /// A target holds the finished file of a VoD, and proved it. Told for each target, and again after a delivery that was repeated.
    /// Since version 2.
    #[serde(rename = "vod.available")]
    Available {
        /// Which one.
        vod: VodFacts,
        /// The codecs of its tracks in their order.
        codecs: Vec<String>,
        /// The object that holds it.
        object: ObjectFacts,
    },
    /// A picture of a VoD was made, or could not be made. Since version 3.
    #[serde(rename = "vod.pictures")]
    Pictured {
        /// Which one.
        vod: VodFacts,
        /// Why pictures are missing, in words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        missing: Option<String>,
    },
    /// A VoD is no more in the catalogue.
    #[serde(rename = "vod.deleted")]
    Deleted {
        /// What it was.
        vod: VodFacts,
    },
    /// An attempt to upload has begun.
    #[serde(rename = "delivery.started")]
    DeliveryStarted {
        /// What goes where.
        delivery: DeliveryFacts,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// Every file is in the store, and the store confirmed each.
    #[serde(rename = "delivery.completed")]
    Delivered {
        /// What went where.
        delivery: DeliveryFacts,
        /// The codecs of the VoD's tracks in their order, if it is one.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        codecs: Vec<String>,
        /// The objects, one per file, in order.
        objects: Vec<ObjectFacts>,
    },
    /// An attempt failed; the local file stays.
    #[serde(rename = "delivery.failed")]
    DeliveryFailed {
        /// What goes where.
        delivery: DeliveryFacts,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// What can be done about it.
        class: Class,
        /// What went wrong.
        message: String,
        /// When it is tried again; never by itself if absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        due_ms: Option<i64>,
    },
    /// A later look at an object found it other than it was proven.
    #[serde(rename = "delivery.differs")]
    Differs {
        /// The VoD it belongs to.
        vod: VodFacts,
        /// The object as it was proven.
        object: ObjectFacts,
        /// What differs, in words.
        difference: String,
    },
    /// A target cannot be used; everything for it stays queued.
    #[serde(rename = "target.paused")]
    TargetPaused {
        /// Its name in the configuration.
        target: String,
        /// What can be done about it.
        class: Class,
        /// What went wrong.
        message: String,
    },
    /// A target that was paused has taken a delivery.
    #[serde(rename = "target.resumed")]
    TargetResumed {
        /// Its name in the configuration.
        target: String,
    },
    /// The local file of a delivered VoD was removed.
    #[serde(rename = "local.freed")]
    Freed {
        /// Which one.
        vod: VodFacts,
    },
    /// A disk is short of room, and nothing more on it may be freed.
    #[serde(rename = "disk.low")]
    DiskLow {
        /// Bytes that are too much for the retention settings.
        short_bytes: u64,
    },
}

/// What an event says of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingFacts {
    /// The journal's key.
    pub key: String,
    /// The ingest server's id of the stream.
    pub stream_id: String,
    /// Where it was found.
    pub path: PathBuf,
}

impl RecordingFacts {
    /// Of a recording with this key in the journal.
    pub fn of(key: String, candidate: &Candidate) -> Self {
        Self { key, stream_id: candidate.facts.stream_id.clone(), path: candidate.path.clone() }
    }
}

/// What an event says of a VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VodFacts {
    /// Its id.
    pub vod_id: String,
    /// The ingest server's id of the stream.
    pub stream_id: String,
    /// The finished file.
    pub path: PathBuf,
    /// Size of that in bytes.
    pub size_bytes: u64,
    /// Duration, milliseconds.
    pub duration_ms: i64,
    /// Start of the recording, milliseconds since the Unix epoch.
    pub start_ms: i64,
}

impl VodFacts {
    /// Of a record.
    pub fn of(vod: &VodRecord) -> Self {
        Self {
            vod_id: vod.vod_id.clone(),
            stream_id: vod.stream_id.clone(),
            path: vod.file_path.clone(),
            size_bytes: vod.file_size,
            duration_ms: vod.duration,
            start_ms: vod.start_time,
        }
    }
}

/// What an event says of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryFacts {
    /// Id of the asset: of a finished recording that of its VoD.
    pub asset_id: String,
    /// What it is.
    pub kind: Kind,
    /// The VoD it belongs to, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vod_id: Option<String>,
    /// The ingest server's id of the stream.
    pub stream_id: String,
    /// Name of the target in the configuration.
    pub target: String,
    /// The file; of an HLS or DASH unit the playlist or manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<PathBuf>,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Duration of a finished recording, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<i64>,
}

impl DeliveryFacts {
    /// Of a delivery of the queue.
    pub fn of(delivery: &Delivery) -> Self {
        let asset = &delivery.asset;
        Self {
            asset_id: asset.id.clone(),
            kind: asset.kind,
            vod_id: asset.vod_id.clone(),
            stream_id: asset.stream_id.clone(),
            target: delivery.target.clone(),
            path: asset.files.last().map(|file| file.path.clone()),
            size_bytes: asset.files.iter().map(|file| file.fingerprint.size_bytes).sum(),
            duration_ms: asset.duration_ms,
        }
    }
}

/// What an event says of an object in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFacts {
    /// Name of the target in the configuration.
    pub target: String,
    /// Key inside the bucket or container.
    pub key: String,
    /// Its address, without a secret.
    pub url: String,
    /// Size the store reported, bytes.
    pub size_bytes: u64,
    /// `algorithm:value`, as it was compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<String>,
}

impl ObjectFacts {
    /// Of a proven object.
    pub fn of(object: &RemoteObject) -> Self {
        Self {
            target: object.target.clone(),
            key: object.key.clone(),
            url: object.url.clone(),
            size_bytes: object.size_bytes,
            checksum: object.checksum.clone(),
        }
    }
}

impl Event {
    /// What a recording that is finished now tells.
    pub fn finished(recording: RecordingFacts, record: &VodRecord) -> Self {
        let (vod, defects) = (VodFacts::of(record), record.defects.clone());
        if record.salvaged {
            Self::Salvaged { recording, vod, defects }
        } else {
            Self::Finished { recording, vod, outcome: record.outcome, defects }
        }
    }

    /// That an object of a VoD is not as it was proven.
    pub fn differs(vod: &VodRecord, object: &RemoteObject, difference: &str) -> Self {
        let (vod, object) = (VodFacts::of(vod), ObjectFacts::of(object));
        Self::Differs { vod, object, difference: difference.to_owned() }
    }

    /// Its `type` in JSON, by which consumers choose.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Seen { .. } => "recording.seen",
            Self::Begun { .. } => "recording.begun",
            Self::Finished { .. } => "recording.finished",
            Self::Salvaged { .. } => "recording.salvaged",
            Self::Quarantined { .. } => "recording.quarantined",
            Self::Failed { .. } => "recording.failed",
            Self::Undone { .. } => "recording.undone",
            Self::Catalogued { .. } => "vod.catalogued",
            Self::Available { .. } => "vod.available",
            Self::Pictured { .. } => "vod.pictures",
            Self::Deleted { .. } => "vod.deleted",
            Self::DeliveryStarted { .. } => "delivery.started",
            Self::Delivered { .. } => "delivery.completed",
            Self::DeliveryFailed { .. } => "delivery.failed",
            Self::Differs { .. } => "delivery.differs",
            Self::TargetPaused { .. } => "target.paused",
            Self::TargetResumed { .. } => "target.resumed",
            Self::Freed { .. } => "local.freed",
            Self::DiskLow { .. } => "disk.low",
        }
    }

    /// The stream it is about, if it is about one.
    pub fn stream_id(&self) -> Option<&str> {
        match self {
            Self::Seen { recording, .. }
            | Self::Begun { recording, .. }
            | Self::Finished { recording, .. }
            | Self::Salvaged { recording, .. }
            | Self::Quarantined { recording, .. }
            | Self::Failed { recording, .. } => Some(&recording.stream_id),
            Self::Undone { vod }
            | Self::Catalogued { vod }
            | Self::Available { vod, .. }
            | Self::Pictured { vod, .. }
            | Self::Deleted { vod }
            | Self::Differs { vod, .. }
            | Self::Freed { vod } => Some(&vod.stream_id),
            Self::DeliveryStarted { delivery, .. }
            | Self::Delivered { delivery, .. }
            | Self::DeliveryFailed { delivery, .. } => Some(&delivery.stream_id),
            Self::TargetPaused { .. } | Self::TargetResumed { .. } | Self::DiskLow { .. } => None,
        }
    }

    /// The journal's key of the recording it is about, if it names one.
    pub fn recording_key(&self) -> Option<&str> {
        match self {
            Self::Seen { recording, .. }
            | Self::Begun { recording, .. }
            | Self::Finished { recording, .. }
            | Self::Salvaged { recording, .. }
            | Self::Quarantined { recording, .. }
            | Self::Failed { recording, .. } => Some(&recording.key),
            _ => None,
        }
    }

    /// What it says of a VoD, if it is about one.
    pub fn vod(&self) -> Option<&VodFacts> {
        match self {
            Self::Finished { vod, .. }
            | Self::Salvaged { vod, .. }
            | Self::Undone { vod }
            | Self::Catalogued { vod }
            | Self::Available { vod, .. }
            | Self::Pictured { vod, .. }
            | Self::Deleted { vod }
            | Self::Differs { vod, .. }
            | Self::Freed { vod } => Some(vod),
            _ => None,
        }
    }

    /// The file it is about: the finished one of a VoD, else the recording or what is delivered.
    pub fn path(&self) -> Option<&std::path::Path> {
        let other = || match self {
            Self::Seen { recording, .. }
            | Self::Begun { recording, .. }
            | Self::Quarantined { recording, .. }
            | Self::Failed { recording, .. } => Some(recording.path.as_path()),
            _ => self.delivery()?.path.as_deref(),
        };
        self.vod().map(|vod| vod.path.as_path()).or_else(other)
    }

    /// What it says of a delivery, if it is about one.
    pub const fn delivery(&self) -> Option<&DeliveryFacts> {
        match self {
            Self::DeliveryStarted { delivery, .. }
            | Self::Delivered { delivery, .. }
            | Self::DeliveryFailed { delivery, .. } => Some(delivery),
            _ => None,
        }
    }

    /// The target it is about, if it is about one.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Available { object, .. } | Self::Differs { object, .. } => Some(&object.target),
            Self::TargetPaused { target, .. } | Self::TargetResumed { target } => Some(target),
            _ => self.delivery().map(|delivery| delivery.target.as_str()),
        }
    }

    /// The object of a finished file that it is about, if it is about one.
    pub fn object(&self) -> Option<&ObjectFacts> {
        match self {
            Self::Available { object, .. } | Self::Differs { object, .. } => Some(object),
            Self::Delivered { delivery, objects, .. } if delivery.kind == Kind::Recording => objects.first(),
            _ => None,
        }
    }

    /// The VoD it is about, if it is about one.
    pub fn vod_id(&self) -> Option<&str> {
        let of_delivery = || self.delivery()?.vod_id.as_deref();
        self.vod().map(|vod| vod.vod_id.as_str()).or_else(of_delivery)
    }
}
