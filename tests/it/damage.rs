//! Recordings of every container with flipped bits, holes and cuts, finished by the real binary: no intact packet is missing both
//! from the output and from what stays on the disk. The short form of `scripts/prove-damage`.

use std::path::Path;
use std::process::Command;

/// Damaged recordings in the short form; in ten of them an intact packet was lost before the walks of `media::whole`.
const RECORDINGS: &str = "180";

#[test]
fn no_intact_packet_of_a_damaged_recording_is_lost() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success()) {
        println!("skipped: no python3 here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut prove = Command::new("python3");
    prove.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/damage/prove.py"));
    prove.args([
        "--aftercast",
        env!("CARGO_BIN_EXE_aftercast"),
        "--count",
        RECORDINGS,
        "--sources",
        "1",
        "--directory",
    ]);
    let run = prove.arg(directory.path()).env_remove("AFTERCAST_CONFIG").output().unwrap();
    println!("{}", String::from_utf8_lossy(&run.stdout));
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
