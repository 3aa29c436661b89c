//! `MediaMTX`: `%path/%Y-%m-%d_%H-%M-%S-%f` in local time with microseconds, or `%path/%s-%f`. Final name from the
//! start; a path may have several levels and all of them are the stream's name. `%z` (`Z` or `+0100`) may follow a date.

use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone};
use regex::Regex;

use super::{NameInput, ParsedName, date};

static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<stream>.+?)[_-])?",
        r"(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})_(?P<H>\d{2})-(?P<M>\d{2})-(?P<S>\d{2})(?:-(?P<f>\d{6}))?",
        r"[_-]?(?P<z>Z|[+-]\d{4})?$"
    ))
    .ok()
});

static EPOCH: LazyLock<Option<Regex>> = LazyLock::new(|| super::pattern(r"^(?P<s>\d{10})(?:[-._](?P<f>\d{6}))?$").ok());

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    by_date(subject).or_else(|| by_epoch(subject))
}

fn path(subject: NameInput<'_>) -> Option<String> {
    (!subject.directory.is_empty()).then(|| subject.directory.to_owned())
}

fn by_date(subject: NameInput<'_>) -> Option<ParsedName> {
    let found = DATE.as_ref()?.captures(subject.stem)?;
    let zone = found.name("z").map_or(Some(subject.zone.clone()), |z| zone(z.as_str()))?;
    let start_ms = Some(date::from_groups(&found, &zone)?);
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| path(subject));
    Some(ParsedName { stream, start_ms, ..ParsedName::default() })
}

/// `Z`, or hours and minutes east of UTC as `+hhmm`.
fn zone(text: &str) -> Option<TimeZone> {
    let number: i32 = if text == "Z" { 0 } else { text.parse().ok()? };
    let minutes = number / 100 * 60 + number % 100;
    Some(TimeZone::fixed(Offset::from_seconds(minutes * 60).ok()?))
}

fn by_epoch(subject: NameInput<'_>) -> Option<ParsedName> {
    let found = EPOCH.as_ref()?.captures(subject.stem)?;
    let fraction_ms = found.name("f").map_or(0, |f| i64::from(date::fraction_ms(f.as_str())));
    let start_ms = Some(date::epoch_ms(&found["s"])? + fraction_ms);
    Some(ParsedName { stream: path(subject), start_ms, ..ParsedName::default() })
}
