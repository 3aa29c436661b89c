//! Files as FFmpeg sees them: a stream of ours that remembers the operating system's own words about a failure and
//! how far it was read; and the time base of a track.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is remembered about a stream while FFmpeg owns it.
#[derive(Debug, Clone, Default)]
pub(in crate::media) struct Tap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    first_error: Mutex<Option<io::Error>>,
    furthest: AtomicU64,
}

impl Tap {
    /// Takes the first error the operating system reported, if any.
    pub(in crate::media) fn take_error(&self) -> Option<io::Error> {
        self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The furthest byte that was read or written.
    pub(in crate::media) fn furthest(&self) -> u64 {
        self.0.furthest.load(Ordering::Relaxed)
    }

    /// Whether an error was reported and not taken yet.
    pub(super) fn has_error(&self) -> bool {
        self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn note(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::Interrupted {
            return;
        }
        let mut first = self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        });
    }
}

/// A file that notes errors and its position in a [`Tap`].
#[derive(Debug)]
pub(in crate::media) struct Tapped {
    file: File,
    position: u64,
    tap: Tap,
}

impl Tapped {
    pub(in crate::media) fn new(file: File, tap: Tap) -> Self {
        Self { file, position: 0, tap }
    }

    fn moved(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        match &outcome {
            Ok(count) => {
                self.position += *count as u64;
                self.tap.0.furthest.fetch_max(self.position, Ordering::Relaxed);
            }
            Err(error) => self.tap.note(error),
        }
        outcome
    }
}

impl Read for Tapped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let outcome = self.file.read(into);
        self.moved(outcome)
    }
}

impl Write for Tapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.file.write(bytes);
        self.moved(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Tapped {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let outcome = self.file.seek(to);
        match &outcome {
            Ok(position) => self.position = *position,
            Err(error) => self.tap.note(error),
        }
        outcome
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

/// Seconds per tick of a track's timestamps, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct TimeBase {
    /// Seconds.
    pub(in crate::media) num: i32,
    /// Ticks.
    pub(in crate::media) den: i32,
}

impl TimeBase {
    pub(in crate::media) const MICROSECONDS: Self = Self { num: 1, den: 1_000_000 };
    pub(in crate::media) const MILLISECONDS: Self = Self { num: 1, den: 1000 };

    /// Converts ticks of this time base into ticks of another, rounding to the nearest.
    pub(in crate::media) fn rescale(self, ticks: i64, to: Self) -> i64 {
        let over = i128::from(self.den) * i128::from(to.num);
        let scaled = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        let rounded = (scaled + over.abs() / 2).div_euclid(over.max(1));
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    }

    pub(in crate::media) fn to_ms(self, ticks: i64) -> i64 {
        self.rescale(ticks, Self::MILLISECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_and_never_overflows() {
        let ts = TimeBase { num: 1, den: 90_000 };
        assert_eq!(ts.to_ms(90_045), 1001);
        assert_eq!(ts.to_ms(-45), 0);
        assert_eq!(ts.to_ms(-46), -1);
        assert_eq!(TimeBase::MICROSECONDS.to_ms(i64::MAX), i64::MAX / 1000 + 1);
        assert!(ts.rescale(i64::MAX, TimeBase { num: 1, den: i32::MAX }) > 0);
    }

    #[test]
    fn the_first_error_keeps_its_kind() {
        let tap = Tap::default();
        let mut full = Tapped::new(File::options().write(true).open("/dev/full").unwrap(), tap.clone());
        full.write(b"x").unwrap_err();
        assert_eq!(tap.take_error().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(tap.take_error().is_none());
    }
}
