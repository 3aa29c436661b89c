//! The short form of `scripts/prove-fleet`.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn nodes_that_are_killed_suspended_and_cut_off_finish_each_recording_once() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = std::env::var_os("AFTERCAST_TEST_TOOLS");
    let tools = tools.map_or_else(|| manifest.join("target/test-tools"), PathBuf::from).join("python/bin");
    let mut prove = Command::new("python3");
    prove.arg(manifest.join("scripts/fleet_proof/prove.py"));
    prove.args(["1", "--items", "40", "--nodes", "3", "--sleep", "35", "--seed", "1"]);
    prove.args(["--aftercast", env!("CARGO_BIN_EXE_aftercast"), "--tools"]).arg(tools);
    let said = prove.output().unwrap();
    let words = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.status.success(), "{words}");
}
