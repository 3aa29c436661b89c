//! Logs go to standard error; `AFTERCAST_LOG` overrides what `-v` and `-q` say.

use std::fmt::{self, Debug};
use std::io::{self, IsTerminal as _};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::args::{Cli, Command};
use super::progress;
use crate::printable::Printable;

/// Between the fields of an event.
const GAP: &str = " ";
/// Fields with which the `log` crate's records describe where they come from.
const OF_THE_LOG_CRATE: &str = "log.";

/// Starts logging. A daemon says what it does without being asked; other commands print results instead.
pub fn start(cli: &Cli) {
    let is_daemon = matches!(cli.command, Command::Watch(_));
    let level = match (cli.quiet, cli.verbose, is_daemon) {
        (true, ..) => "error",
        (_, 0, false) => "warn",
        (_, 0 | 1, _) => "info",
        (_, 2, _) => "debug",
        _ => "trace",
    };
    let own = format!("error,aftercast={level}");
    let filter = std::env::var("AFTERCAST_LOG").ok().and_then(|f| EnvFilter::try_new(f).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(own));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| progress::beside_bars(io::stderr()))
        .fmt_fields(printable_fields())
        .with_target(false);
    let logs = logs.with_ansi(io::stderr().is_terminal());
    // Under systemd the journal adds the time itself.
    let started =
        if std::env::var_os("JOURNAL_STREAM").is_some() { logs.without_time().try_init() } else { logs.try_init() };
    drop(started);
}

/// Writes the fields of every event escaped, whoever logs it and however: a name, a store's words or another crate's
/// message are one line and cannot paint the terminal.
fn printable_fields() -> impl for<'w> FormatFields<'w> + 'static {
    debug_fn(write_field).delimited(GAP)
}

fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let value = Printable(value);
    match field.name() {
        "message" => write!(to, "{value:?}"),
        name if name.starts_with(OF_THE_LOG_CRATE) => Ok(()),
        name => {
            let name = name.trim_start_matches("r#");
            if to.has_ansi_escapes() {
                write!(to, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value:?}")
            } else {
                write!(to, "{name}={value:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct LogCapture(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogCapture {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let kept = LogCapture::default();
        let to = kept.clone();
        let logs = tracing_subscriber::fmt().with_writer(move || to.clone()).with_ansi(false).without_time();
        let logs = logs.with_target(false).fmt_fields(printable_fields()).finish();
        tracing::subscriber::with_default(logs, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn whatever_is_logged_is_one_line_that_paints_nothing() {
        let evil = "a\u{1b}[2J\nINFO faked\u{202e}\u{9b}";
        let shown = "a\\u{1b}[2J\\u{a}INFO faked\\u{202e}\\u{9b}";
        let error = io::Error::other(evil);
        let said = logged(|| tracing::warn!(path = %evil, %error, "{evil} said."));
        assert_eq!(said, format!(" WARN {shown} said. path={shown} error={shown}\n"));
        let error: &(dyn std::error::Error + 'static) = &error;
        let said = logged(|| tracing::warn!(error, text = evil, debug = ?evil, "Said."));
        assert!(said.lines().count() == 1 && !said.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{said}");
    }
}
