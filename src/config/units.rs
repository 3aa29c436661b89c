//! Durations and sizes as an operator writes them: `"90s"`, `"1h30m"`, `"50GiB"`.
//!
//! Pure. A number without a unit is never guessed to be one: for a duration it is refused, for a size it is bytes.

use std::time::Duration;

const MILLIS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const BYTES: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Reads a duration: whole numbers, each with one of `ms s m h d`, joined without spaces between the parts.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut total_ms = 0u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    while !rest.is_empty() {
        let (part_ms, after) = duration_part(rest).map_err(|why| format!("`{text}` {why}"))?;
        total_ms = total_ms.checked_add(part_ms).ok_or_else(|| format!("`{text}` is too long"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

fn duration_part(text: &str) -> Result<(u64, &str), String> {
    let (number, rest) = split_number(text)?;
    let unit_len = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_len);
    let scale = match (scale_of(&MILLIS, unit), unit) {
        (Some(scale), _) => scale,
        (None, "") => return Err("has no unit".into()),
        (None, _) => return Err(format!("has the unknown unit `{unit}`: use ms, s, m, h or d")),
    };
    Ok((number.checked_mul(scale).ok_or("is too long")?, after))
}

/// Reads a size: a whole number with `B`, `kB` … `TB` (powers of 1000), `KiB` … `TiB` (powers of 1024), or bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let (number, unit) = split_number(trimmed).map_err(|why| format!("`{text}` {why}"))?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let scale = if unit.is_empty() { Some(1) } else { scale_of(&BYTES, &unit) };
    let scale = scale.ok_or_else(|| {
        format!("`{text}` has the unknown unit `{unit}`: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")
    })?;
    number.checked_mul(scale).ok_or_else(|| format!("`{text}` is too large"))
}

fn split_number(text: &str) -> Result<(u64, &str), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err("does not begin with a whole number".into());
    }
    Ok((number.parse().map_err(|_| "is too large")?, rest))
}

fn scale_of(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

/// Writes a duration as it would be configured, in the largest unit that does not hide small numbers.
pub(super) fn show_duration(duration: Duration) -> String {
    let total_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let at_least = |unit_ms: u64, count: u64| total_ms >= unit_ms * count && total_ms.is_multiple_of(unit_ms);
    let (unit_ms, unit) = match total_ms {
        _ if at_least(86_400_000, 2) => (86_400_000, "d"),
        _ if at_least(3_600_000, 1) => (3_600_000, "h"),
        _ if at_least(60_000, 5) => (60_000, "m"),
        _ if total_ms.is_multiple_of(1_000) => (1_000, "s"),
        _ => (1, "ms"),
    };
    format!("{}{unit}", total_ms / unit_ms)
}

/// Writes a size as it would be configured: the largest binary unit that divides it, else bytes.
pub(super) fn show_size(size_bytes: u64) -> String {
    let binary = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = binary.into_iter().find(|(_, scale)| size_bytes >= *scale && size_bytes.is_multiple_of(*scale));
    fits.map_or_else(|| format!("{size_bytes}B"), |(unit, scale)| format!("{}{unit}", size_bytes / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_may_have_several() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("5s"), Ok(5_000));
        assert_eq!(ms(" 10m "), Ok(600_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("3d"), Ok(259_200_000));
        assert_eq!(ms("60"), Err("`60` has no unit".into()));
        assert_eq!(ms("-5s"), Err("`-5s` does not begin with a whole number".into()));
        assert!(ms("5 parsecs").unwrap_err().contains("has no unit"));
        assert!(ms("5parsecs").unwrap_err().contains("`parsecs`"));
        assert!(ms("99999999999999999999s").unwrap_err().contains("too large"));
        assert!(ms("999999999999999999d").unwrap_err().contains("too long"));
        assert!(ms("").is_err());
    }

    #[test]
    fn sizes_know_both_thousands() {
        assert_eq!(parse_size("50GiB"), Ok(50 << 30));
        assert_eq!(parse_size("10GB"), Ok(10_000_000_000));
        assert_eq!(parse_size("10 gb"), Ok(10_000_000_000));
        assert_eq!(parse_size("1048576"), Ok(1 << 20));
        assert!(parse_size("lots").unwrap_err().contains("whole number"));
        assert!(parse_size("5G").unwrap_err().contains("`g`"));
        assert!(parse_size("99999999TiB").unwrap_err().contains("too large"));
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for text in ["500ms", "5s", "60s", "120s", "10m", "1h", "24h", "3d", "90s"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["50GiB", "1MiB", "1025B", "0B"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
    }
}
