//! nginx with the RTMP module: `stream.flv`, `stream-1700000000.flv` (`record_unique`), and a `record_suffix` such as
//! `-%d-%b-%y-%T.flv` (the module's own example). Final name from the start; the stream's name is URL-escaped.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use regex::Regex;

use super::date::DateParts;
use super::{NameInput, ParsedName, date};

static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?P<stream>.+)-(?P<d>\d{2})-(?P<b>[A-Za-z]{3})-(?P<y>\d{2})",
        r"-(?P<H>\d{2})[:_-](?P<M>\d{2})[:_-](?P<S>\d{2})$"
    ))
    .ok()
});

static UNIQUE: LazyLock<Option<Regex>> = LazyLock::new(|| super::pattern(r"^(?P<stream>.+)-(?P<s>\d{10})$").ok());

pub(super) fn read(subject: NameInput<'_>) -> Option<ParsedName> {
    let (rest, date_ms) = split_date(subject);
    let unique = UNIQUE.as_ref()?.captures(rest);
    let unique_ms = unique.as_ref().and_then(|u| date::epoch_ms(&u["s"]));
    let stream = unique.as_ref().map_or(rest, |u| u.name("stream").map_or(rest, |m| m.as_str()));
    Some(ParsedName { stream: Some(unescape(stream)), start_ms: unique_ms.or(date_ms), ..ParsedName::default() })
}

fn split_date(subject: NameInput<'_>) -> (&str, Option<i64>) {
    let whole = (subject.stem, None);
    let Some(found) = DATE.as_ref().and_then(|d| d.captures(subject.stem)) else { return whole };
    let small = |group: &str| found[group].parse::<i8>().ok();
    let civil = || {
        Some(DateParts {
            year: 2000 + found["y"].parse::<i16>().ok()?,
            month: date::month_number(&found["b"])?,
            day: small("d")?,
            hour: small("H")?,
            minute: small("M")?,
            second: small("S")?,
            milli: 0,
        })
    };
    match (civil().and_then(|c| c.in_zone(subject.zone)), found.name("stream")) {
        (Some(at_ms), Some(stream)) => (&subject.stem[stream.range()], Some(at_ms)),
        _ => whole,
    }
}

/// Undoes `ngx_escape_uri`; what does not decode to UTF-8, or to control characters, stays as it is.
fn unescape(name: &str) -> String {
    let plain = percent_decode_str(name).decode_utf8().ok();
    let plain = plain.filter(|plain| !plain.contains(|c: char| c.is_ascii_control()));
    plain.map_or_else(|| name.to_owned(), Into::into)
}
