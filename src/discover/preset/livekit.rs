//! `LiveKit` egress: `{room_name}-{time}` with `2006-01-02T150405` in local time, or `{utc}` (14 or 17 digits, UTC).

use std::sync::LazyLock;

use jiff::tz::TimeZone;
use regex::Regex;

use super::{Parsed, Subject, date};

static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+)[-_])?",
        r"(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})T(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})$"
    ))
    .ok()
});

static UTC: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+)[-_])?",
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})(?P<f>\d{3})?$"
    ))
    .ok()
});

pub(super) fn read(subject: Subject<'_>) -> Option<Parsed> {
    by(TIME.as_ref()?, subject, subject.zone).or_else(|| by(UTC.as_ref()?, subject, &TimeZone::UTC))
}

fn by(pattern: &Regex, subject: Subject<'_>, zone: &TimeZone) -> Option<Parsed> {
    let found = pattern.captures(subject.stem)?;
    let start_ms = Some(date::from_groups(&found, zone)?);
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| subject.parent());
    Some(Parsed { stream, start_ms, ..Parsed::default() })
}
