//! Dates and time zones as an operator writes them.
//!
//! A date without a time is midnight in the configured time zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::value::ValueError;
use crate::discover::Existing;

const SINCE: &str = "since:";

/// Reads `all`, `orphans`, `none` or `since:DATE`.
pub(super) fn parse_existing(text: &str, zone: &TimeZone) -> Result<Existing, ValueError> {
    match text.trim() {
        "all" => Ok(Existing::All),
        "orphans" => Ok(Existing::Orphans),
        "none" => Ok(Existing::None),
        text => match text.strip_prefix(SINCE) {
            Some(date) => since(date.trim(), zone).map(|at| Existing::Since(at.as_millisecond())),
            None => Err(ValueError::Kind(format!("`{text}`"))),
        },
    }
}

fn since(date: &str, zone: &TimeZone) -> Result<Timestamp, ValueError> {
    if let Ok(timestamp) = date.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    // jiff takes a date with a time for a date and drops the time: the longer form is tried first.
    let local = date.parse::<DateTime>().or_else(|_| date.parse::<Date>().map(|d| d.at(0, 0, 0, 0)));
    let zoned: Option<Zoned> = local.ok().and_then(|local| local.to_zoned(zone.clone()).ok());
    zoned.map(|at| at.timestamp()).ok_or_else(|| ValueError::Meaning(format!("`{date}` is not a valid date")))
}

/// Writes what [`parse_existing`] reads.
pub(super) fn show_existing(existing: Existing, zone: &TimeZone) -> String {
    match existing {
        Existing::All => "all".into(),
        Existing::Orphans => "orphans".into(),
        Existing::None => "none".into(),
        Existing::Since(at_ms) => format!("{SINCE}{}", show_moment(at_ms, zone)),
    }
}

fn show_moment(at_ms: i64, zone: &TimeZone) -> String {
    let Ok(at) = Timestamp::from_millisecond(at_ms) else { return at_ms.to_string() };
    let local = at.to_zoned(zone.clone()).datetime();
    if local == local.date().at(0, 0, 0, 0) { local.date().to_string() } else { at.to_string() }
}

/// The time zone of that name: `local`, `UTC`, or an IANA name.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "local" => Some(TimeZone::system()),
        "UTC" | "utc" => Some(TimeZone::UTC),
        _ => TimeZone::get(name).ok(),
    }
}

/// The name that [`zone`] reads.
pub(super) fn zone_name(zone: &TimeZone) -> String {
    if *zone == TimeZone::system() {
        return "local".into();
    }
    zone.iana_name().unwrap_or("local").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_midnight_in_the_configured_zone() {
        let berlin = zone("Europe/Berlin").unwrap();
        assert_eq!(parse_existing("since:2026-01-01", &TimeZone::UTC), Ok(Existing::Since(1_767_225_600_000)));
        let at_berlin = Existing::Since(1_767_225_600_000 - 3_600_000);
        assert_eq!(parse_existing("since:2026-01-01", &berlin), Ok(at_berlin));
        assert_eq!(parse_existing("since:2026-01-01T01:00", &berlin), Ok(Existing::Since(1_767_225_600_000)));
        assert_eq!(parse_existing("since:2026-01-01T00:00:00Z", &berlin), Ok(Existing::Since(1_767_225_600_000)));
        assert_eq!(show_existing(at_berlin, &berlin), "since:2026-01-01");
        assert_eq!(show_existing(at_berlin, &TimeZone::UTC), "since:2025-12-31T23:00:00Z");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        assert!(parse_existing("since:2026-02-30", &TimeZone::UTC).is_err());
        assert!(parse_existing("since:", &TimeZone::UTC).is_err());
        assert!(parse_existing("some", &TimeZone::UTC).is_err());
    }
}
