//! When to try again: exponential backoff with jitter. Pure.

use crate::fault::Class;

/// First and longest delay of a class, milliseconds.
const fn delays_ms(class: Class) -> Option<(u64, u64)> {
    match class {
        Class::Transient => Some((1_000, 5 * 60_000)),
        Class::Environment => Some((30_000, 15 * 60_000)),
        Class::Cancelled => Some((0, 0)),
        Class::Permanent => None,
    }
}

/// When to try again after `attempts` attempts (from 1), milliseconds since the Unix epoch; `None` waits for a person.
///
/// The delay doubles with each attempt up to the class's longest, and lies in the upper half of that, where in it by the
/// seed: uploads that failed together do not come back together. What was merely cancelled is due at once.
pub fn next_try_ms(attempts: u32, class: Class, now_ms: i64, jitter_seed: u64) -> Option<i64> {
    let (first_ms, longest_ms) = delays_ms(class)?;
    let doublings = attempts.saturating_sub(1).min(20);
    let delay_ms = first_ms.saturating_mul(1 << doublings).min(longest_ms);
    let jitter_ms = scattered(jitter_seed ^ u64::from(attempts)) % (delay_ms / 2 + 1);
    Some(now_ms.saturating_add_unsigned(delay_ms - jitter_ms))
}

/// `SplitMix64`: close seeds give values far apart.
const fn scattered(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table() {
        let spread = |attempts, class| {
            let times = (0..200).filter_map(|seed| next_try_ms(attempts, class, 0, seed)).collect::<Vec<_>>();
            times.iter().min().copied().zip(times.iter().max().copied())
        };
        let within = |attempts, class, low: i64, high: i64| {
            let (min, max) = spread(attempts, class).unwrap();
            assert!(low <= min && max <= high && min < max, "{attempts} {class:?}: {min}..{max}");
        };
        within(1, Class::Transient, 500, 1_000);
        within(2, Class::Transient, 1_000, 2_000);
        within(9, Class::Transient, 128_000, 256_000);
        within(10, Class::Transient, 150_000, 300_000);
        within(1, Class::Environment, 15_000, 30_000);
        within(100, Class::Environment, 450_000, 900_000);
        assert_eq!(spread(1, Class::Cancelled), Some((0, 0)));
        assert_eq!(spread(1, Class::Permanent), None);
    }

    proptest! {
        #[test]
        fn the_delay_grows_to_its_cap_and_never_leaves_the_upper_half(
            attempts in 0_u32.., now_ms in 0_i64..4_000_000_000_000, seed: u64, is_transient: bool,
        ) {
            let class = if is_transient { Class::Transient } else { Class::Environment };
            let (first_ms, longest_ms) = delays_ms(class).unwrap();
            let bound = |attempts: u32| (first_ms << attempts.saturating_sub(1).min(20)).min(longest_ms);
            let delay_ms = u64::try_from(next_try_ms(attempts, class, now_ms, seed).unwrap() - now_ms).unwrap();
            prop_assert!(delay_ms <= bound(attempts) && delay_ms >= bound(attempts) / 2);
            prop_assert!(bound(attempts) <= bound(attempts.saturating_add(1)));
        }

        #[test]
        fn a_time_near_the_end_does_not_overflow(attempts: u32, seed: u64) {
            prop_assert_eq!(next_try_ms(attempts, Class::Transient, i64::MAX, seed), Some(i64::MAX));
        }
    }
}
