//! Spans of a stream: what is recorded when, and clips.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::clip::{Clip, ClipError, ClipFormat, ClipRequest, Stores, Timeline, timeline};
use crate::recording::name::printable_text;

/// When a stream is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowTimeline {
    /// Id of the stream.
    pub id: String,
    /// From this time on: RFC 3339, or milliseconds since the Unix epoch. If `None`, from the first recording on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// Before this time; if `None`, to the last recording.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// Only this rendition; if `None`, recordings without one, else those of the largest picture.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rendition: Option<String>,
}

impl Operation for ShowTimeline {
    type Item = NoItem;
    type Data = Timeline;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Timeline, OperationError> {
        let start_ms = self.from.as_deref().map(|text| time_ms("from", text)).transpose()?;
        let end_ms = self.to.as_deref().map(|text| time_ms("to", text)).transpose()?;
        let clip_request = ClipRequest {
            stream: self.id.clone(),
            server: None,
            rendition: self.rendition.clone(),
            start_ms: start_ms.unwrap_or(i64::MIN),
            end_ms: end_ms.unwrap_or(i64::MAX),
            format: ClipFormat::default(),
        };
        Ok(timeline(context.pipeline().catalog.shared(), &clip_request)?)
    }
}

/// A clip of a stream: not an [`Operation`], for what it gives is a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeClip {
    /// Id of the stream.
    pub id: String,
    /// Its first moment: RFC 3339, or milliseconds since the Unix epoch.
    pub start: String,
    /// The first moment that is not in it.
    pub end: String,
    /// `mp4` or `fmp4`; `mp4` if `None`.
    #[serde(default)]
    pub format: Option<String>,
    /// Only this rendition; if `None`, recordings without one, else those of the largest picture.
    #[serde(default)]
    pub rendition: Option<String>,
    /// `1`: to be saved under a name.
    #[serde(default)]
    pub download: Option<String>,
}

impl MakeClip {
    /// What is asked for, checked.
    pub fn clip_request(&self) -> Result<ClipRequest, OperationError> {
        Ok(ClipRequest {
            stream: self.id.clone(),
            server: None,
            rendition: self.rendition.clone(),
            start_ms: time_ms("start", &self.start)?,
            end_ms: time_ms("end", &self.end)?,
            format: self.format.as_deref().map(format_of).transpose()?.unwrap_or_default(),
        })
    }
}

/// Makes a clip, or finds the one that was made for the same request.
pub fn clip(context: &Context, clip_request: &ClipRequest) -> Result<MadeClip, OperationError> {
    Ok(made(context, clip_request)?)
}

/// The same in another format if the parameters of a track change, which clips in fragments cannot hold.
pub fn clip_of_any_format(context: &Context, clip_request: &ClipRequest) -> Result<MadeClip, OperationError> {
    match made(context, clip_request) {
        Err(ClipError::Parameters { .. }) => {
            clip(context, &ClipRequest { format: ClipFormat::Mp4, ..clip_request.clone() })
        }
        made => Ok(made?),
    }
}

/// A clip, and the stores that parts of it are read from.
#[derive(Debug, Clone)]
pub struct MadeClip {
    /// The clip.
    pub clip: Arc<Clip>,
    /// The stores.
    pub stores: Stores,
}

fn made(context: &Context, clip_request: &ClipRequest) -> Result<MadeClip, ClipError> {
    let ctx = context.pipeline();
    let stores = context.clips().stores(ctx.targets(), ctx.stop.clone());
    let clip = context.clips().clip(ctx.catalog.shared(), &stores, clip_request)?;
    Ok(MadeClip { clip, stores })
}

/// The spans of a stream in a time.
pub fn spans(context: &Context, clip_request: &ClipRequest) -> Result<Timeline, OperationError> {
    Ok(timeline(context.pipeline().catalog.shared(), clip_request)?)
}

/// A format by its name.
pub fn format_of(name: &str) -> Result<ClipFormat, OperationError> {
    match name {
        "mp4" => Ok(ClipFormat::Mp4),
        "fmp4" => Ok(ClipFormat::Fragmented),
        other => {
            let detail = format!("unknown format `{}`; use `mp4` or `fmp4`", printable_text(other));
            Err(OperationError::invalid(detail))
        }
    }
}

/// A time of a request in milliseconds since the Unix epoch: RFC 3339 or such a number. A `+` that was sent as it is arrives as a
/// space.
pub fn time_ms(name: &str, text: &str) -> Result<i64, OperationError> {
    let in_calendar = |ms: &i64| Timestamp::from_millisecond(*ms).is_ok();
    if let Some(ms) = text.parse().ok().filter(in_calendar) {
        return Ok(ms);
    }
    let parsed: Result<Timestamp, _> = text.replace(' ', "+").parse();
    parsed.map(Timestamp::as_millisecond).map_err(|_| {
        let shown = printable_text(text);
        OperationError::invalid(format!("`{name}` is `{shown}`, which is no time"))
            .with_next_step("Use RFC 3339 (2026-03-04T14:30:15.250Z) or milliseconds since the Unix epoch.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        let expected = 1_772_634_615_250;
        for text in [
            "1772634615250",
            "2026-03-04T14:30:15.250Z",
            "2026-03-04T15:30:15.25+01:00",
            "2026-03-04T15:30:15.25 01:00",
        ] {
            assert_eq!(time_ms("start", text).ok(), Some(expected), "{text}");
        }
        for text in ["", "yesterday", "1e9", "2026-03-04", "99999999999999999", "-9223372036854775808"] {
            let error = time_ms("start", text).unwrap_err();
            assert_eq!(error.kind, super::super::ErrorKind::Invalid, "{text}");
        }
    }
}
