//! SRS: `[app]/[stream].[timestamp].flv`, `[app]/[stream]/[timestamp].mp4`, and dates by its Go-like variables
//! (`[2006]/[01]/[02]/[stream]-[15].[04].[05].[999]`); `.tmp` behind it while recording. `[duration]`, in milliseconds, may follow.

use std::sync::LazyLock;

use regex::Regex;

use super::{NameInput, ParsedName, date};

static TIMESTAMP: LazyLock<Option<Regex>> =
    LazyLock::new(|| super::pattern(r"^(?:(?P<stream>.+)[._-])?(?P<ms>\d{13})(?:[._-]\d{1,9})?$").ok());

/// Matched against directory and stem together, as the date may be in either.
static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?:(?P<before>.+)/)?(?P<Y>\d{4})/(?P<m>\d{2})/(?P<d>\d{2})/(?:(?P<after>.+)/)?",
        r"(?:(?P<stream>[^/]+)[._-])?(?P<H>\d{2})\.(?P<M>\d{2})\.(?P<S>\d{2})\.(?P<f>\d{1,3})$"
    ))
    .ok()
});

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    by_timestamp(subject).or_else(|| by_date(subject)).or_else(|| by_name(subject))
}

fn by_timestamp(subject: NameInput<'_>) -> Option<ParsedName> {
    let found = TIMESTAMP.as_ref()?.captures(subject.stem)?;
    let stream = found.name("stream").map(|m| m.as_str().to_owned()).or_else(|| subject.parent());
    Some(ParsedName { stream, start_ms: date::epoch_ms(&found["ms"]), ..ParsedName::default() })
}

fn by_date(subject: NameInput<'_>) -> Option<ParsedName> {
    let whole = format!("{}/{}", subject.directory, subject.stem);
    let found = DATE.as_ref()?.captures(whole.trim_start_matches('/'))?;
    let last = |group: &str| found.name(group).and_then(|m| m.as_str().rsplit('/').next()).map(str::to_owned);
    let stream = last("stream").or_else(|| last("after")).or_else(|| last("before"));
    // `[999]` is a number of milliseconds, which not every release pads with zeros.
    let fraction = found.name("f").and_then(|f| f.as_str().parse::<i64>().ok()).unwrap_or(0);
    let second = date::from_groups(&found, subject.zone)?.div_euclid(1000) * 1000;
    Some(ParsedName { stream, start_ms: Some(second + fraction), ..ParsedName::default() })
}

/// A `dvr_path` without variables of time: the whole name is the stream.
fn by_name(subject: NameInput<'_>) -> Option<ParsedName> {
    let is_plain = !subject.stem.is_empty() && !subject.stem.contains(char::is_whitespace);
    is_plain.then(|| ParsedName { stream: Some(subject.stem.to_owned()), ..ParsedName::default() })
}
