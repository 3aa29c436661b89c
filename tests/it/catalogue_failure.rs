//! The disk under the catalogue fails: the daemon says so and ends with exit code 5, for the service manager to start it again.

use std::fs;
use std::process::Command;

use crate::support::House;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;

/// From here on no file may be written. The log of the daemon stays below it; the database begins a segment of this size at
/// every start and writes behind it.
const NO_WRITE_FROM_BYTES: u64 = 256 << 10;

/// The signal of a file that may not grow would kill the process; ignored, the write fails as on a failing disk.
fn with_write_errors(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--ignore-signal=XFSZ").arg(command.get_program()).args(command.get_args());
    env.current_dir(command.get_current_dir().unwrap());
    env
}

#[test]
fn a_daemon_whose_catalogue_fails_ends_with_exit_code_5_and_the_next_goes_on() {
    let house = House::new();
    Daemon::start(&house).stop();
    let mut daemon = Daemon::start_command(&house, with_write_errors(&house.command(&["-v", "watch"])), |_| {});
    let limit = format!("--fsize={NO_WRITE_FROM_BYTES}");
    assert!(Command::new("prlimit").args(["--pid", &daemon.id().to_string(), &limit]).status().unwrap().success());
    house.put(&made("mp4-faststart", 2), "room1.mp4");
    assert_eq!(daemon.ended().code(), Some(5), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("Catalogue failed") && log.contains("All recordings are safe"), "{log}");
    assert!(!fs::exists(house.path().join("state/aftercast.sock")).unwrap());
    drop(daemon);
    let next = Daemon::start(&house);
    until("the recording is catalogued", || (house.vods().len() == 1).then_some(()));
    next.stop();
}
