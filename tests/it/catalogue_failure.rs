//! The disk under the catalogue fails: the daemon says so and ends with exit code 5, for the service manager to start it again.

use std::fs;
use std::process::Command;

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::padded;

/// No file may grow beyond this: the database reaches it after some recordings, the log and the recordings do not.
const LARGEST_FILE_BYTES: u64 = 96 << 10;
const RECORDINGS: usize = 40;

/// The signal of a file that may not grow would kill the process; ignored, the write fails as on a failing disk.
fn with_write_errors(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--ignore-signal=XFSZ").arg(command.get_program()).args(command.get_args());
    env.env("TZ", "UTC").current_dir(command.get_current_dir().unwrap());
    env
}

#[test]
fn a_daemon_whose_catalogue_fails_ends_with_exit_code_5_and_the_next_goes_on() {
    let sandbox = Sandbox::new();
    let mut daemon = Daemon::start_command(&sandbox, with_write_errors(&sandbox.command(&["watch"])), |_| {});
    let limit = format!("--fsize={LARGEST_FILE_BYTES}");
    assert!(Command::new("prlimit").args(["--pid", &daemon.id().to_string(), &limit]).status().unwrap().success());
    for n in 0..RECORDINGS {
        fs::write(sandbox.root().join(format!("{n}.mp4")), padded(&n.to_string(), 0)).unwrap();
    }
    assert_eq!(daemon.ended().code(), Some(5), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("catalogue failed") && log.contains("All recordings are safe"), "{log}");
    assert!(!fs::exists(sandbox.path().join("state/aftercast.sock")).unwrap());
    drop(daemon);
    let next = Daemon::start(&sandbox);
    until("every recording is catalogued", || (sandbox.vods().len() == RECORDINGS).then_some(()));
    next.stop();
}
