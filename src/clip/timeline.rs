//! What of a stream is recorded when, and where nothing is.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choose::{ClipRequest, chosen, end_of};
use super::error::ClipError;
use crate::catalog::SharedCatalog;
use crate::recording::{TrackKind, VodRecord};

/// Recordings that are so close to one another are one span. Names have whole seconds at worst, `MediaMTX` itself takes half a second.
const CLOSE_MS: i64 = 500;

/// Recordings that follow one another without a gap and with the same codecs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Span")]
pub struct TimelineSpan {
    /// When the first begins, milliseconds since the Unix epoch; after a change of codec not before the end of the span before.
    pub start_ms: i64,
    /// When the last ends, milliseconds since the Unix epoch.
    pub end_ms: i64,
    /// Ids of their VoDs, by start time.
    pub vods: Vec<String>,
    /// Whether all of it can be clipped: MP4 or MOV, on the local disk or with a proven copy in a store.
    pub is_clippable: bool,
}

/// A time without recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Blank")]
pub struct TimelineGap {
    /// Milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub end_ms: i64,
}

/// The timeline of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Id of the stream.
    pub stream: String,
    /// What is recorded, by time.
    pub spans: Vec<TimelineSpan>,
    /// The times between spans.
    pub gaps: Vec<TimelineGap>,
}

/// The timeline of a stream: every recording of which a part lies in the asked time, whole.
pub fn timeline(shared: &SharedCatalog, clip_request: &ClipRequest) -> Result<Timeline, ClipError> {
    if clip_request.end_ms <= clip_request.start_ms {
        return Err(ClipError::Reversed { start_ms: clip_request.start_ms, end_ms: clip_request.end_ms });
    }
    let vods = match chosen(shared, clip_request) {
        Err(ClipError::Gap { .. }) => Vec::new(),
        chosen => chosen?,
    };
    Ok(of_vods(clip_request.stream.clone(), &vods))
}

fn of_vods(stream: String, vods: &[VodRecord]) -> Timeline {
    let (mut spans, mut codecs): (Vec<TimelineSpan>, Codecs) = (Vec::new(), Codecs::new());
    for vod in vods.iter().filter(|vod| vod.duration > 0) {
        let has_copy = || vod.remote.iter().any(|object| object.differs.is_none());
        let is_clippable = vod.container.is_iso() && (vod.freed_at.is_none() || has_copy());
        let own = codecs_of(vod);
        let is_close = |span: &&mut TimelineSpan| vod.start_time <= span.end_ms.saturating_add(CLOSE_MS);
        let is_alike = own.iter().all(|(track, codec)| codecs.get(track).is_none_or(|known| known == codec));
        match spans.last_mut().filter(is_close) {
            Some(last) if is_alike => {
                last.end_ms = last.end_ms.max(end_of(vod));
                last.vods.push(vod.vod_id.clone());
                last.is_clippable &= is_clippable;
                codecs.extend(own);
            }
            last => {
                let before_ms = last.map_or(i64::MIN, |last| last.end_ms);
                let (start_ms, end_ms) = (vod.start_time.max(before_ms), end_of(vod));
                if start_ms < end_ms {
                    spans.push(TimelineSpan { start_ms, end_ms, vods: vec![vod.vod_id.clone()], is_clippable });
                    codecs = own;
                }
            }
        }
    }
    let gap = |pair: &[TimelineSpan]| TimelineGap { start_ms: pair[0].end_ms, end_ms: pair[1].start_ms };
    let gaps = spans.windows(2).map(gap).filter(|gap| gap.start_ms < gap.end_ms).collect();
    Timeline { stream, spans, gaps }
}

/// Codecs by kind and number of the track among those of its kind: a clip joins tracks by them.
type Codecs = HashMap<(TrackKind, usize), String>;

fn codecs_of(vod: &VodRecord) -> Codecs {
    let mut codecs = Codecs::new();
    for track in vod.tracks.iter().filter(|track| track.kind != TrackKind::Data) {
        let number = codecs.keys().filter(|(kind, _)| *kind == track.kind).count();
        codecs.insert((track.kind, number), track.codec.clone());
    }
    codecs
}
