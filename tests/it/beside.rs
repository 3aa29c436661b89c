//! `process` beside a daemon that is busy: it tells of what it was asked for and of nothing else, and waits for nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::padded;
use crate::support::{RunOutput, Sandbox, standard_config};

const OTHERS: usize = 500;
const ASKED: usize = 50;

/// Small recordings, each another one.
fn fill(dir: &Path, name: &str, count: usize) -> BTreeSet<PathBuf> {
    fs::create_dir_all(dir).unwrap();
    let write = |n: usize| {
        let path = dir.join(format!("{name}{n}.mp4"));
        fs::write(&path, padded(&format!("{name}{n}"), 0)).unwrap();
        path
    };
    (0..count).map(write).collect()
}

fn paths(run: &RunOutput) -> BTreeSet<PathBuf> {
    run.json_lines().iter().map(|line| line["path"].as_str().unwrap().into()).collect()
}

/// Asks for a directory while a daemon has hundreds of others before it, which it finishes one at a time.
fn ask_for(directory: impl FnOnce(&Sandbox) -> PathBuf) {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[finish]\njobs = 1\n"));
    let directory = directory(&sandbox);
    // The newest come first: those that are asked for would be last.
    let asked = fill(&directory, "asked", ASKED);
    fill(&sandbox.root(), "other", OTHERS);
    let daemon = Daemon::start(&sandbox);
    let run = sandbox.run(&["--json", "process", directory.to_str().unwrap()]).expect_code(0);
    assert_eq!(paths(&run), asked, "{}", run.err);
    assert_eq!(run.json_lines().len(), ASKED);
    let done = sandbox.vods().len();
    assert!((ASKED..OTHERS + ASKED).contains(&done), "it ended while the daemon was busy, with {done} done");
    until("the daemon is done", || (sandbox.vods().len() == OTHERS + ASKED).then_some(()));
    daemon.stop();
}

#[test]
fn process_beside_a_daemon_busy_with_500_others_reports_exactly_its_50() {
    ask_for(|sandbox| sandbox.path().join("elsewhere"));
}

#[test]
fn what_the_daemon_has_queued_already_is_reported_to_who_asks_for_it_and_comes_first() {
    ask_for(|sandbox| sandbox.root().join("asked"));
}
