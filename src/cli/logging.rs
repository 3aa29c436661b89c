//! Logs go to standard error; `AFTERCAST_LOG` overrides what `-v` and `-q` say.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::args::{Cli, Command};
use super::progress;

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
        .with_target(false);
    let logs = logs.with_ansi(io::stderr().is_terminal());
    // Under systemd the journal adds the time itself.
    let started =
        if std::env::var_os("JOURNAL_STREAM").is_some() { logs.without_time().try_init() } else { logs.try_init() };
    drop(started);
}
