//! Numbers for people: sizes, rates and durations. `--json` has the exact ones.

const STEP: f64 = 1024.0;

/// A size in bytes as `512 B`, `1.4 GiB`, `23 MiB`: at most three digits, powers of 1024.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn size(size_bytes: u64) -> String {
    let mut value = size_bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // From here on it would be rounded to 1024 of the smaller unit.
        if value < STEP - 0.5 {
            break;
        }
        value /= STEP;
        unit = larger;
    }
    if unit == "B" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// A duration in milliseconds as `01:02:03`, whole seconds, hours as many as there are.
pub fn duration(duration_ms: i64) -> String {
    let sign = if duration_ms < 0 { "-" } else { "" };
    let seconds = duration_ms.unsigned_abs() / 1000;
    format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_at_most_three_digits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1_503_238_554), "1.4 GiB");
        assert_eq!(size(24_117_248), "23 MiB");
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(10 * 1024 - 1), "10 KiB");
        assert_eq!(size(u64::MAX), "16 EiB");
    }

    #[test]
    fn durations_are_hours_minutes_seconds() {
        assert_eq!(duration(3_723_999), "01:02:03");
        assert_eq!(duration(0), "00:00:00");
        assert_eq!(duration(360_000_000), "100:00:00");
        assert_eq!(duration(-1500), "-00:00:01");
    }
}
