//! What is shipped beside the program: the unit file and the example configuration.

use std::path::Path;
use std::process::Command;

use crate::support::Sandbox;
use crate::support::daemon::Daemon;

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_file() {
    let unit = std::fs::read_to_string(shipped("scripts/aftercast.service")).unwrap();
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    // The program is not installed where the unit file expects it; everything else is verified as it is shipped.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("aftercast.service");
    std::fs::write(&copy, unit.replace("/usr/local/bin/aftercast", env!("CARGO_BIN_EXE_aftercast"))).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_ours: Vec<_> = said.lines().filter(|l| l.contains("aftercast")).collect();
    assert!(about_ours.is_empty(), "{said}");
    assert!(verified.status.success(), "{said}");
}

/// Exposure by systemd's own measure, 0 to 10; 2.0 is what is promised.
const MOST_EXPOSED: f64 = 2.0;

#[test]
fn the_unit_file_is_hardened() {
    let unit = shipped("scripts/aftercast.service");
    let analyzed =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(unit).output();
    let Ok(analyzed) = analyzed else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&analyzed.stdout);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let level: f64 = line.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(level <= MOST_EXPOSED, "{said}");
}

#[test]
fn status_tells_whether_a_daemon_is_ready() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(&["status"]).expect_code(5);
    assert!(run.err.contains("no daemon answers") && run.err.contains("No recording is lost"), "{}", run.err);
    let daemon = Daemon::start(&sandbox);
    let run = sandbox.run(&["status"]).expect_code(0);
    assert!(run.out.contains("is ready"), "{}", run.out);
    assert_eq!(sandbox.run(&["--json", "status"]).expect_code(0).json_lines()[0]["isReady"], true);
    std::fs::rename(sandbox.root(), sandbox.path().join("elsewhere")).unwrap();
    let run = sandbox.run(&["status"]).expect_code(5);
    assert!(run.out.contains("not ready: the root"), "{}", run.out);
    daemon.stop();
}

#[test]
fn the_unit_file_starts_the_program_as_its_command_line_wants_it() {
    let unit = std::fs::read_to_string(shipped("scripts/aftercast.service")).unwrap();
    let sandbox = Sandbox::new();
    let config = sandbox.path().join("config.toml");
    let pre = unit.lines().find_map(|l| l.strip_prefix("ExecStartPre=")).unwrap();
    let args =
        pre.split_whitespace().skip(1).map(|a| if a.starts_with("/etc/") { config.to_str().unwrap() } else { a });
    let checked = Command::new(env!("CARGO_BIN_EXE_aftercast")).args(args).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for line in ["Type=notify", "AmbientCapabilities=CAP_LEASE", "NoNewPrivileges=yes", "ProtectSystem=strict"] {
        assert!(unit.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn the_example_configuration_loads_and_says_nothing_but_the_defaults() {
    let sandbox = Sandbox::with_config(|_| std::fs::read_to_string(shipped("config.toml.example")).unwrap());
    let state = sandbox.path().join("state");
    let state = ["--state-dir", state.to_str().unwrap()];
    let run = sandbox.run(&[&state[..], &["config", "check"]].concat()).expect_code(0);
    assert!(!run.err.contains("Warning"), "{}", run.err);
    sandbox.run(&[&state[..], &["config", "print"]].concat()).expect_code(0);
}
