//! Recordings that are being made, or are not believed to be over yet.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::discover::WaitReason;
use crate::pipeline::Awaited;

/// Recordings that are told at most.
const MOST: usize = 1_000;

/// Recordings that are being written or wait until they count as finished. Only a daemon that watches knows any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListLive {}

/// Those that there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LivePage {
    /// The first 1,000, by path.
    pub items: Vec<LiveRecording>,
    /// How many there are.
    pub total: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveRecording {
    /// Its file.
    pub path: PathBuf,
    /// The root that holds it.
    pub root: PathBuf,
    /// Its stream.
    pub stream_id: String,
    /// The preset that read its name.
    pub server: String,
    /// Its size now, bytes.
    pub size_bytes: u64,
    /// Whether a process is known to write it.
    pub is_written: bool,
    /// What is waited for, in words.
    pub reason: String,
    /// When it is looked at again, milliseconds since the Unix epoch.
    pub until_ms: i64,
    /// When it began, milliseconds since the Unix epoch: by its name, else by the file system, if one of them says it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_ms: Option<i64>,
    /// When it was written last, milliseconds since the Unix epoch.
    pub written_ms: i64,
}

impl LiveRecording {
    fn of(awaited: Awaited) -> Self {
        let Awaited { candidate, reason, until_ms } = awaited;
        let now = fs::symlink_metadata(&candidate.path).ok();
        let ms = |time: std::time::SystemTime| {
            time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok())
        };
        let born_ms = now.as_ref().and_then(|now| ms(now.created().ok()?));
        let written_ms = now.as_ref().and_then(|now| ms(now.modified().ok()?));
        Self {
            size_bytes: now.map_or(candidate.fingerprint.size_bytes, |now| now.len()),
            is_written: matches!(reason, WaitReason::Writer | WaitReason::Temporary),
            reason: reason.to_string(),
            until_ms,
            start_ms: candidate.facts.start_ms.or(born_ms),
            written_ms: written_ms.unwrap_or_else(|| candidate.fingerprint.mtime_ms()),
            stream_id: candidate.facts.stream_id,
            server: candidate.server,
            root: candidate.root,
            path: candidate.path,
        }
    }
}

impl Operation for ListLive {
    type Item = NoItem;
    type Data = LivePage;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<LivePage, OperationError> {
        let (awaited, total) = context.pipeline().discovering.unsettled.awaited(MOST);
        Ok(LivePage { items: awaited.into_iter().map(LiveRecording::of).collect(), total })
    }
}
