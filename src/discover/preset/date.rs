//! Civil dates in names, read in a time zone.

use jiff::civil;
use jiff::tz::TimeZone;
use regex::Captures;

/// The parts of a date as digits; what is missing counts as its smallest value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DateParts {
    pub(super) year: i16,
    pub(super) month: i8,
    pub(super) day: i8,
    pub(super) hour: i8,
    pub(super) minute: i8,
    pub(super) second: i8,
    pub(super) milli: i32,
}

impl DateParts {
    /// Milliseconds since the Unix epoch, or `None` for a date that does not exist.
    ///
    /// A time that a change of clocks skips or repeats is read as RFC 5545 says (the earlier offset).
    pub(super) fn in_zone(self, zone: &TimeZone) -> Option<i64> {
        let nanos = self.milli.checked_mul(1_000_000)?;
        let at =
            civil::DateTime::new(self.year, self.month, self.day, self.hour, self.minute, self.second, nanos).ok()?;
        Some(zone.to_zoned(at).ok()?.timestamp().as_millisecond())
    }
}

/// Reads the groups `Y`, `m`, `d`, `H`, `M`, `S` and, if there, the fraction `f` (any number of digits).
pub(super) fn from_groups(found: &Captures<'_>, zone: &TimeZone) -> Option<i64> {
    let number = |group: &str| found.name(group)?.as_str().parse::<i16>().ok();
    let small = |group: &str| number(group).and_then(|n| i8::try_from(n).ok());
    DateParts {
        year: number("Y")?,
        month: small("m")?,
        day: small("d")?,
        hour: small("H").unwrap_or(0),
        minute: small("M").unwrap_or(0),
        second: small("S").unwrap_or(0),
        milli: found.name("f").map_or(0, |f| fraction_ms(f.as_str())),
    }
    .in_zone(zone)
}

/// The first three digits of a decimal fraction, as milliseconds.
pub(super) fn fraction_ms(digits: &str) -> i32 {
    format!("{digits:0<3}")[..3].parse().unwrap_or(0)
}

/// A number of seconds (10 digits) or milliseconds (13 digits) since the Unix epoch.
pub(super) fn epoch_ms(digits: &str) -> Option<i64> {
    let number: i64 = digits.parse().ok()?;
    match digits.len() {
        10 => number.checked_mul(1000),
        13 => Some(number),
        _ => None,
    }
}

/// The number of an English month abbreviation, as `strftime` writes it in the C locale.
pub(super) fn month_number(name: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let at = MONTHS.iter().position(|m| name.eq_ignore_ascii_case(m))?;
    i8::try_from(at + 1).ok()
}
