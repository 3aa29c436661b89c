//! How many VoDs there are by month or day: what a page needs to offer a jump in time.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Nothing, Operation, OperationError, Tell};
use crate::recording::name::format_time;

/// Counts VoDs by the time at which their recording began, in the configured time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VodHistogram {
    /// Length of a span.
    pub by: Span,
    /// Only this stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// A calendar month.
    #[default]
    Month,
    /// A day.
    Day,
}

impl Span {
    const fn pattern(self) -> &'static str {
        match self {
            Self::Month => "%Y-%m",
            Self::Day => "%Y-%m-%d",
        }
    }
}

/// The counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// All of them.
    pub total: u64,
    /// By `2026-03` or `2026-03-04`, spans without a VoD left out.
    pub counts: BTreeMap<String, u64>,
}

impl Operation for VodHistogram {
    type Item = Nothing;
    type Data = Histogram;

    fn run(&self, context: &Context, _tell: Tell<'_, Nothing>) -> Result<Histogram, OperationError> {
        let zone = context.config().finish.time_zone.clone();
        let mut histogram = Histogram::default();
        for vod in context.house().catalog.shared().all_vods()? {
            context.go_on()?;
            // One record that cannot be read does not hide the others; `catalog check` names it.
            let Ok(vod) = vod else { continue };
            if self.stream.as_ref().is_none_or(|stream| *stream == vod.stream_id) {
                let span = format_time(vod.start_time, &zone, self.by.pattern()).unwrap_or_default();
                *histogram.counts.entry(span).or_default() += 1;
                histogram.total += 1;
            }
        }
        Ok(histogram)
    }
}
