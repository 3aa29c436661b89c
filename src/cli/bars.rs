//! Draws how far a running batch has come: a bar for everything that takes longer than a second, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::progress::ProgressDisplay;
use crate::pipeline::{MeterReading, PipelineContext};

/// Often enough to look alive, seldom enough to cost nothing.
const FRAME: Duration = Duration::from_millis(150);

/// The drawing thread; the bars are gone when this is dropped.
#[derive(Debug)]
pub struct ProgressBars {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ProgressBars {
    /// Begins to draw what is under way in the pipeline; nothing where standard error is no terminal.
    pub fn draw(ctx: &Arc<PipelineContext>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { thread: None };
        }
        let (ctx, (end, ended)) = (Arc::clone(ctx), channel());
        let drawing = move || {
            let mut shown = HashMap::new();
            while ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                follow(&mut shown, ctx.meters.read());
            }
        };
        let thread = std::thread::Builder::new().name("bars".into()).spawn(drawing);
        Self { thread: thread.ok().map(|thread| (end, thread)) }
    }
}

impl Drop for ProgressBars {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Begins bars for what is new, moves the others, ends those whose work is over.
fn follow(shown: &mut HashMap<u64, ProgressDisplay>, readings: Vec<MeterReading>) {
    shown.retain(|id, _| readings.iter().any(|reading| reading.id == *id));
    for reading in readings {
        let bar = shown.entry(reading.id).or_insert_with(|| ProgressDisplay::new(&reading.label, reading.total_bytes));
        bar.set(reading.done_bytes, reading.total_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(id: u64, done_bytes: u64) -> MeterReading {
        MeterReading { id, label: format!("finish {id}"), done_bytes, total_bytes: 100 }
    }

    #[test]
    fn a_bar_lives_as_long_as_its_work() {
        let mut shown = HashMap::new();
        follow(&mut shown, vec![reading(1, 10), reading(2, 20)]);
        assert_eq!(shown.len(), 2);
        follow(&mut shown, vec![reading(2, 40), reading(3, 0)]);
        let mut ids: Vec<_> = shown.keys().copied().collect();
        ids.sort_unstable();
        assert_eq!(ids, [2, 3]);
    }
}
