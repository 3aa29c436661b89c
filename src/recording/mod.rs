//! The vocabulary: what a recording is, what it is called, what is wrong with it, where it stands.
//!
//! Pure data and pure functions. Nothing here opens a file, reads a clock or talks to a network; every
//! other room speaks in these words.

mod container;
mod defect;
mod delivery;
mod event;
mod fingerprint;
pub mod journey;
mod key;
mod kind;
pub mod name;
mod pauses;
mod pictures;
mod salvage;
mod shard;
mod sidecar;
mod splice;
mod vod;

pub use container::{Container, MOST_IN_A_FILE};
pub use defect::Defect;
pub(crate) use defect::counted;
pub use delivery::{Asset, AssetFile, DELIVERY_VERSION, Delivery, DeliveryState, SubstituteFile};
pub use event::{DeliveryFacts, EVENT_VERSION, Event, ObjectFacts, RecordingFacts, VodFacts};
pub use fingerprint::{FileVersion, Fingerprint};
pub use key::{KeyError, KeyFacts, KeyPattern, object_key};
pub use kind::{Kind, Kinds, KindsError};
pub use pauses::{TrackSpan, drop_still_pictures};
pub use pictures::{PictureFile, Pictures, Poster, Shows, Sprite, Tiles, url_of_name};
pub use salvage::{Confidence, ParameterSource, SalvageGap, SalvageReport, SalvagedTrack};
pub use shard::{SHARDS_MAX, Shard, ShardError};
pub use sidecar::{Noted, SIDECAR_MAX_BYTES, read_sidecar, sidecar_of};
pub use splice::{Retirement, SpliceIntent, SpliceUndo};
pub use vod::{
    ID_SAMPLES, Outcome, RemoteObject, SpliceMethod, StartSource, TrackKind, TrackSummary, VOD_VERSION, VodRecord,
    VodType, vod_id,
};
