//! Streams of which there are recordings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};

/// Streams of a page at most.
const PAGE_LIMIT: usize = 1_000;

/// Streams that have a VoD, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListStreams {
    /// Only streams with this in their id or name, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Default for ListStreams {
    fn default() -> Self {
        Self { text: None, limit: 100, after: None }
    }
}

/// The page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamPage {
    /// The streams.
    pub items: Vec<StreamSummary>,
    /// Where the next page begins, if there may be more.
    pub next: Option<String>,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamSummary {
    /// Its id.
    pub stream_id: String,
    /// Its name; the id where nothing else is known.
    pub stream_name: String,
    /// Its last recording.
    pub last_vod_id: String,
    /// When that began, milliseconds since the Unix epoch.
    pub last_start_ms: i64,
    /// When that ended, milliseconds since the Unix epoch.
    pub last_end_ms: i64,
}

impl Operation for ListStreams {
    type Item = NoItem;
    type Data = StreamPage;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<StreamPage, OperationError> {
        let text = self.text.as_deref().map(str::to_lowercase);
        let (limit, mut page) = (self.limit.clamp(1, PAGE_LIMIT), StreamPage { items: Vec::new(), next: None });
        for vod in context.pipeline().catalog.shared().last_of_streams(self.after.as_deref()) {
            context.go_on()?;
            let vod = vod?;
            let is_wanted = |text: &String| {
                [&vod.stream_id, &vod.stream_name].into_iter().any(|name| name.to_lowercase().contains(text))
            };
            if !text.as_ref().is_none_or(is_wanted) {
                continue;
            }
            if page.items.len() == limit {
                page.next = page.items.last().map(|last| last.stream_id.clone());
                break;
            }
            page.items.push(StreamSummary {
                last_vod_id: vod.vod_id,
                last_start_ms: vod.start_time,
                last_end_ms: vod.start_time.saturating_add(vod.duration),
                stream_id: vod.stream_id,
                stream_name: vod.stream_name,
            });
        }
        Ok(page)
    }
}
