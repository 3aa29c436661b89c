//! Names of finished files: date, collision number, subfolder, and how a name is shown on a terminal.
//!
//! Names on disk and in the catalogue are fixed when a recording is finished and never change.

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serializer;

use crate::printable::Printable;

/// The date pattern of design §5: `streamId_2026-03-04_14-30-15`.
pub const DEFAULT_DATE_PATTERN: &str = "_%Y-%m-%d_%H-%M-%S";

/// Bytes a file name may have on every file system we meet, less room for our partial's affixes.
const NAME_MAX_BYTES: usize = 200;

/// Serialises a path that is only shown: bytes that are not UTF-8 become the replacement character, as on a terminal.
pub fn shown<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// Serialises several as [`shown`] does one.
pub fn all_shown<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// Formats a time (milliseconds since the Unix epoch) by a `strftime` pattern in a time zone.
///
/// Returns `None` for a time outside the calendar or a pattern that means nothing.
pub fn format_time(at_ms: i64, zone: &TimeZone, pattern: &str) -> Option<String> {
    let at = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(zone.clone());
    jiff::fmt::strtime::format(pattern, &at).ok()
}

/// Whether a name already carries a date (`YYYY-MM-DD`, `YYYYMMDD`, or 10 or 13 digits of epoch time).
pub fn has_date(stem: &str) -> bool {
    let shape: String = stem.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let runs = stem.split(|c: char| !c.is_ascii_digit());
    shape.contains("9999-99-99") || runs.into_iter().any(|run| matches!(run.len(), 8 | 10 | 13 | 14))
}

/// The stem of the finished file: date appended if asked for and not there, characters that no file system or
/// shell should meet replaced, overlong names shortened.
pub fn finished_stem(stem: &str, date: Option<&str>) -> String {
    let mut whole: String = stem.chars().map(|c| if c.is_control() || c == '/' { '_' } else { c }).collect();
    let room = NAME_MAX_BYTES.saturating_sub(date.map_or(0, str::len));
    while whole.len() > room {
        whole.pop();
    }
    match date {
        Some(date) if !has_date(stem) => whole + &date.replace('/', "-"),
        _ => whole,
    }
}

/// The `n`-th name to try: `x.mp4`, `x_1.mp4`, `x_2.mp4` …, Ant Media's own rule.
pub fn numbered(stem: &str, extension: &str, n: u32) -> String {
    if n == 0 { format!("{stem}.{extension}") } else { format!("{stem}_{n}.{extension}") }
}

/// The directory of a finished file: `subfolder` below the recording's directory, unless it already ends with it.
///
/// Only normal components of the subfolder count, so that it cannot lead out of the directory.
pub fn with_subfolder(directory: &Path, subfolder: &str) -> PathBuf {
    let below: PathBuf = Path::new(subfolder).components().filter(|c| matches!(c, Component::Normal(_))).collect();
    if below.as_os_str().is_empty() || directory.ends_with(&below) {
        directory.to_owned()
    } else {
        directory.join(below)
    }
}

/// Makes a path safe to print: what could mislead its reader, and bytes that are not UTF-8, are escaped.
pub fn printable(path: &Path) -> String {
    Printable::path(path).to_string()
}

/// Makes any text safe to print on a terminal, as [`printable`] does for paths.
pub fn printable_text(text: &str) -> String {
    Printable(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_added_only_where_none_is() {
        let date = format_time(1_772_634_615_000, &TimeZone::UTC, DEFAULT_DATE_PATTERN).unwrap();
        assert_eq!(date, "_2026-03-04_14-30-15");
        assert_eq!(finished_stem("room1", Some(&date)), "room1_2026-03-04_14-30-15");
        assert_eq!(finished_stem("room1-2026-03-04_14-30-15.123", Some(&date)), "room1-2026-03-04_14-30-15.123");
        assert_eq!(finished_stem("room1_1700000000000", Some(&date)), "room1_1700000000000");
    }

    #[test]
    fn a_subfolder_is_not_entered_twice_and_never_leads_out() {
        let dir = Path::new("/srv/streams/room1");
        assert_eq!(with_subfolder(dir, ""), dir);
        assert_eq!(with_subfolder(dir, "vod"), dir.join("vod"));
        assert_eq!(with_subfolder(&dir.join("vod"), "vod"), dir.join("vod"));
        assert_eq!(with_subfolder(dir, "../../etc"), dir.join("etc"));
        assert_eq!(with_subfolder(dir, "/a/b"), dir.join("a/b"));
    }

    #[test]
    fn names_cannot_paint_the_terminal() {
        assert_eq!(printable(Path::new("a\u{1b}[31m\nb")), "a\\u{1b}[31m\\u{a}b");
        assert_eq!(printable_text("x\u{202e}4pm"), "x\\u{202e}4pm");
    }

    #[test]
    fn an_overlong_name_is_cut_at_a_character() {
        let stem = finished_stem(&"ü".repeat(200), Some("_2026-03-04_14-30-15"));
        assert!(stem.len() <= NAME_MAX_BYTES && stem.ends_with("_2026-03-04_14-30-15"));
    }
}
