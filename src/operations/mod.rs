//! Everything that a person or a client can ask for: one type per wish, with checked arguments in and data out. What takes
//! long tells items on the way.
//!
//! A command without a daemon runs an operation itself; beside a daemon, and for any other client, `serve` runs it. One
//! implementation, two callers. Arguments, items and data are JSON by serde: camelCase, times in milliseconds since the Unix
//! epoch. This room must not print, and knows neither the command line nor HTTP.

mod addressed;
mod adopt;
mod archive;
mod batch;
mod bucket;
mod catalogue;
mod clips;
mod context;
mod doctor;
mod error;
mod events;
mod fleet;
mod histogram;
mod live;
mod login;
mod media;
mod nodes;
mod notes;
mod process;
mod queue;
mod reason;
mod recordings;
mod reference;
mod rescan;
mod retention;
mod serving;
mod settings;
pub mod setup;
mod share;
mod status;
mod stream_recording;
mod streams;
mod verify;
mod vod_deletion;
mod vods;
mod work;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalog::Cursor;

pub use adopt::{AdoptRoot, Adopted};
pub use archive::{CountVods, MOST_SELECTED, SelectVods, VodCount, VodFilter};
pub use batch::{BatchChange, BatchKind, BatchRate, StartBatch, batch_status, change_batch, is_bucket};
pub use bucket::ProcessBucket;
pub use catalogue::{CatalogCheck, CheckCatalog, RebuildCatalog, RebuiltCatalog, Unasked};
pub use clips::{MadeClip, MakeClip, ShowTimeline, clip, clip_of_any_format, format_of, spans, time_ms};
pub use context::{Context, SharedConfig};
pub use doctor::{Check, Doctor, checks};
pub use error::{ErrorKind, OperationError};
pub use events::{EventSelection, FollowEvents, Followed, ListEvents, LogPage, Replay, ReplayEvents};
pub use fleet::{FleetStatus, ListedVod, MediaElsewhere, VodNode, find_in_app};
pub use histogram::{Histogram, HistogramSpan, VodHistogram};
pub use live::{ListLive, LivePage, LiveRecording};
pub use login::{LoginCode, Logins, MakeLogin};
pub use media::{
    FileDigest, LinkToCopy, LocateMedia, Media, MediaCopy, MediaOf, PathInRoot, Picture, PictureCopy, ReadPictureCopy,
    ShowSpriteIndex, SpriteIndex, VERSION_DIGITS,
};
pub use nodes::{
    CommandPhase, CommandSummary, FleetEventPage, ListFleetEvents, ListNodes, NodeEvent, NodeList, NodeName,
    NodeSummary, ShowCommand,
};
pub use notes::EditVod;
pub use process::{NotSettled, Plan, PlannedRun, Process, ProcessReport, Processed, UndoSplice};
pub use queue::{
    CollectUploads, CollectedUploads, ListQueue, NotFreed, Queue, QueuedDelivery, Retried, RetryDeliveries,
    StoppedRecording, Upload,
};
pub use recordings::{ListRecordings, RecordingPage, RecordingStatus};
pub use reference::{StreamTaught, TeachStream, teach_stream};
pub use rescan::{Rescan, Rescanned};
pub use retention::{FreeLocal, Freed, Kept, PlanRetention, RetentionPlan};
pub use serving::CommandThreads;
pub use settings::{Setting, Settings, ShowSettings, settings_of};
pub use share::{ShareVod, SharedLink, check_link};
pub use status::{RootStatus, ShowStatus, Status, TargetStatus, UnderWay};
pub use stream_recording::{
    Basis, RecordingState, RootRecording, ShowRecording, StreamRecording, SwitchRecording, SwitchedRecording,
    container_of, recording_of, switch_recording,
};
pub use streams::{ListStreams, StreamPage, StreamSummary};
pub use verify::{Verification, Verified, VerifyVods};
pub use vod_deletion::{DeleteVod, DeleteVods, DeletedFile, DeletedObject, DeletedOne, DeletedVods, Deletion};
pub use vods::{ExportVods, Exported, ListVods, ShowVod, VodPage, VodState};
pub use work::{TakeWork, WorkReport, WorkedItem};

/// Something that can be asked for. The value holds the arguments.
pub trait Operation: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// What is told on the way; [`NoItem`] where only the end is of interest.
    type Item: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// What is answered at the end.
    type Data: Serialize + DeserializeOwned + JsonSchema + Send + 'static;

    /// Does it. `tell` gets each item as it comes; its error means that nobody listens any more and ends the operation.
    fn run(&self, context: &Context, tell: ItemSink<'_, Self::Item>) -> Result<Self::Data, OperationError>;
}

/// Where a page begins: the `next` of the one before.
fn cursor(after: Option<&str>) -> Result<Option<Cursor>, OperationError> {
    after.map(str::parse).transpose().map_err(|_| wrong_cursor())
}

fn wrong_cursor() -> OperationError {
    OperationError::invalid("`after` takes the `next` value of the previous page")
}

/// Takes the items of an operation.
pub type ItemSink<'a, T> = &'a mut dyn FnMut(T) -> Result<(), OperationError>;

/// There is no such item.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum NoItem {}

impl JsonSchema for NoItem {
    fn schema_name() -> Cow<'static, str> {
        "Nothing".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        false.into()
    }
}
