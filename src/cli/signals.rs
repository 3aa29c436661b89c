//! What signals ask for: the first SIGINT or SIGTERM to end in order and soon, the second to end now, SIGHUP to read the
//! configuration again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;

use super::exit::Exit;
use crate::fault::chain;
use crate::pipeline::Stop;

static IS_ENDING: AtomicBool = AtomicBool::new(false);
static LAST_WORD: OnceLock<FinalMessage> = OnceLock::new();

/// How long what is under way may take to come to a safe point. A disk that hangs, or a flush of gigabytes, must not be the
/// reason why the service manager kills the process: that would be held against the recordings.
const DRAIN: Duration = Duration::from_secs(9);

/// How long the last word may take.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(2);

struct FinalMessage {
    say: Box<dyn Fn() + Send + Sync>,
    exit: Exit,
}

/// What is still done when the program ends at once: at a second signal, or when it takes too long after the first; then it
/// ends with `exit`.
pub fn before_an_abrupt_end(exit: Exit, last_word: impl Fn() + Send + Sync + 'static) {
    drop(LAST_WORD.set(FinalMessage { say: Box::new(last_word), exit }));
}

fn end(stop: &Stop) {
    if IS_ENDING.swap(true, Ordering::SeqCst) {
        // What was begun is journalled and carried on at the next start; an impatient operator is no fault of a file.
        end_now(Exit::Interrupted);
    }
    stop.request();
    if let Some(last_word) = LAST_WORD.get() {
        end_soon(last_word.exit);
    }
}

/// Ends the program with `exit` if what is under way does not end before.
pub fn end_soon(exit: Exit) {
    let drain = move || {
        std::thread::sleep(DRAIN);
        warn!(seconds = DRAIN.as_secs(), "current steps not finished in time; they are resumed at the next start");
        end_now(exit);
    };
    drop(std::thread::Builder::new().name("drain".into()).spawn(drain));
}

/// The last word is given a moment only: what it writes to may be what hangs.
fn end_now(exit: Exit) -> ! {
    let (say, said) = std::sync::mpsc::channel::<()>();
    let last_word = move || {
        LAST_WORD.get().into_iter().for_each(|last_word| (last_word.say)());
        drop(say);
    };
    if std::thread::Builder::new().name("last word".into()).spawn(last_word).is_ok() {
        let _ = said.recv_timeout(LAST_WORD_LIMIT);
    }
    std::process::exit(exit.code().into());
}

/// Listens from now on; `reload` hears of SIGHUP. It must not wait: the next signal would not be heard.
pub fn listen(stop: &Stop, reload: impl Fn() + Send + 'static) {
    let stop = stop.clone();
    let listen = move |mut signals: Signals| {
        for signal in signals.forever() {
            if signal == SIGHUP { reload() } else { end(&stop) }
        }
    };
    match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        Ok(signals) => drop(std::thread::Builder::new().name("signals".into()).spawn(move || listen(signals))),
        Err(error) => warn!(error = chain(&error), "cannot handle signals; SIGINT, SIGTERM and SIGHUP end the program"),
    }
}
