//! How many bytes a second a target may be sent, by the hour: one rate, or a timetable in rclone's form. Pure, except that
//! [`RateLimiter`] keeps the time at which the next byte may go.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTES_A_DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A limit that may change with the time of day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    /// As it was written.
    text: String,
    /// Minute of the week from Monday 00:00, and bytes a second from then on (`None`: no limit); in order.
    from: Vec<(u32, Option<u64>)>,
}

impl Bandwidth {
    /// Reads `10M` (MiB a second; also B, K, G; without a unit KiB, as rclone has it), `off`, or a timetable such as
    /// `08:00,2M 19:00,off` or `Mon-08:00,2M Sat-00:00,off` in local time.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut from = Vec::new();
        for entry in text.split_whitespace() {
            match entry.split_once(',') {
                Some((when, rate)) => {
                    let (day, minute) = moment(when)?;
                    let rate = rate_of(rate)?;
                    let days = day.map_or(0..7, |day| day..day + 1);
                    from.extend(days.map(|day| (day * MINUTES_A_DAY + minute, rate)));
                }
                None if from.is_empty() && !text.trim().contains(char::is_whitespace) => {
                    from.push((0, rate_of(entry)?));
                }
                None => return Err(format!("`{entry}` is not of the form `08:00,2M`")),
            }
        }
        from.sort_by_key(|(minute, _)| *minute);
        if from.is_empty() { Err("it is empty".into()) } else { Ok(Self { text: text.trim().to_owned(), from }) }
    }

    /// Bytes a second at a minute of the week; `None` for no limit. Before the first entry the last of the week holds.
    pub fn at(&self, minute_of_week: u32) -> Option<u64> {
        let holds = self.from.iter().rev().find(|(from, _)| *from <= minute_of_week);
        holds.or(self.from.last()).and_then(|(_, rate)| *rate)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn moment(text: &str) -> Result<(Option<u32>, u32), String> {
    let wrong = || format!("`{text}` is not a time such as 08:00 or Mon-08:00");
    let (day, clock) = match text.split_once('-') {
        Some((day, clock)) => {
            let day = day.to_ascii_lowercase();
            let found = DAYS.iter().position(|name| day.len() >= 3 && day.starts_with(name)).ok_or_else(wrong)?;
            (u32::try_from(found).ok(), clock)
        }
        None => (None, text),
    };
    let (hour, minute) = clock.split_once(':').ok_or_else(wrong)?;
    let (hour, minute): (u32, u32) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    if hour < 24 && minute < 60 { Ok((day, hour * 60 + minute)) } else { Err(wrong()) }
}

fn rate_of(text: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("`{text}` is not a rate such as 512K, 10M or off");
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "" | "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let rate = number * scale;
    if !(1024.0..1e15).contains(&rate) {
        return Err(format!("`{text}` is too small or too large: at least 1K"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 KiB and 1 PB")]
    Ok(Some(rate as u64))
}

/// Shares one limit among everything that is sent to a target.
#[derive(Debug)]
pub(super) struct RateLimiter {
    limit: Bandwidth,
    free_at: Mutex<Option<Instant>>,
}

impl RateLimiter {
    pub fn new(limit: Bandwidth) -> Self {
        Self { limit, free_at: Mutex::new(None) }
    }

    /// Takes the right to send some bytes now, and says how long to wait before the next.
    pub fn take(&self, bytes: u64, now: Instant, minute_of_week: u32) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = self.limit.at(minute_of_week) else {
            *free_at = None;
            return Duration::ZERO;
        };
        let begin = free_at.unwrap_or(now).max(now);
        let end = begin + Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        *free_at = Some(end);
        end.duration_since(now)
    }

    /// The same, now.
    pub fn take_now(&self, bytes: u64) -> Duration {
        self.take(bytes, Instant::now(), minute_of_week(&jiff::Zoned::now()))
    }
}

/// Minutes since Monday, 00:00, as clocks show them there.
fn minute_of_week(now: &jiff::Zoned) -> u32 {
    let day = u32::try_from(now.weekday().to_monday_zero_offset()).unwrap_or_default();
    let minute = u32::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or_default();
    day * MINUTES_A_DAY + minute
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn at(text: &str, day: u32, hour: u32) -> Option<u64> {
        Bandwidth::parse(text).unwrap().at(day * MINUTES_A_DAY + hour * 60)
    }

    #[test]
    fn one_rate_holds_always_and_a_timetable_by_the_hour() {
        assert_eq!(at("10M", 3, 5), Some(10 * MIB));
        assert_eq!(at("512", 3, 5), Some(512 * 1024));
        assert_eq!(at("off", 3, 5), None);
        let office = "08:00,2M 19:00,off";
        assert_eq!(
            [at(office, 0, 7), at(office, 0, 8), at(office, 6, 18), at(office, 6, 19)],
            [None, Some(2 * MIB), Some(2 * MIB), None]
        );
        let weekend = "Mon-08:00,1.5M Sat-00:00,off";
        assert_eq!([at(weekend, 0, 7), at(weekend, 4, 23), at(weekend, 5, 0)], [None, Some(MIB * 3 / 2), None]);
    }

    #[test]
    fn a_timetable_holds_by_local_time() {
        let office = Bandwidth::parse("Mon-08:00,1M Sat-00:00,off").unwrap();
        let at = |time: &str| office.at(minute_of_week(&time.parse().unwrap()));
        assert_eq!(at("2026-11-30T07:59[Europe/Berlin]"), None);
        assert_eq!(at("2026-11-30T08:00[Europe/Berlin]"), Some(MIB));
        assert_eq!(at("2026-12-04T23:59[Asia/Tokyo]"), Some(MIB));
        assert_eq!(at("2026-12-05T00:00[Asia/Tokyo]"), None);
    }

    #[test]
    fn slips_are_named() {
        for text in ["", "fast", "10X", "25:00,1M", "08:00", "08:00,2M 9M", "1B", "Foo-08:00,1M", "10M 20M"] {
            assert!(Bandwidth::parse(text).is_err(), "{text}");
        }
        assert_eq!(Bandwidth::parse(" 08:00,2M  19:00,off ").unwrap().to_string(), "08:00,2M  19:00,off");
    }

    #[test]
    fn bytes_are_spread_over_time_and_silence_is_not_saved_up() {
        let pace = RateLimiter::new(Bandwidth::parse("1M").unwrap());
        let begin = Instant::now();
        assert_eq!(pace.take(MIB / 2, begin, 0), Duration::from_millis(500));
        assert_eq!(pace.take(MIB / 2, begin, 0), Duration::from_secs(1));
        let later = begin + Duration::from_secs(60);
        assert_eq!(pace.take(MIB, later, 0), Duration::from_secs(1));
    }
}
