//! The headers of a movie and its tracks, one file each. What is not understood in them is kept byte for byte.

pub mod dref;
pub mod esds;
pub mod mdhd;
pub mod mvhd;
pub mod pasp;
pub mod stsd;
pub mod tkhd;

/// The time that all-ones stand for: a duration that is not known (ISO/IEC 14496-12 §8.2.2.3).
pub(super) const fn known(duration: u64, version: u8) -> u64 {
    let unknown = if version == 0 { u32::MAX as u64 } else { u64::MAX };
    if duration == unknown { 0 } else { duration }
}

/// Seconds from 1904, the epoch of ISO base media, to 1970.
const EPOCH_1904_SECONDS: i64 = 2_082_844_800;

/// A creation time as milliseconds since the Unix epoch; `None` for 0 (not set) and for times before 1970 that come
/// from writers with the wrong epoch.
pub(super) fn unix_ms(seconds_since_1904: u64) -> Option<i64> {
    let seconds = i64::try_from(seconds_since_1904).ok()?.checked_sub(EPOCH_1904_SECONDS)?;
    (seconds > 0).then(|| seconds.checked_mul(1000)).flatten()
}

/// Seconds since 1904 of a time in milliseconds since the Unix epoch; 0 (not set) where there are none.
pub(super) fn since_1904(unix_ms: i64) -> u64 {
    u64::try_from(unix_ms.div_euclid(1000).saturating_add(EPOCH_1904_SECONDS)).unwrap_or(0)
}
