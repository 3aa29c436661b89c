//! Progress bars with rate and time left, for what takes longer than a second, on a terminal only.
//!
//! Everywhere else nothing is written: logs and scripts have the journal. Several bars may run at once from several
//! threads; whoever writes to the terminal meanwhile does it inside [`suspend`] or through [`beside_bars`].

use std::io::{self, IsTerminal as _, LineWriter, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::recording::name::printable_text;

const PATIENCE: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";

/// All bars that are on the terminal, one below the other.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Takes the bars off the terminal while something else is written there.
pub fn suspend<R>(write: impl FnOnce() -> R) -> R {
    bars().suspend(write)
}

/// A way to the terminal that takes the bars off it for every line, so that nothing ends up within a bar.
pub fn beside_bars<W: Write>(to: W) -> LineWriter<BarSafeWriter<W>> {
    LineWriter::new(BarSafeWriter(to))
}

/// Takes the bars off the terminal for every write.
#[derive(Debug)]
pub struct BarSafeWriter<W>(W);

impl<W: Write> Write for BarSafeWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        suspend(|| {
            let written = self.0.write(bytes)?;
            self.0.flush()?;
            Ok(written)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One piece of work that reads or writes a known number of bytes.
#[derive(Debug)]
pub struct ProgressDisplay {
    bar: ProgressBar,
    begun: Instant,
    is_terminal: bool,
    shown: OnceLock<()>,
}

impl ProgressDisplay {
    /// Begins; nothing is shown yet. The label names the recording and the step.
    pub fn new(label: &str, total_bytes: u64) -> Self {
        Self::begin(label, total_bytes, io::stderr().is_terminal())
    }

    fn begin(label: &str, total_bytes: u64, is_terminal: bool) -> Self {
        let bar = ProgressBar::hidden();
        bar.set_length(total_bytes);
        bar.set_prefix(printable_text(label));
        Self { bar, begun: Instant::now(), is_terminal, shown: OnceLock::new() }
    }

    /// How many bytes are done, of how many.
    pub fn set(&self, done_bytes: u64, total_bytes: u64) {
        self.bar.set_length(total_bytes.max(done_bytes));
        if is_due(self.is_terminal, self.begun.elapsed()) {
            self.shown.get_or_init(|| self.show());
        }
        self.bar.set_position(done_bytes);
    }

    /// The bar goes away; results are printed by whoever has them.
    pub fn finish(self) {
        drop(self);
    }

    fn show(&self) {
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            self.bar.set_style(style);
        }
        bars().add(self.bar.clone());
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        bars().remove(&self.bar);
    }
}

fn is_due(is_terminal: bool, elapsed: Duration) -> bool {
    is_terminal && elapsed >= PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_off_a_terminal_or_in_the_first_second() {
        assert!(!is_due(false, Duration::from_secs(60)));
        assert!(!is_due(true, Duration::from_millis(999)));
        assert!(is_due(true, PATIENCE));
    }

    #[test]
    fn off_a_terminal_it_only_counts() {
        let progress = ProgressDisplay::begin("room1\u{1b}[2J", 100, false);
        progress.set(40, 120);
        assert_eq!((progress.bar.position(), progress.bar.length()), (40, Some(120)));
        assert_eq!(progress.bar.prefix(), "room1\\u{1b}[2J");
        assert!(progress.shown.get().is_none() && progress.bar.is_hidden());
        progress.finish();
    }

    #[test]
    fn the_template_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
