//! How many VoDs there are by month or day: what a page needs to offer a jump in time.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet::{THIS, flag_of, or_this};
use super::nodes::ALL;
use super::vods::{Chosen, VodState};
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::fleet::{Fleet, FleetQuery};
use crate::recording::Outcome;

/// Counts VoDs by the time at which their recording began, in the configured time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VodHistogram {
    /// Length of a span.
    pub by: HistogramSpan,
    /// Only this stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Only those that were made this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<VodState>,
    /// Only those with this text, in any case, in id, name, stream, description or metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Those of this node of a fleet, by name or id; `all`: those of all nodes. Without it, those of the node that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Span")]
pub enum HistogramSpan {
    /// A calendar month.
    #[default]
    Month,
    /// A day.
    Day,
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
    type Item = NoItem;
    type Data = Histogram;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Histogram, OperationError> {
        let node = self.node.as_deref().filter(|node| *node != THIS);
        if let (Some(node), Some(fleet)) = (node, &context.pipeline().fleet) {
            return self.of_nodes(fleet, node, &context.config().finish.time_zone);
        }
        if node.is_some() {
            return Err(OperationError::invalid("`node` needs `[fleet] database`: this node is alone"));
        }
        let chosen = Chosen {
            stream: self.stream.as_deref(),
            text: self.text.as_deref(),
            outcome: self.outcome,
            state: self.state,
        };
        let starts = context.pipeline().catalog.shared().starts(&chosen.selection())?;
        Ok(counted(&starts, self.by, &context.config().finish.time_zone))
    }
}

impl VodHistogram {
    /// Counted by the database, which knows time zones by name.
    fn of_nodes(&self, fleet: &Fleet, node: &str, zone: &TimeZone) -> Result<Histogram, OperationError> {
        let query = FleetQuery {
            node: Some(node.to_owned()).filter(|node| node != ALL),
            stream: self.stream.clone(),
            outcome: self.outcome,
            flag: self.state.map(flag_of),
            text: self.text.clone(),
            ..FleetQuery::default()
        };
        let pattern = match self.by {
            HistogramSpan::Month => "YYYY-MM",
            HistogramSpan::Day => "YYYY-MM-DD",
        };
        let counts = fleet.histogram(&query, pattern, zone.iana_name().unwrap_or("UTC")).map_err(or_this)?;
        Ok(Histogram { total: counts.values().sum(), counts })
    }
}

/// Counts times that are in order: the calendar is asked once for each span.
fn counted(starts: &[i64], by: HistogramSpan, zone: &TimeZone) -> Histogram {
    let mut histogram = Histogram { total: starts.len() as u64, counts: BTreeMap::new() };
    let mut rest = starts;
    while let Some(first_ms) = rest.first() {
        let (name, end_ms) = by.of(*first_ms, zone).unwrap_or_else(|| (String::new(), i64::MAX));
        let inside = rest.partition_point(|start| *start < end_ms).max(1);
        *histogram.counts.entry(name).or_default() += inside as u64;
        rest = &rest[inside..];
    }
    histogram
}

impl HistogramSpan {
    /// The span that holds a time: its name, and where it ends, milliseconds since the Unix epoch.
    fn of(self, at_ms: i64, zone: &TimeZone) -> Option<(String, i64)> {
        let at: Zoned = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(zone.clone());
        let (pattern, first, length) = match self {
            Self::Month => ("%Y-%m", at.date().first_of_month(), 1.month()),
            Self::Day => ("%Y-%m-%d", at.date(), 1.day()),
        };
        let end = first.checked_add(length).ok()?.to_zoned(zone.clone()).ok()?;
        Some((at.strftime(pattern).to_string(), end.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_the_spans_of_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        // 23:30 UTC is the next day in Berlin; the clock goes forward on 29 March 2026.
        let starts = [
            "2026-02-28T22:30:00Z",
            "2026-02-28T23:30:00Z",
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:30:00Z",
            "2026-12-31T23:30:00Z",
        ]
        .map(at);
        let named = |by| {
            let histogram = counted(&starts, by, &zone);
            assert_eq!(histogram.total, 5);
            histogram.counts.into_iter().map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(HistogramSpan::Month), "2026-02=1 2026-03=3 2027-01=1");
        assert_eq!(named(HistogramSpan::Day), "2026-02-28=1 2026-03-01=1 2026-03-29=2 2027-01-01=1");
    }
}
