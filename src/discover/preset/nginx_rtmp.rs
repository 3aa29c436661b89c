//! nginx with the RTMP module: `stream.flv`, `stream-1700000000.flv` (`record_unique`), and a `record_suffix` such as
//! `-%d-%b-%y-%T.flv` (the module's own example). Final name from the start; the stream's name is URL-escaped.

use std::sync::LazyLock;

use regex::Regex;

use super::date::Civil;
use super::{Parsed, Subject, date};

static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    super::pattern(concat!(
        r"^(?P<stream>.+)-(?P<d>\d{2})-(?P<b>[A-Za-z]{3})-(?P<y>\d{2})",
        r"-(?P<H>\d{2})[:_-](?P<M>\d{2})[:_-](?P<S>\d{2})$"
    ))
    .ok()
});

static UNIQUE: LazyLock<Option<Regex>> = LazyLock::new(|| super::pattern(r"^(?P<stream>.+)-(?P<s>\d{10})$").ok());

pub(super) fn read(subject: Subject<'_>) -> Option<Parsed> {
    let (rest, date_ms) = split_date(subject);
    let unique = UNIQUE.as_ref()?.captures(rest);
    let unique_ms = unique.as_ref().and_then(|u| date::epoch_ms(&u["s"]));
    let stream = unique.as_ref().map_or(rest, |u| u.name("stream").map_or(rest, |m| m.as_str()));
    Some(Parsed { stream: Some(unescape(stream)), start_ms: unique_ms.or(date_ms), ..Parsed::default() })
}

fn split_date(subject: Subject<'_>) -> (&str, Option<i64>) {
    let whole = (subject.stem, None);
    let Some(found) = DATE.as_ref().and_then(|d| d.captures(subject.stem)) else { return whole };
    let small = |group: &str| found[group].parse::<i8>().ok();
    let civil = || {
        Some(Civil {
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

/// Undoes `ngx_escape_uri`; what does not decode to UTF-8 stays as it is.
fn unescape(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = name.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|b| !b.is_ascii_control());
        plain.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8(plain).unwrap_or_else(|_| name.to_owned())
}
