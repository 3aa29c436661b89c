//! Draws how far a running batch has come: a bar for everything that takes longer than a second, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::progress::Progress;
use crate::pipeline::{House, Reading};

/// Often enough to look alive, seldom enough to cost nothing.
const FRAME: Duration = Duration::from_millis(150);

/// The drawing thread; the bars are gone when this is dropped.
#[derive(Debug)]
pub struct Bars {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Bars {
    /// Begins to draw what is under way in a house; nothing where standard error is no terminal.
    pub fn draw(house: &Arc<House>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { thread: None };
        }
        let (house, (end, ended)) = (Arc::clone(house), channel());
        let drawing = move || {
            let mut shown = HashMap::new();
            while ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                follow(&mut shown, house.meters.read());
            }
        };
        let thread = std::thread::Builder::new().name("bars".into()).spawn(drawing);
        Self { thread: thread.ok().map(|thread| (end, thread)) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Begins bars for what is new, moves the others, ends those whose work is over.
fn follow(shown: &mut HashMap<u64, Progress>, readings: Vec<Reading>) {
    shown.retain(|id, _| readings.iter().any(|reading| reading.id == *id));
    for reading in readings {
        let bar = shown.entry(reading.id).or_insert_with(|| Progress::new(&reading.label, reading.total_bytes));
        bar.set(reading.done_bytes, reading.total_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(id: u64, done_bytes: u64) -> Reading {
        Reading { id, label: format!("finish {id}"), done_bytes, total_bytes: 100 }
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
