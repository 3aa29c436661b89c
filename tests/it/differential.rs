//! A file of each container and kind of content, finished by the real binary and compared with its source: every difference is named in
//! the record, or the original is there. The short form of the second proof of `scripts/prove-corpus`.

use std::path::Path;
use std::process::Command;

/// What the sample has at least; the tools of a machine do not make all of it.
const FEWEST: usize = 20;

#[test]
fn every_difference_between_a_recording_and_what_became_of_it_is_explained() {
    for tool in ["python3", "gst-launch-1.0"] {
        if !Command::new(tool).arg("--version").output().is_ok_and(|run| run.status.success()) {
            println!("skipped: no {tool} here");
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut prove = Command::new("python3");
    prove.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/differential/prove.py"));
    prove.args(["--sample", "--aftercast", env!("CARGO_BIN_EXE_aftercast"), "--directory"]).arg(directory.path());
    let run = prove.env_remove("AFTERCAST_CONFIG").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.lines().filter(|line| line.starts_with("ok ")).count() >= FEWEST, "{said}");
}
