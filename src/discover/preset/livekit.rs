//! `LiveKit` egress: `{room_name}-{time}` with `2006-01-02T150405`, or `{utc}` (14 digits and milliseconds). Both are in the
//! local time of the egress host: `{utc}` is formatted without a change of the zone (`output_file.go`, `getFilenameInfo`).

use std::sync::LazyLock;

use regex::Regex;

use super::{NameInput, ParsedName, date};

static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+)[-_])?",
        r"(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})T(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})$"
    ))
    .ok()
});

/// Older releases write milliseconds without leading zeros.
static DIGITS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+)[-_])?",
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})(?P<ms>\d{1,3})?$"
    ))
    .ok()
});

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    by(TIME.as_ref()?, subject).or_else(|| by(DIGITS.as_ref()?, subject))
}

fn by(pattern: &Regex, subject: NameInput<'_>) -> Option<ParsedName> {
    let found = pattern.captures(subject.stem)?;
    let milliseconds = found.name("ms").and_then(|ms| ms.as_str().parse::<i64>().ok()).unwrap_or(0);
    let start_ms = Some(date::from_groups(&found, subject.zone)? + milliseconds);
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| subject.parent());
    Some(ParsedName { stream, start_ms, ..ParsedName::default() })
}
