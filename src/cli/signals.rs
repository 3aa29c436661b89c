//! What signals ask for: the first SIGINT or SIGTERM to end in order, the second to end now, SIGHUP to read the
//! configuration again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;

use super::exit::Exit;
use crate::fault::chain;
use crate::pipeline::Stop;

static IS_ENDING: AtomicBool = AtomicBool::new(false);
static LAST_WORD: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// What is still done when a second signal ends the program at once.
pub fn before_an_abrupt_end(last_word: impl Fn() + Send + Sync + 'static) {
    drop(LAST_WORD.set(Box::new(last_word)));
}

fn end(stop: &Stop) {
    if IS_ENDING.swap(true, Ordering::SeqCst) {
        // What was begun is journalled and carried on at the next start; an impatient operator is no fault of a file.
        if let Some(last_word) = LAST_WORD.get() {
            last_word();
        }
        std::process::exit(Exit::Interrupted.code().into());
    }
    stop.request();
}

/// Listens from now on; `reload` hears of SIGHUP.
pub fn listen(stop: &Stop, reload: impl Fn() + Send + 'static) {
    let at_interrupt = stop.clone();
    if let Err(error) = ctrlc::set_handler(move || end(&at_interrupt)) {
        warn!(error = chain(&error), "Interrupts end the program at once.");
    }
    let stop = stop.clone();
    let listen = move |mut signals: Signals| {
        for signal in signals.forever() {
            if signal == SIGTERM { end(&stop) } else { reload() }
        }
    };
    match Signals::new([SIGTERM, SIGHUP]) {
        Ok(signals) => drop(std::thread::Builder::new().name("signals".into()).spawn(move || listen(signals))),
        Err(error) => warn!(error = chain(&error), "SIGTERM ends the program at once, SIGHUP as well."),
    }
}
